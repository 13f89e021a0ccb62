"""Runs whose verifier is the user's own code, which may raise, hang and take its time."""

import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import load_source
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.rollout.sampler import Completion, Finished
from rlsd_cli.training.run import train
from rlsd_cli.training.trainer import Trainer
from tests.forked import Command, rlsd
from tests.training.steps import policy_of, splits_of
from tests.training.test_run import Listener, new_run, without_seconds

MINE = '''
import os, time, zlib
from pathlib import Path

def is_right(submission):
    boxed = rf"\\boxed{{{submission.answer}}}"
    return submission.response == boxed or submission.response.endswith("#" + submission.answer)

def one_in(count, submission):
    """The same responses in every run."""
    return zlib.crc32(submission.response.encode()) % count == 0

def careful(submission, leniency):
    time.sleep(zlib.crc32(submission.response.encode()) % 20 / 1000)
    return is_right(submission)

def flaky(submission):
    if one_in(4, submission):
        raise LookupError("the judge is away")
    return is_right(submission)

def unwilling(submission):
    if "box" in submission.response:
        return True
    raise LookupError("the judge is away")

def broken(submission):
    raise LookupError("the judge is away")

def slow(submission):
    while one_in(5, submission):
        pass
    return is_right(submission)

def stuck(submission):
    if "box" in submission.response:
        return True
    Path("worker.pid").write_text(str(os.getpid()))
    time.sleep(1000)

def marking(submission):
    Path(os.environ["MARKS"], str(os.getpid())).touch()
    return is_right(submission)
'''
Configure = Callable[..., Config]
MakeTrainer = Callable[..., Trainer]
TRAIN = ("train", "data=sums.jsonl", "prompts_per_step=4", "evaluation.problems=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mine.py`, and chains of sums that name no verifier."""
    path = tmp_path_factory.mktemp("custom")
    (path / "mine.py").write_text(MINE)
    rows = ({"question": p.question, "answer": p.answer} for p in load_source("arithmetic")[:400])
    (path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def custom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`custom(name, **overrides)`: the overrides of a run with that function of `mine.py`."""
    monkeypatch.syspath_prepend(folder)

    def overrides(name: str, **values: Any) -> dict[str, Any]:
        settings = {"method": "rlvr", "data": str(folder / "sums.jsonl"), "verifier": f"mine:{name}"}
        return settings | {"optim.lr": 1e-4, "verification.workers": 2} | values

    return overrides


def rollouts_of(path: Path, step: int) -> list[dict[str, Any]]:
    with gzip.open(path / "rollouts" / f"{step:06d}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


class Warned(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def evaluation(self, step: int, summary: Mapping[str, Any]) -> None:
        assert summary["outcomes"]
        self.evaluations.append(step)

    def warning(self, kind: str, text: str) -> None:
        super().warning(kind, text)
        self.kinds.add(kind)


def run(configure: Configure, overrides: dict[str, Any], path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    """A whole run: the metrics of its steps, and what it warned about."""
    config, listener = configure(overrides), Warned()
    folder = new_run(path, config)
    with open_pool(config) as pool:
        train(config, policy_of(config), splits_of(config), folder, listener, pool)
    return folder.metrics(), listener.kinds


def test_responses_on_which_it_raises_leave_baseline_and_loss_and_are_counted(
    configure: Configure, custom: Callable[..., Any], tmp_path: Path
) -> None:
    metrics, warned = run(configure, custom("flaky", verifier_error_limit=0.9), tmp_path / "run")
    assert [row["step"] for row in metrics] == [1, 2]
    assert "no_verdict_rate" in warned
    for row in metrics:
        rollouts = rollouts_of(tmp_path / "run", row["step"])
        crashed = [rollout for rollout in rollouts if rollout["outcome"] == "crash"]
        assert row["outcomes"]["crash"] == row["uncounted"] == len(crashed) > 0
        assert row["no_verdict_rate"] == len(crashed) / len(rollouts)
        assert sum(row["outcomes"].values()) == len(rollouts)
        for rollout in crashed:
            assert "LookupError: the judge is away" in rollout["reason"]
            assert (rollout["score"], rollout["advantage"], rollout["credit"]) == (None, 0.0, None)
            assert not rollout["counted"]
        judged = [rollout["score"] for rollout in rollouts if rollout["score"] is not None]
        assert row["reward_mean"] == pytest.approx(sum(judged) / len(judged))
        for start in range(0, len(rollouts), 4):
            assert sum(rollout["advantage"] for rollout in rollouts[start : start + 4]) == pytest.approx(0, abs=1e-5)


def test_a_response_on_which_it_hangs_scores_0_and_the_run_goes_on_and_says_so(
    configure: Configure, custom: Callable[..., Any], tmp_path: Path
) -> None:
    limits = {"verification.timeout_seconds": 0.5}
    metrics, warned = run(configure, custom("slow", **limits), tmp_path / "run")
    assert [row["step"] for row in metrics] == [1, 2]
    assert "over_limit_rate" in warned
    rollouts = [rollout for row in metrics for rollout in rollouts_of(tmp_path / "run", row["step"])]
    late = [rollout for rollout in rollouts if rollout["outcome"] == "timeout"]
    assert sum(row["outcomes"].get("timeout", 0) for row in metrics) == len(late) > 0
    assert all(rollout["score"] == 0.0 and rollout["counted"] for rollout in late)
    assert sum(row["no_verdict_rate"] for row in metrics) == 0
    assert any(rollout["outcome"] == "correct" for rollout in rollouts)


def test_the_run_stops_where_it_raises_on_everything_and_says_what_to_do(
    configure: Configure, custom: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RlsdError) as caught:
        run(configure, custom("unwilling"), tmp_path / "run")
    assert caught.value.exit_code == 1
    assert "16 of 16 responses reached no verdict (16 crash), e.g. to problem `" in caught.value.message
    assert caught.value.message.endswith("LookupError: the judge is away")
    assert "rlsd verify --verifier mine:unwilling --answer " in (caught.value.hint or "")
    assert "--explain" in (caught.value.hint or "")


def test_the_time_and_the_number_of_its_workers_change_nothing(
    make_trainer: MakeTrainer, custom: Callable[..., Any]
) -> None:
    """Verdicts that come while others are sampled, out of order, are those of a verifier that is asked afterwards."""
    first, second = make_trainer(custom("careful")), make_trainer(custom("careful", **{"verification.workers": 1}))
    sample = second.learner.sampler.sample

    def afterwards(*arguments: Any, finished: Finished, **options: Any) -> list[Completion]:
        rollouts = sample(*arguments, **options)
        for place, rollout in enumerate(rollouts):
            finished(place, rollout)
        return rollouts

    second.learner.sampler.sample = afterwards  # type: ignore[method-assign]
    for step in (1, 2):
        (metrics, records), (expected, others) = first.step(step), second.step(step)
        assert without_seconds([metrics]) == without_seconds([expected])
        assert records == others
        assert len({record.score for record in records}) > 1
    ours, theirs = (trainer.learner.policy.model.state_dict() for trainer in (first, second))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_response_is_verified_while_others_are_still_sampled(
    make_trainer: MakeTrainer, custom: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path))
    trainer = make_trainer(custom("marking"))
    sample = trainer.learner.sampler.sample
    seen: list[bool] = []

    def watched(*arguments: Any, finished: Finished, **options: Any) -> list[Completion]:
        def waiting(place: int, rollout: Completion) -> None:
            finished(place, rollout)
            for _ in range(0 if seen else 2000):
                if any(tmp_path.iterdir()):
                    break
                time.sleep(0.01)
            seen.append(any(tmp_path.iterdir()))

        return sample(*arguments, finished=waiting, **options)

    trainer.learner.sampler.sample = watched  # type: ignore[method-assign]
    metrics, records = trainer.step(1)
    assert seen == [True] * len(records)
    assert metrics["verify_seconds"] < metrics["rollout_seconds"]


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("mine:broken", 1, "`mine:broken` reached no verdict on any of 8 references"),
        ("mine:brokn", 2, "`mine` has no `brokn`; did you mean `broken`?"),
        ("nowhere:grade", 2, "no module named `nowhere`"),
    ],
)
def test_a_verifier_that_cannot_work_is_found_before_a_run_is_made(
    folder: Path, name: str, code: int, words: str
) -> None:
    done = rlsd(*TRAIN, f"verifier={name}", cwd=folder)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not (folder / "runs").exists()


def test_a_run_that_stops_for_its_verifier_exits_with_1(folder: Path) -> None:
    done = rlsd(*TRAIN, "verifier=mine:unwilling", "evaluation.problems=2", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "32 of 32 responses reached no verdict (32 crash)" in done.stderr
    assert "hint: `rlsd verify --verifier mine:unwilling --answer" in done.stderr


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_run(folder: Path, tmp_path: Path, number: int, code: int) -> None:
    for name in ("mine.py", "sums.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    process = Command([*TRAIN, "verifier=mine:stuck", "verification.timeout_seconds=900"], tmp_path)
    note = tmp_path / "worker.pid"
    for _ in range(600):
        if process.returncode is not None or (note.exists() and note.read_text()):
            break
        time.sleep(0.1)
    assert note.exists(), process.communicate(timeout=1)
    worker = int(note.read_text())
    assert is_running(worker)
    os.killpg(process.pid, number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == code, talk
    for _ in range(100):
        if not is_running(worker):
            break
        time.sleep(0.1)
    assert not is_running(worker)
