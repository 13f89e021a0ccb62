"""A run from start to end, and the same run with interruptions."""

import errno
import json
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_cli.config.resolve import Resolved
from rlsd_cli.config.schema import Config, flatten
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupted, Interrupts
from rlsd_cli.methods.rlsd import Settings
from rlsd_cli.policy import scoring
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.runs.rundir import RunDir, create
from rlsd_cli.training import checkpoint as checkpoint_module
from rlsd_cli.training import learner as learner_module
from rlsd_cli.training import run as run_module
from rlsd_cli.training.assemble import assemble
from rlsd_cli.training.run import train
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import policy_of, splits_of


class Listener:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, Any]] = []
        self.evaluations: list[int] = []

    def step(self, metrics: Mapping[str, Any], steps: int) -> None:
        assert steps >= metrics["step"]
        self.steps.append(metrics)

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
        assert summary["n"] > 0
        self.evaluations.append(step)

    def warning(self, kind: str, text: str) -> None:
        assert kind
        assert text


SETTINGS = {
    "method": "rlsd",
    "steps": 4,
    "teacher.sync_every": 2,
    "evaluation.every": 2,
    "checkpoint.every": 1,
    "checkpoint.keep": 9,
    "optim.lr": 1e-4,
}


def new_run(path: Path, config: Config) -> RunDir:
    run = RunDir(path)
    create(run, Resolved(config, dict.fromkeys(flatten(config), "default"), path.name, {}))
    return run


def go(run: RunDir, config: Config, listener: Listener | None = None) -> dict[str, Any]:
    with open_pool(config) as pool:
        return train(config, policy_of(config), splits_of(config), run, listener or Listener(), pool)


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what is measured of the machine."""
    return [{key: value for key, value in row.items() if not key.endswith(("seconds", "memory_mb"))} for row in rows]


def same_weights(first: Path, second: Path) -> bool:
    one, two = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (first, second))
    return all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def config(configure: Callable[..., Config]) -> Config:
    return configure(SETTINGS)


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = new_run(tmp_path_factory.mktemp("runs") / "whole", config)
    listener = Listener()
    summary = go(run, config, listener)
    assert summary["status"] == "done"
    assert listener.evaluations == [0, 2, 4]
    assert [row["step"] for row in listener.steps] == [1, 2, 3, 4]
    return run


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_continues_to_the_same_end(
    stop_after: int, config: Config, whole: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "cut", config)
    step = Trainer.step

    def interrupted(self: Trainer, number: int) -> Any:
        result = step(self, number)
        if number == stop_after:
            self.learner.interrupts._handle(2, None)
        return result

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(Interrupted) as caught:
        go(run, config)
    assert caught.value.exit_code == 130
    assert run.status()["status"] == "interrupted"
    assert run.status()["step"] == stop_after
    monkeypatch.setattr(Trainer, "step", step)

    listener = Listener()
    go(run, config, listener)
    assert [row["step"] for row in listener.steps] == list(range(stop_after + 1, 5))
    assert without_seconds(run.metrics()) == without_seconds(whole.metrics())
    assert same_weights(run.checkpoints / "000004", whole.checkpoints / "000004")
    evaluations = sorted(path.name for path in run.path.glob("evals/*/*"))
    assert evaluations == ["000000", "000002", "000004"]


def test_a_run_that_trains_an_adapter_continues_to_the_same_end(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(SETTINGS | {"adapter.rank": 4, "steps": 3, "evaluation.every": 0, "optim.lr": 1e-3})
    whole, cut = (new_run(tmp_path / name, config) for name in ("whole", "cut"))
    go(whole, config)
    step = Trainer.step

    def interrupted(self: Trainer, number: int) -> Any:
        result = step(self, number)
        if number == 2:
            self.learner.interrupts._handle(2, None)
        return result

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(Interrupted):
        go(cut, config)
    monkeypatch.setattr(Trainer, "step", step)
    go(cut, config)
    assert without_seconds(cut.metrics()) == without_seconds(whole.metrics())
    one, other = (load_file(run.checkpoints / "000003" / "adapter_model.safetensors") for run in (whole, cut))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert any(value.any() for name, value in one.items() if "lora_B" in name)


def test_what_was_recorded_after_the_last_checkpoint_is_done_again(
    config: Config, whole: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed leaves steps without a checkpoint."""
    run = new_run(tmp_path / "killed", config)
    monkeypatch.setattr(run_module, "_every", lambda period, step: period == 2 and step == 2)
    step = Trainer.step

    def killed(self: Trainer, number: int) -> Any:
        if number == 4:
            raise MemoryError
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", killed)
    monkeypatch.setattr(run_module, "_save", lambda *_: None)
    with pytest.raises(MemoryError):
        go(run, config)
    assert run.status()["status"] == "failed"
    assert "MemoryError" in run.status()["error"]
    assert len(run.metrics()) == 3
    monkeypatch.undo()
    go(run, config)
    assert without_seconds(run.metrics()) == without_seconds(whole.metrics())


@pytest.mark.parametrize(
    ("bad", "kept", "words"),
    [
        ((4, 1), 3, "the state after step 3 is saved"),
        ((4, 2), 2, "weights had moved within step 4, .*: the newest checkpoint is that of step 2"),
        ((1, 1), None, "no step was finished, and nothing is saved"),
        ((1, 2), None, "no step was finished, and nothing is saved"),
        ((2, 2), None, "weights had moved within step 2, .*: there is no checkpoint yet"),
    ],
)
def test_a_run_that_stops_on_a_loss_that_is_not_finite_says_what_is_kept(
    configure: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: tuple[int, int],
    kept: int | None,
    words: str,
) -> None:
    settings = {"optim.updates_per_batch": 2, "checkpoint.every": 2, "evaluation.every": 0, "credit.mix": 0.0}
    config = configure(SETTINGS | settings | {"prompts_per_step": 8, "samples_per_prompt": 8})
    calls: list[int] = []

    def spoiled(given: Any, config: Config) -> Any:
        calls.append(1)
        batch, nowhere = assemble(given, config)
        step, update = bad
        if len(calls) == 2 * (step - 1) + update:
            weights = tuple(weight * float("inf") for weight in batch.columns.weights)
            batch = batch._replace(columns=batch.columns._replace(weights=weights))
        return batch, nowhere

    monkeypatch.setattr(learner_module, "assemble", spoiled)
    run = new_run(tmp_path / "spoiled", config)
    with pytest.raises(RlsdError, match="is not finite") as caught:
        go(run, config)
    assert caught.value.hint
    assert re.search(words, caught.value.hint)
    found = [int(path.name) for path in sorted(run.checkpoints.glob("[0-9]*"))] if run.checkpoints.is_dir() else []
    assert (found[-1] if found else None) == kept


def test_the_summary_is_the_contracts(whole: RunDir, config: Config) -> None:
    status = whole.status()
    assert {"run", "status", "method", "steps", "seconds", "start", "final", "reward_last10"} <= set(status)
    assert status["steps"] == config.steps
    for when in ("start", "final"):
        low, high = status[when]["ci95"]
        assert 0 <= low <= status[when]["accuracy"] <= high <= 1


CONTRACT_METRICS = """step reward_mean solved_rate no_answer_rate zero_variance_rate truncated_rate response_tokens_mean
loss grad_norm entropy lambda credit_weight_mean credit_clip_low_rate credit_clip_high_rate teacher_student_gap_mean
leakage_rate rollout_seconds verify_seconds teacher_seconds update_seconds tokens""".split()
CONTRACT_ROLLOUT = """step problem_id sample prompt response outcome score advantage token_ids student_logp
teacher_logp credit""".split()


def test_metrics_and_rollouts_have_the_contracts_keys_and_agree(whole: RunDir, config: Config) -> None:
    import gzip

    assert isinstance(config.credit, Settings)
    clip = config.credit.clip
    for metrics in whole.metrics():
        assert set(CONTRACT_METRICS) <= set(metrics)
        with gzip.open(whole.path / "rollouts" / f"{metrics['step']:06d}.jsonl.gz", "rt") as file:
            rows = [json.loads(line) for line in file]
        assert len(rows) == config.rollouts_per_step
        assert all(set(CONTRACT_ROLLOUT) <= set(row) for row in rows)
        assert sum(row["score"] for row in rows) / len(rows) == pytest.approx(metrics["reward_mean"])
        assert sum(len(row["token_ids"]) for row in rows) == metrics["tokens"]
        taught = [row for row in rows if row["teacher_logp"] is not None]
        assert taught
        gaps = [t - s for row in taught for t, s in zip(row["teacher_logp"], row["student_logp"], strict=True)]
        assert sum(gaps) / len(gaps) == pytest.approx(metrics["teacher_student_gap_mean"], abs=1e-5)
        for row in taught:
            reach = metrics["lambda"] * clip + 1e-5
            assert all(abs(c / row["advantage"] - 1) <= reach for c in row["credit"])


def test_lambda_decays_from_step_to_step(whole: RunDir) -> None:
    assert [row["lambda"] for row in whole.metrics()] == pytest.approx([0.49, 0.48, 0.47, 0.46])


def test_a_checkpoint_is_a_plain_model_directory(whole: RunDir) -> None:
    model = AutoModelForCausalLM.from_pretrained(whole.checkpoints / "000004")
    tokenizer = AutoTokenizer.from_pretrained(whole.checkpoints / "000004")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Q2+3="}], tokenize=False, add_generation_prompt=True
    )
    assert text == "Q2+3=|"
    ids = tokenizer(text, return_tensors="pt")
    out = model.generate(ids["input_ids"], max_new_tokens=8, do_sample=False)
    assert "#" in tokenizer.decode(out[0])


def test_only_the_newest_checkpoints_are_kept(configure: Callable[..., Config], tmp_path: Path) -> None:
    config = configure(SETTINGS | {"checkpoint.keep": 2, "evaluation.every": 0})
    run = new_run(tmp_path / "kept", config)
    go(run, config)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["000003", "000004"]


def test_an_interrupt_waits_for_held_work_and_no_longer() -> None:
    interrupts = Interrupts()
    with interrupts.installed():
        interrupts.hold()
        interrupts._handle(15, None)
        with pytest.raises(Interrupted) as caught:
            interrupts.release()
    assert caught.value.exit_code == 143


def test_processes_that_agree_stop_at_the_same_release() -> None:
    came: list[int | None] = [None]
    interrupts = Interrupts(agree=lambda own: own or came[0])
    assert interrupts.held
    with interrupts.installed():
        interrupts.release()
        assert interrupts.held
        signal.raise_signal(signal.SIGTERM)  # in the middle of a step
        with pytest.raises(Interrupted) as stopped:
            interrupts.release()
    assert stopped.value.exit_code == 143
    assert not interrupts.held
    others = Interrupts(agree=lambda own: own or came[0])
    came[0] = signal.SIGINT
    with pytest.raises(Interrupted):
        others.release()


def test_layers_that_do_not_compile_are_said_and_run_as_they_are(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    listener = Listener()
    monkeypatch.setattr(listener, "warning", lambda _, text: said.append(text))

    def broken(_: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(scoring, "_compiled_forward", broken)
    config = configure(SETTINGS | {"steps": 1})
    policy = load_trainable(config).run_as(compile=True)
    run = new_run(tmp_path / "run", config)
    with open_pool(config) as pool:
        train(config, policy, splits_of(config), run, listener, pool)
    assert said == ["layers run as they are: compiling failed (RuntimeError: no compiler)"]
    assert run.plan() == policy.execution._asdict() | {"compile": False}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["os", "library"],
)
def test_a_full_disk_keeps_older_checkpoints_and_no_draft_and_the_run_continues_when_there_is_room(
    config: Config, whole: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = new_run(tmp_path / "full", config)
    save = checkpoint_module.save

    def full(state: dict[str, Any], **options: Any) -> None:
        Path(options["checkpoint_id"]).mkdir()
        if state["step"] == 3:
            raise error
        save(state, **options)

    monkeypatch.setattr(checkpoint_module, "save", full)
    with pytest.raises(
        RlsdError, match=rf"checkpoint of step 3 cannot be written: the disk of {run.checkpoints}"
    ) as told:
        go(run, config)
    assert told.value.exit_code == 3
    assert "continues from the newest" in str(told.value.hint)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["000001", "000002"]
    assert run.status()["status"] == "failed"
    monkeypatch.undo()
    go(run, config)
    assert without_seconds(run.metrics()) == without_seconds(whole.metrics())
    assert same_weights(run.checkpoints / "000004", whole.checkpoints / "000004")


def test_a_limit_of_recompilations_is_a_warning_of_the_run(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []
    listener = Listener()
    monkeypatch.setattr(listener, "warning", lambda kind, text: said.append((kind, text)))
    step = Trainer.step

    def limited(self: Trainer, number: int) -> Any:
        with torch._dynamo.config.patch(recompile_limit=1):
            compiled = torch.compile(lambda states: states + 1, backend="eager", dynamic=False)
            for width in (1, 2, 3):
                compiled(torch.ones(width))
        torch._dynamo.reset()
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", limited)
    go(new_run(tmp_path / "limited", config := configure(SETTINGS | {"steps": 1})), config, listener)
    assert next(text for kind, text in said if kind == "recompilation").startswith("torch.compile stopped at 1 version")


def test_a_failure_keeps_the_last_finished_step(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"every": 0})})
    run = new_run(tmp_path / "failing", slow)
    step = Trainer.step

    def failing(self: Trainer, number: int) -> Any:
        if number == 3:
            raise MemoryError
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(MemoryError):
        go(run, slow)
    assert run.status()["status"] == "failed"
    assert [path.name for path in run.checkpoints.iterdir()] == ["000002"]
