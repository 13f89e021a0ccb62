"""What holds for every method of the table, a new one too: nothing here names a method or knows what it does."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from pydantic.fields import FieldInfo

from rlsd_cli.config.reads import reads
from rlsd_cli.config.schema import Config, fields_of
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.methods.base import STUDENT, Method
from rlsd_cli.methods.table import METHODS
from rlsd_cli.training.checkpoint import Trained, load_checkpoint, save_checkpoint
from rlsd_cli.training.trainer import Trainer
from tests.distributed.test_world import close, two_steps
from tests.table import in_full
from tests.training.steps import (
    after,
    assert_equal,
    begin,
    dry_update,
    judged,
    question,
    read,
    weights,
    with_problems,
    with_responses,
)
from tests.training.test_run import without_seconds

Begin = Callable[..., Trainer]
Settings = dict[str, Any]
SMALL: Settings = {
    "prompts_per_step": 3,
    "samples_per_prompt": 4,
    "optim.lr": 3e-4,
    "optim.tokens_per_microbatch": 150,
    "loss.reduction": "token_mean",
    "teacher.weights": "ema",
    "teacher.ema_rate": 0.5,
}
"""Steps that move weights visibly, in several micro-batches; with `token_mean` a loss is not 0 by cancelling."""
WITH_SWITCH = {name: method for name, method in METHODS.items() if method.off}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
methods_in_full = pytest.mark.parametrize("method", in_full(METHODS))


def settings_of(method: Method, overrides: Settings | None = None) -> Settings:
    """The overrides, above what is here as far as the method reads that."""
    read_here = {key: value for key, value in SMALL.items() if reads(method, key)}
    return {"method": method.name} | read_here | (overrides or {})


@pytest.fixture(scope="module")
def start(configure: Callable[..., Config]) -> Iterator[Begin]:
    """`start(method, overrides)`: a trainer at its first step."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))
        yield lambda method, overrides=None: begin(configure(settings_of(method, overrides)), pool)


# -- cuts and padding -------------------------------------------------------------------------------------------------


@methods_in_full
def test_neither_cuts_nor_padding_change_loss_and_gradient(start: Begin, method: Method) -> None:
    groups = judged(start(method))
    layouts = [("packed", 1), ("packed", 150), ("packed", 100_000), ("padded", 1), ("padded", 400)]
    losses, found = [], []
    for attention, budget in layouts:
        trainer = start(method, {"attention": attention, "optim.tokens_per_microbatch": budget})
        updated, applied = dry_update(trainer, read(trainer, groups))
        losses.append(updated.figures.loss)
        found.append(applied)
    assert abs(losses[0]) > 1e-3
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)
    assert any(gradient.abs().max() > 1e-4 for gradient in found[0].values())
    for other in found[1:]:
        assert_equal(found[0], other)


@every_method
def test_what_is_recorded_of_a_rollout_is_its_own(start: Begin, method: Method) -> None:
    """Micro-batches take the longest first; what they say must come back to the rollout that it is about."""
    trainer, policy_before = start(method), start(method).learner
    trainer.step(1)
    policy_before.policy.model.load_state_dict(trainer.learner.policy.model.state_dict())
    _, records = trainer.step(2)
    prompts, responses = ([getattr(record, name) for record in records] for name in ("prompt_ids", "token_ids"))
    scored = policy_before.passes.score(prompts, responses, [[place] for place in range(len(records))], None)
    before = [record.old_logp or record.student_logp for record in records]
    traced = [
        (record, logp, scored[place].logp)
        for place, (record, logp) in enumerate(zip(records, before, strict=True))
        if logp is not None
    ]
    assert len({len(record.token_ids) for record, *_ in traced}) > 1
    for record, logp, expected in traced:
        torch.testing.assert_close(torch.tensor(logp), expected, atol=1e-4, rtol=0)
        lists = (record.sampled_logp, record.student_logp, record.teacher_logp, record.credit)
        assert all(len(numbers) == len(record.token_ids) for numbers in lists if numbers is not None)


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_method
def test_two_processes_do_what_one_does(method: Method) -> None:
    """Those tried in full are also among the cases of `tests/distributed/test_world.py`."""
    run = SMALL, {"method": method.name, "evaluation.problems": 5, "dtype": "float32", "verification.workers": 1}
    (one,), (two,) = (two_steps(num_processes, [run]) for num_processes in (1, 2))
    assert len(set(two["weights"])) == 1
    close(one | {"weights": one["weights"] * 2}, two)


# -- off, and on again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", in_full(WITH_SWITCH))
def test_switched_off_it_is_rlvr_bit_for_bit(start: Begin, method: Method) -> None:
    rlvr = METHODS["rlvr"]
    both = {key: value for key, value in {**method.defaults, **method.off}.items() if reads(rlvr, key)}
    baseline = after(start(rlvr, both), (1, 2))
    assert_equal(after(start(method, dict(method.off)), (1, 2)), baseline, exactly=True)
    taught = after(start(method), (1, 2))
    assert any(not torch.equal(taught[name], value) for name, value in baseline.items()), "and it has an effect"


@methods_in_full
def test_a_run_goes_on_from_a_checkpoint_as_if_nothing_had_been(start: Begin, method: Method, tmp_path: Path) -> None:
    def trained(trainer: Trainer) -> Trained:
        return Trained(trainer.learner.policy, trainer.learner.optimizer, trainer.learner.teacher)

    whole, cut = start(method), start(method)
    after(whole, (1, 2))
    folder = save_checkpoint(tmp_path, 2, trained(whole), keep=1)
    assert load_checkpoint(folder, trained(cut)) == 2
    cut.learner.sampler.update_weights()
    for step in (3, 4):
        (metrics, records), (expected, others) = cut.step(step), whole.step(step)
        assert without_seconds([metrics]) == without_seconds([expected])
        assert records == others
    assert_equal(weights(cut), weights(whole), exactly=True)


# -- nothing to learn from --------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    ("answer", "verifier", "responses", "cut"),
    [
        ("5", "exact", ["#5"], False),
        ("5", "exact", ["#6"], False),
        ("about five", "numeric", ["#5"], False),
        ("5", "exact", ["#5", "#6"], True),
    ],
    ids=["all-right", "all-wrong", "no-verdict", "all-cut"],
)
def test_groups_without_signal_leave_only_finite_numbers(
    start: Begin, method: Method, answer: str, verifier: str, responses: list[str], cut: bool
) -> None:
    wanted = {"verifier_error_limit": 1.0} | ({"rollout.max_new_tokens": 4, "rollout.truncated": "mask"} if cut else {})
    trainer = start(method, {key: value for key, value in wanted.items() if reads(method, key)})
    with_problems(trainer, [question(answer, verifier)])
    with_responses(trainer, responses, truncated=(0, 1) if cut else ())
    before = weights(trainer)
    metrics, records = trainer.step(1)
    json.dumps([metrics, *(record.row() for record in records)], allow_nan=False)
    after_step = weights(trainer)
    assert all(value.isfinite().all() for value in after_step.values())
    own = [record for record in records if record.drawn_under == STUDENT]
    assert len(own) == trainer.config.rollouts_per_step
    if cut:
        assert metrics["uncounted"] == len(records)
        assert metrics["trained_tokens"] == 0
        assert_equal(after_step, before, exactly=True)


# -- settings ---------------------------------------------------------------------------------------------------------

OTHER_VALUES: dict[str, Settings] = {
    "fipo": {"credit.clip_high": 0.0, "credit.safety": 0.5, "credit.ratio_limit": 1.0001},
    "credit_pmi": {"credit.strangers": 3},
    "first_disagreement": {"credit.threshold": 1e-6},
    "hdpo": {"credit.told_samples": 2},
    "rlcsd": {"credit.temperature": 1.3, "credit.limit": 0.1, "credit.threshold": 0.6},
    "sdpg": {"credit.warmup_steps": 9},
    "vineppo": {"credit.samples": 3, "credit.step_ends": "=", "credit.max_steps": 1},
}
"""By method and key, a value at which the key shows, where the first other value does not show or is not allowed."""
COMPANY: dict[str, Settings] = {
    "opsd": {"credit.position_floor": 0.25},
    "hdpo": {"samples_per_prompt": 2, "prompts_per_step": 8},
    "sdpg": {"credit.warmup_steps": 0},
}
"""By method, settings beside which all of its keys show: groups in which all fail; a schedule that has begun."""


def changed(field: FieldInfo) -> Any:
    """A value that is not the default."""
    if get_origin(field.annotation) is Literal:
        return next(choice for choice in get_args(field.annotation) if choice != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, int):
        return 0 if field.default else 1
    return field.default / 2 if field.default else 0.5


WITH_SETTINGS = {name: method for name, method in METHODS.items() if method.settings.model_fields}


@pytest.mark.parametrize("method", in_full(WITH_SETTINGS))
def test_every_setting_of_a_method_changes_what_a_step_does(start: Begin, method: Method) -> None:
    company, others = COMPANY.get(method.name, {}), OTHER_VALUES.get(method.name, {})
    usual = after(start(method, company))
    for key, field in fields_of(method.name).items():
        if not key.startswith("credit."):
            continue
        other = after(start(method, company | {key: others[key] if key in others else changed(field)}))
        assert any(not torch.equal(other[name], value) for name, value in usual.items()), key
