"""The weights of a policy are apart from how it is run."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.execution import Execution
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.policy.scoring import score_tokens


@pytest.fixture
def policy(configure: Callable[..., Config]) -> Policy:
    asked = {"model": "quickstart-untrained", "optim.tokens_per_microbatch": 77, "optim.recompute": 0.5}
    return load_policy(configure(asked | {"rollout.dtype": "bfloat16"}))


def test_a_policy_begins_as_its_config_asks_and_its_model_allows(policy: Policy) -> None:
    assert policy.execution == Execution("float32", "bfloat16", "packed", False, 77, 0.5)
    assert (policy.compute_dtype, policy.sampling_dtype) == (torch.float32, torch.bfloat16)


def test_run_otherwise_a_policy_has_the_same_weights_and_is_itself_as_it_was(policy: Policy) -> None:
    before = policy.execution
    other = policy.run_as(dtype="bfloat16", attention="padded")
    assert other.execution == before._replace(dtype="bfloat16", attention="padded")
    assert other.model is policy.model
    assert policy.execution == before
    with pytest.raises(FrozenInstanceError):
        policy.execution = other.execution  # type: ignore[misc]


def test_batches_and_scores_are_those_of_the_execution(policy: Policy) -> None:
    prompts, responses = [[2, 3], [2, 3]], [[4, 5, 6], [7, 8]]
    padded, rough = policy.run_as(attention="padded"), policy.run_as(dtype="bfloat16")
    assert policy.batch(prompts, responses).rows is not None
    assert padded.batch(prompts, responses).rows is None
    exact, same, rounded = (
        score_tokens(each, batch, batch.mask, 1.0).logp.detach()
        for each in (policy, padded, rough)
        for batch in [each.batch(prompts, responses)]
    )
    torch.testing.assert_close(same, exact, atol=1e-5, rtol=0)
    assert 1e-5 < (rounded - exact).abs().max() < 0.1


def test_what_an_older_plan_does_not_name_stays_as_the_config_has_it(policy: Policy) -> None:
    plan = {"dtype": "bfloat16", "sampling_dtype": "float32", "attention": "padded", "compile": True}
    kept = policy.run_as(**plan, tokens_per_microbatch=512).execution
    assert kept == Execution("bfloat16", "float32", "padded", True, 512, 0.5)
    assert kept.in_words() == "bfloat16, compiled, padded, 512 tokens a micro-batch, sampling in float32"
