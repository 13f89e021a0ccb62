"""Every preset on the embedded policy: it trains, whatever model and data it is written for."""

from collections.abc import Callable
from typing import Any

import pytest

from rlsd_cli.config.reads import reads
from rlsd_cli.config.resolve import preset_names, resolve
from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import open_pool
from tests.training.steps import after, assert_equal, begin, weights

EMBEDDED: dict[str, Any] = {
    "model": "quickstart",
    "data": "arithmetic",
    "eval_data": None,
    "verifier": "auto",
    "dtype": "float32",
    "prompt.template": "{question}",
    "prompt.thinking": None,
    "prompts_per_step": 4,
    "samples_per_prompt": 4,
    "rollout.max_new_tokens": 56,
    "rollout.dtype": "float32",
    "rollout.temperature": 1.0,
    "teacher.template": "H{reference}|{prompt}",
    "teacher.max_prompt_tokens": None,
    "optim.lr": 1e-3,
    "optim.warmup_steps": 0,
    "optim.tokens_per_microbatch": 500,
}
METHODS_OF = {name: resolve([name], {}).config for name in preset_names()}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS_OF)
def test_two_steps_of_a_preset_move_the_weights_of_the_embedded_policy(
    configure: Callable[..., Config], name: str
) -> None:
    config = METHODS_OF[name]
    asked = {key: value for key, value in EMBEDDED.items() if reads(config.recipe, key)}
    asked |= {"optim.updates_per_batch": min(2, config.optim.updates_per_batch)}
    if config.rollout.refill and reads(config.recipe, "rollout.refill"):
        asked["rollout.refill"] = 2
    if config.reward.overlong_buffer:
        asked["reward.overlong_buffer"] = 10
    config = configure(asked, preset=name)
    with open_pool(config) as pool:
        trainer = begin(config, pool)
        before = weights(trainer)
        with pytest.raises(AssertionError):
            assert_equal(after(trainer, (1, 2)), before, exactly=True)
