"""Steps whose scores have several parts: sums, records, metrics, failures, and the same once more."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import resolve
from rlsd_cli.config.schema import Config
from rlsd_cli.console import step_line
from rlsd_cli.data.sources import load_splits
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.evaluation.fingerprint import inputs_of
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.problems import checked
from rlsd_cli.training.replay import replay
from rlsd_cli.training.trainer import Trainer
from tests.distributed.test_world import SMALL, close, two_steps
from tests.training.steps import judged, question, with_problems, with_responses
from tests.training.test_run import go, new_run

MINE = """
import os, time

def length(submission):
    return float(len(submission.response))

def picky(submission):
    if "9" in submission.response:
        raise LookupError("the judge is away")
    return 1.0

def sleepy(submission):
    while "9" in submission.response:
        time.sleep(1)
    return 1.0

def rank(submissions):
    assert len({each.question for each in submissions}) == 1
    lengths = sorted(len(each.response) for each in submissions)
    return [lengths.index(len(each.response)) / 10 for each in submissions]

def one_short(submissions):
    return [0.0] * (len(submissions) - 1)

def nan(submissions):
    return [float("nan")] * len(submissions)

def die(submissions):
    os._exit(3)

def hang(submissions):
    time.sleep(100)

def unwilling(submission):
    raise LookupError("the judge is away")
"""
MakeTrainer = Callable[..., Trainer]
RIGHT, WRONG, LONG, NONE = "2+3=5;#5", "#6", "2+3=5;2+3=5;#5", "#9"
LIMIT = 16


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("mine") / "rewards.py"
    path.write_text(MINE)
    return str(path)


@pytest.fixture
def step(make_trainer: MakeTrainer) -> Callable[..., tuple[dict[str, Any], list[RolloutRecord]]]:
    """`step(parts, **keys)`: a step on one problem with four given responses."""

    def make(
        parts: dict[str, float], *, truncated: tuple[int, ...] = (), responses: Any = None, **keys: Any
    ) -> tuple[dict[str, Any], list[RolloutRecord]]:
        trainer = begun(make_trainer, parts, **keys)
        with_responses(trainer, responses or [RIGHT, WRONG, LONG, WRONG], truncated=truncated)
        return trainer.step(1)

    return make


def begun(make_trainer: MakeTrainer, parts: dict[str, float], **keys: Any) -> Trainer:
    overrides = {
        "method": "rlvr",
        "reward.parts": parts,
        "prompts_per_step": 1,
        "samples_per_prompt": 4,
        "rollout.max_new_tokens": LIMIT,
        "verification.timeout_seconds": 0.5,
        "verification.workers": 1,
        "verifier_error_limit": 0.9,
    }
    trainer = make_trainer(overrides | {key.replace("__", "."): value for key, value in keys.items()})
    with_problems(trainer, [question()])
    return trainer


FORMAT = {"reward__format_pattern": r"\d\+\d=\d;#\d", "reward__overlong_buffer": 8}


def test_a_score_is_the_weighted_sum_of_its_parts_and_advantages_are_of_it(step: Any, mine: str) -> None:
    parts = {"answer": 1.0, "format": 0.5, "overlong": 2.0, f"{mine}:length": 0.01, f"{mine}:rank": -1.0}
    metrics, records = step(parts, **FORMAT)
    num_tokens = [len(record.token_ids) for record in records]
    assert num_tokens == [9, 3, 15, 3]
    expected = [
        {"answer": 1.0, "format": 1.0, "overlong": -1 / 8, f"{mine}:length": 8.0, f"{mine}:rank": 0.2},
        {"answer": 0.0, "format": 0.0, "overlong": 0.0, f"{mine}:length": 2.0, f"{mine}:rank": 0.0},
        {"answer": 1.0, "format": 0.0, "overlong": -7 / 8, f"{mine}:length": 14.0, f"{mine}:rank": 0.3},
        {"answer": 0.0, "format": 0.0, "overlong": 0.0, f"{mine}:length": 2.0, f"{mine}:rank": 0.0},
    ]
    assert [record.reward_parts for record in records] == [pytest.approx(each) for each in expected]
    scores = [1 + 0.5 - 0.25 + 0.08 - 0.2, 0.02, 1 - 1.75 + 0.14 - 0.3, 0.02]
    assert [record.score for record in records] == pytest.approx(scores)
    mean = sum(scores) / 4
    deviation = (sum((score - mean) ** 2 for score in scores) / 3) ** 0.5
    assert [record.advantage for record in records] == pytest.approx([(s - mean) / deviation for s in scores], rel=1e-4)
    assert metrics["reward_mean"] == pytest.approx(mean)
    assert metrics["reward_parts"] == pytest.approx({name: sum(e[name] for e in expected) / 4 for name in parts})
    assert metrics["solved_rate"] == 0.5
    assert [record.correct for record in records] == [True, False, True, False]
    assert [record.verdict_score for record in records] == [1.0, 0.0, 1.0, 0.0]


def test_a_score_of_the_answer_alone_is_the_verifiers(step: Any) -> None:
    metrics, records = step({})
    assert [record.score for record in records] == [record.verdict_score for record in records] == [1.0, 0.0, 1.0, 0.0]
    assert [record.reward_parts for record in records] == [{"answer": score} for score in (1.0, 0.0, 1.0, 0.0)]
    assert metrics["reward_parts"] == {"answer": 0.5}


def test_without_the_answer_verdicts_still_say_what_is_solved_and_weigh_nothing(step: Any) -> None:
    metrics, records = step({"answer": 0, "format": 1.0}, **{"reward__format_pattern": ".*6"})
    assert [record.score for record in records] == [0.0, 1.0, 0.0, 1.0]
    assert [record.correct for record in records] == [True, False, True, False]
    assert (metrics["solved_rate"], metrics["reward_mean"]) == (0.5, 0.5)
    assert metrics["reward_parts"] == {"format": 0.5}


@pytest.mark.parametrize(
    ("parts", "responses", "why"),
    [
        ({"format": 1.0}, [RIGHT] * 4, "all_right"),
        ({"format": 1.0}, [WRONG] * 4, "all_wrong"),
        ({"format": 1.0, "answer": 0.5}, [RIGHT] * 4, "all_right"),
        ({"format": 1.0, "answer": 0}, [RIGHT] * 4, "equal"),
        ({"format": -1.0}, [RIGHT, WRONG] * 2, "equal"),
    ],
)
def test_a_group_has_no_signal_where_sums_are_equal_and_is_named_by_its_answers(
    step: Any, parts: dict[str, float], responses: list[str], why: str
) -> None:
    metrics, records = step(parts, responses=responses, reward__format_pattern=r"\d\+\d=\d;#\d")
    assert metrics["zero_variance_groups"] == {why: 1}
    assert {record.advantage for record in records} == {0.0}


# -- cut at the limit -------------------------------------------------------------------------------------------------


def test_of_a_response_that_is_cut_the_answer_is_0_and_the_other_parts_count(step: Any) -> None:
    responses = [RIGHT, WRONG, "2+3=5;2+3=5;2#5", WRONG]
    parts = {"overlong": 0.5, "format": 0.1}
    _, records = step(parts, responses=responses, truncated=(2,), reward__format_pattern=".*")
    cut = records[2]
    assert (cut.truncated, len(cut.token_ids), cut.verdict_score) == (True, LIMIT, 1.0)
    assert cut.reward_parts == {"answer": 0.0, "format": 1.0, "overlong": -1.0}
    assert cut.score == pytest.approx(0.1 - 0.5), "worse than one that ends in time and is wrong"
    assert cut.counted


def test_a_response_that_is_cut_and_masked_is_in_no_baseline_whatever_its_parts(step: Any) -> None:
    responses = [RIGHT, WRONG, "2+3=5;2+3=5;2#5", WRONG]
    _, records = step({"overlong": 0.5}, responses=responses, truncated=(2,), rollout__truncated="mask")
    assert (records[2].left_out, records[2].advantage) == ("truncated", 0.0)
    assert records[2].reward_parts == {"answer": 1.0, "overlong": -1.0}
    scores = [records[place].score for place in (0, 1, 3)]
    assert scores == [1.0, 0.0, 0.0]
    assert sum(record.advantage for record in records) == pytest.approx(0, abs=1e-6)


# -- functions that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"), [("picky", "LookupError: the judge is away"), ("sleepy", "more than 0.5 s")]
)
def test_a_response_that_a_function_has_no_value_for_has_no_verdict(
    step: Any, mine: str, name: str, words: str
) -> None:
    metrics, records = step({f"{mine}:{name}": 1.0}, responses=[RIGHT, WRONG, NONE, WRONG])
    failed = records[2]
    assert (failed.score, failed.correct, failed.left_out, failed.reward_parts) == (None, None, "no_verdict", {})
    assert failed.outcome == "crash"
    assert (failed.reason or "").startswith(f"reward part `{mine}:{name}`: ")
    assert words in (failed.reason or "")
    assert [record.score for record in records if record is not failed] == [2.0, 1.0, 1.0]
    assert metrics["no_verdict_rate"] == 1 / 4
    assert metrics["reward_parts"] == pytest.approx({"answer": 1 / 3, f"{mine}:{name}": 1.0})


def test_a_response_without_a_verdict_has_no_score_whatever_the_other_parts_say(
    make_trainer: MakeTrainer, mine: str
) -> None:
    trainer = begun(make_trainer, {"answer": 0, f"{mine}:length": 1.0})
    with_problems(trainer, [question(answer="", verifier="numeric")])
    with_responses(trainer, [RIGHT, WRONG, LONG, NONE])
    (group,) = judged(trainer)
    assert [member.score for member in group.members] == [None] * 4
    assert [member.parts for member in group.members] == [{}] * 4


def test_a_run_whose_function_fails_too_often_stops_and_names_it(step: Any, mine: str) -> None:
    with pytest.raises(RlsdError) as caught:
        step({f"{mine}:unwilling": 1.0}, verifier_error_limit=0.5)
    assert "4 of 4 responses reached no verdict (4 crash)" in caught.value.message
    assert f"reward part `{mine}:unwilling`: it failed with LookupError: the judge is away" in caught.value.message
    assert "mend the function" in (caught.value.hint or "")
    assert "rlsd verify" not in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one_short", "it returned 3 numbers for 4 responses"),
        ("nan", "it returned nan"),
        ("die", "the worker died twice (exit status 3)"),
        ("hang", "took more than 0.5 s"),
    ],
)
def test_a_function_of_groups_that_fails_stops_the_run_with_its_reason(
    step: Any, mine: str, name: str, words: str
) -> None:
    with pytest.raises(RlsdError) as caught:
        step({f"{mine}:{name}": 1.0})
    assert caught.value.exit_code == EXIT_NO
    assert caught.value.message.startswith(f"reward part `{mine}:{name}` gave a group of responses no values: ")
    assert words in caught.value.message
    assert f"`reward.parts.{mine}:{name}=0`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lenght", "has no `lenght`; did you mean `length`?"),
        ("unwilling", "has no value for any of 8 references submitted as responses"),
        ("one_short", "it returned 3 numbers for 4 responses"),
    ],
)
def test_a_function_that_cannot_work_is_found_before_a_run(
    configure: Callable[..., Config], mine: str, name: str, words: str
) -> None:
    config = configure({f"reward.parts.{mine}:{name}": 1.0, "verification.workers": 1})
    with open_pool(config) as pool, pytest.raises(RlsdError) as caught:
        checked(load_splits(config), config, pool)
    assert words in caught.value.message
    assert "reward part" in caught.value.message


def test_a_function_that_works_passes_the_check(configure: Callable[..., Config], mine: str) -> None:
    config = configure({f"reward.parts.{mine}:{name}": 1.0 for name in ("length", "rank")})
    with open_pool(config) as pool:
        assert checked(load_splits(config), config, pool).train


# -- what is said -----------------------------------------------------------------------------------------------------


def test_the_line_of_a_step_shows_parts_only_where_there_is_more_than_the_answer(step: Any, mine: str) -> None:
    plain, _ = step({})
    assert "reward 0.500  no-answer" in step_line(plain | {"seconds": 1.0})
    several, _ = step({"format": 0.5, f"{mine}:length": 0.0625}, reward__format_pattern=".*6")
    assert re.search(
        r"reward 1\.156 \(answer 0\.500  format 0\.500  length 6\.500\)", step_line(several | {"seconds": 1.0})
    )


# -- once more --------------------------------------------------------------------------------------------------------

KEYS = {
    "method": "rlvr",
    "steps": 2,
    "checkpoint.every": 1,
    "evaluation.every": 0,
    "optim.lr": 1e-4,
    "reward.parts.format": 0.3,
    "reward.format_pattern": r".*\d",
    "reward.parts.overlong": 0.5,
}


@pytest.fixture(scope="module")
def recorded(configure: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, Config, Path]:
    """A run of two steps whose functions are in a file that is gone when it is over."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "rewards.py").write_text(MINE)
    own = {f"reward.parts.{folder}/rewards.py:{name}": 0.1 for name in ("length", "rank")}
    config = configure(KEYS | own)
    run = new_run(folder / "run", config)
    go(run, config)
    run.pin_inputs(inputs_of(config), ("reward",))
    (folder / "rewards.py").rename(folder / "away.py")
    return run, config, folder


def test_a_replay_takes_the_parts_that_were_recorded_and_repeats_to_the_last_bit(
    recorded: tuple[RunDir, Config, Path],
) -> None:
    run, config, _ = recorded
    assert all(set(record.reward_parts) == set(config.reward.parts) for record in run.rollouts(2))
    assert replay(run, 1).agrees
    assert replay(run, 2).agrees


def test_recorded_parts_may_weigh_otherwise_and_others_are_refused(recorded: tuple[RunDir, Config, Path]) -> None:
    run, _, folder = recorded
    own, other = replay(run, 2, "rlvr", {"reward.parts.format": 30.0}).comparisons
    assert own.grad_norm != other.grad_norm
    with pytest.raises(RlsdError, match="recorded without the part `nowhere:f`"):
        replay(run, 2, "rlvr", {"reward.parts.nowhere:f": 1.0})
    with pytest.raises(RlsdError, match=r"recorded with another `reward.format_pattern`"):
        replay(run, 2, "rlvr", {"reward.format_pattern": "x"})
    assert folder


def test_a_run_is_not_continued_with_a_function_that_has_changed(recorded: tuple[RunDir, Config, Path]) -> None:
    run, config, folder = recorded
    path = folder / "rewards.py"
    with pytest.raises(RlsdError, match=rf"reward.parts.{path}:length `{path}` is not there any more"):
        run.pin_inputs(inputs_of(config), ("reward",))
    try:
        path.write_text(MINE)
        run.pin_inputs(inputs_of(config), ("reward",))
        path.write_text(MINE + "\n# another\n")
        with pytest.raises(RlsdError, match=rf"reward.parts.{path}:rank `{path}` has changed"):
            run.pin_inputs(inputs_of(config), ("reward",))
    finally:
        path.unlink()


def test_the_command_names_a_run_by_its_function_and_says_that_it_has_changed_since(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(MINE)
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(40)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["data=d.jsonl", "steps=1", "prompts_per_step=2", "samples_per_prompt=2", "evaluation.problems=4"]
    command = [sys.executable, "-m", "rlsd_cli.app", "train", *arguments, "reward.parts../rewards.py:rank=0.5"]

    def train() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    first = train()
    assert first.returncode == 0, first.stderr
    assert " rank " in first.stderr
    (run,) = (path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    assert "-rank0.5-" in run.name
    (tmp_path / "rewards.py").write_text(MINE + "# another\n")
    again = train()
    assert "reward.parts../rewards.py:rank" in again.stderr
    assert "has changed" in again.stderr


# -- the documentation ------------------------------------------------------------------------------------------------

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "rewards.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_of_the_documentation_are_a_config_and_functions_that_it_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    (tmp_path / "mine.toml").write_text(blocks("toml")[0])
    (tmp_path / "rewards.py").write_text("\n".join(blocks("python")))
    monkeypatch.chdir(tmp_path)
    config = resolve(["mine.toml"], {}).config
    assert config.reward.parts == {"answer": 1.0, "format": 0.1, "overlong": 0.5, "./rewards.py:brevity": 0.2}
    _, records = step({**config.reward.parts, "./rewards.py:variety": 1.0})
    assert [record.reward_parts["./rewards.py:variety"] for record in records] == [1.0, 0.5, 1.0, 0.5]
    assert records[0].reward_parts["./rewards.py:brevity"] == pytest.approx(1 / 1.04)


def test_the_pattern_for_a_thought_that_the_prompt_opens_is_one_that_works() -> None:
    (pattern,) = re.findall(r"reward.format_pattern='(.*)'", DOCUMENT.read_text(encoding="utf-8"))
    assert re.fullmatch(pattern, "2+3 is 5\n</think>\n5")
    assert not re.fullmatch(pattern, "2+3 is 5")
    assert not re.fullmatch(pattern, "2+3 is 5</think> ")


# -- several processes ------------------------------------------------------------------------------------------------


def test_functions_of_groups_give_the_same_in_two_processes_as_in_one(mine: str) -> None:
    parts = {"format": 0.3, "overlong": 0.5, f"{mine}:length": 0.01, f"{mine}:rank": 1.0}
    keys = {
        "method": "rlvr",
        "reward.parts": parts,
        "reward.format_pattern": r".*[02468]",
        "loss.reduction": "token_mean",
    }
    (one,), (two,) = (two_steps(processes, [[SMALL, keys]]) for processes in (1, 2))
    assert one["weights"] * 2 == pytest.approx(two["weights"], rel=1e-6)
    close(*({key: value for key, value in found.items() if key != "weights"} for found in (one, two)))
    assert all(0 < metrics["reward_parts"][f"{mine}:rank"] < 0.3 for metrics in one["metrics"])
