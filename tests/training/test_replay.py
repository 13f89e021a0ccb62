"""A recorded step once more: the same bits, or a clear refusal."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.lab.study import ask, study
from rlsd_cli.methods.table import METHODS
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.replay import replay
from tests.table import in_full
from tests.training.test_run import go, new_run

RECORDED: dict[str, tuple[RunDir, Config]] = {}
"""Finished runs by method and settings, made once."""


@pytest.fixture
def recorded(configure: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunDir]:
    """A finished run of three steps, whose checkpoints are after each of them."""

    def make(method: str, **settings: Any) -> RunDir:
        name = f"{method}-{json.dumps(settings)}"
        if name not in RECORDED:
            keys = {key.replace("__", "."): value for key, value in settings.items()}
            base = {
                "method": method,
                "data": "arithmetic:count=400",
                "steps": 3,
                "checkpoint.every": 1,
                "checkpoint.keep": 9,
                "evaluation.every": 0,
            }
            config = configure(base | {"optim.lr": 1e-4} | keys)
            run = new_run(tmp_path_factory.mktemp("runs") / method, config)
            go(run, config)
            RECORDED[name] = run, config
        return RECORDED[name][0]

    return make


@pytest.mark.parametrize("method", in_full({name: name for name in METHODS}))
@pytest.mark.parametrize("step", [1, 3])
def test_a_step_repeats_to_the_last_bit(recorded: Callable[..., RunDir], method: str, step: int) -> None:
    run = recorded(method)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    replayed = replay(run, step)
    assert replayed.agrees, replayed
    assert replayed.recorded["loss"] == run.metrics()[step - 1]["loss"]
    assert replayed.started_from == step - 1
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "settings",
    [
        {"optim__updates_per_batch": 2, "teacher__weights": "ema"},
        {"rollout__refill": 2, "loss__kl_coef": 0.1, "teacher__weights": "live"},
        {"advantage__scale": "batch_std", "loss__surrogate": "gspo", "teacher__sync_every": 2},
        {"adapter__rank": 2, "optim__lr": 1e-2},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_all_that_a_step_does_repeats(recorded: Callable[..., RunDir], settings: dict[str, Any]) -> None:
    assert replay(recorded("rlsd", **settings), 3).agrees


def test_without_a_checkpoint_before_it_the_steps_from_the_start_are_repeated(
    recorded: Callable[..., RunDir],
) -> None:
    replayed = replay(recorded("rlsd", checkpoint__every=0), 3)
    assert replayed.agrees
    assert replayed.started_from == 0


def test_the_digest_of_weights_tells_steps_apart_and_is_that_of_the_checkpoint(
    recorded: Callable[..., RunDir],
) -> None:
    run = recorded("rlvr")
    digests = [row["weights_digest"] for row in run.metrics()]
    assert len(set(digests)) == 3
    weights = [load_file(run.checkpoints / f"{step:06d}" / "model.safetensors") for step in (1, 2)]
    assert any(not weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_step_that_came_out_otherwise_is_said_to_differ(
    recorded: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded("rlsd")
    rows = run.metrics()
    rows[1] |= {"loss": math.nextafter(rows[1]["loss"], 1)}
    monkeypatch.setattr(RunDir, "metrics", lambda _: rows)
    replayed = replay(run, 2)
    assert not replayed.agrees
    assert replayed.recorded["weights_digest"] == replayed.now["weights_digest"]


@pytest.mark.parametrize("place", ["compressed", "lines"])
def test_rollouts_with_a_flipped_bit_are_refused(recorded: Callable[..., RunDir], place: str) -> None:
    run = recorded("rlsd")
    path = run.rollouts_file(2)
    whole = path.read_bytes()
    if place == "compressed":
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 1
    else:
        lines = gzip.decompress(whole).decode()
        at = lines.index('"sampled_logp": [') + len('"sampled_logp": [-0.')
        changed = bytearray(gzip.compress((lines[:at] + str((int(lines[at]) + 1) % 10) + lines[at + 1 :]).encode()))
    path.write_bytes(bytes(changed))
    try:
        with pytest.raises(RlsdError, match=r"000002\.jsonl\.gz (cannot be read|is not what the run wrote)"):
            replay(run, 2)
        with pytest.raises(RlsdError, match="000002"):
            run.rollouts(2)
        assert replay(run, 1).agrees
    finally:
        path.write_bytes(whole)


def test_a_step_that_is_not_there_and_rollouts_that_are_gone_are_refused(
    recorded: Callable[..., RunDir], tmp_path: Path
) -> None:
    run = recorded("rlsd")
    with pytest.raises(RlsdError, match="has no step 9") as refused:
        replay(run, 9)
    assert "its last step is 3" in str(refused.value.hint)
    path = run.rollouts_file(3)
    path.rename(tmp_path / "away")
    try:
        with pytest.raises(RlsdError, match="has no rollouts of step 3"):
            replay(run, 3)
    finally:
        (tmp_path / "away").rename(path)


def test_another_method_is_asked_about_the_same_rollouts_and_changes_nothing(
    recorded: Callable[..., RunDir],
) -> None:
    run = recorded("rlsd")
    replayed = replay(run, 2, "rlvr")
    assert replayed.agrees, "the step itself is repeated as if nobody had asked"
    own, other = replayed.comparisons
    assert (own.method, other.method) == ("rlsd", "rlvr")
    assert own.grad_norm == replayed.recorded["grad_norm"]
    assert own.loss == pytest.approx(replayed.recorded["loss"], abs=1e-7)
    assert own.cosine == pytest.approx(1)
    assert 0.9 < other.cosine < 1, "the teacher turns the gradient a little"
    assert other.trained_tokens == own.trained_tokens
    advantages = [abs(record.advantage) for record in run.rollouts(2) if record.advantage for _ in record.token_ids]
    assert other.credit_abs_mean == pytest.approx(sum(advantages) / len(advantages), rel=1e-5)


def test_a_method_with_another_kind_of_loss_is_asked_too(recorded: Callable[..., RunDir]) -> None:
    replayed = replay(recorded("rlvr"), 2, "opsd", {"teacher.template": "H{reference}|{prompt}"})
    _, other = replayed.comparisons
    assert replayed.agrees
    assert other.loss > 0
    assert other.credit_abs_mean is None
    assert -1 < other.cosine < 1


def test_a_method_that_learns_from_solutions_is_not_asked_about_rollouts(recorded: Callable[..., RunDir]) -> None:
    with pytest.raises(RlsdError, match="do not learn from the same responses"):
        replay(recorded("rlsd"), 2, "sft")


def test_nothing_is_asked_of_a_method_that_does_not_exist(recorded: Callable[..., RunDir]) -> None:
    with pytest.raises(RlsdError, match="no method named `rlvrr`"):
        replay(recorded("rlsd"), 2, "rlvrr")


def test_the_laboratory_looks_at_the_responses_of_a_recorded_step(recorded: Callable[..., RunDir]) -> None:
    run = recorded("rlsd")
    question = ask(
        [str(run.path)],
        run.path.parent,
        hints="answer,none",
        methods=None,
        problems=5,
        samples=None,
        value=0,
        valued=1,
        step=2,
    )
    done = study(question)
    texts = {(record.group, record.sample): record.response for record in run.rollouts(2)}
    assert done.num_responses == len(texts)
    assert done.looked
    for each in done.looked:
        assert each.case.text == texts[each.case.key[0], each.case.member.rollout.number]
    credits = {(record.group, record.sample): record.credit for record in run.rollouts(2)}
    shared = [(each, credits[each.case.key]) for each in done.looked if "rlsd" in each.credit]
    assert shared
    assert all(len(each.credit["rlsd"]) == len(credit or []) for each, credit in shared)
