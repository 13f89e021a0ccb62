import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints
from unittest.mock import patch

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, merge
from rlsd_cli.config.schema import Config, VerificationConfig
from rlsd_cli.data.problems import Problem
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading import jobs
from rlsd_cli.grading.jobs import (
    check_problems,
    grade,
    is_of_grading,
    leniency_of,
    open_pool,
    submission,
    verdict_settings,
)
from rlsd_sandbox import Settings
from rlsd_verifiers import Leniency, Pool


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, values)).config


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, timeout_seconds=10.0) as pool:
        yield pool


def problem(answer: str, verifier: str | None = None, name: str = "p") -> Problem:
    return Problem(name, name, "q", answer, verifier=verifier)


def test_a_problems_own_verifier_ranks_above_the_configs(pool: Pool) -> None:
    problems = [problem("1.0"), problem("1.0", "exact"), problem("1.0", "numeric")]
    outcomes = [verdict.outcome for verdict in grade(problems, [r"\boxed{1}"] * 3, config(), pool)]
    assert outcomes == ["correct", "wrong", "correct"]
    outcomes = [verdict.outcome for verdict in grade(problems, [r"\boxed{1}"] * 3, config(verifier="exact"), pool)]
    assert outcomes == ["wrong", "wrong", "correct"]


def test_every_response_gets_its_verdict_in_order(pool: Pool) -> None:
    verdicts = grade([problem("1"), problem("2")], [r"\boxed{2}", r"\boxed{2}"], config(), pool)
    assert [verdict.correct for verdict in verdicts] == [False, True]
    with pytest.raises(ValueError, match="zip"):
        grade([problem("1")], [], config(), pool)


def test_all_that_a_verifier_may_need_is_submitted() -> None:
    full = Problem("p", "f", "question", "answer", "solution", "exact", [1], "entry", ("a", "b"))
    sent = submission(full, "response")
    assert sent == ("response", "answer", [1], "entry", ("a", "b"), "question")


def test_the_configs_leniency_is_the_verifiers_with_the_same_defaults() -> None:
    assert leniency_of(config()) == Leniency()
    other = {
        "last_number": False,
        "relative_tolerance": 0.25,
        "decimals": "exact",
        "percent": "value",
        "ordered": True,
        "names": "any",
        "regions": "as_written",
        "restatement": "accept",
    }
    assert leniency_of(config(**{f"verification.{name}": value for name, value in other.items()})) == Leniency(**other)
    literals = get_type_hints(Leniency)
    for name in Leniency._fields:
        allowed = get_args(VerificationConfig.model_fields[name].annotation)
        assert set(allowed) == set(get_args(literals[name]))


def test_the_configs_leniency_reaches_the_verifier(pool: Pool) -> None:
    close = config(**{"verifier": "numeric", "verification.relative_tolerance": 0.1})
    assert grade([problem("100")], [r"\boxed{95}"], close, pool)[0].correct
    assert not grade([problem("100")], [r"\boxed{95}"], config(verifier="numeric"), pool)[0].correct


def test_all_of_the_config_that_grading_reads_decides_verdicts_but_for_who_does_the_work() -> None:
    verifier, source, verification, sandbox = verdict_settings(config(verifier="math"))
    assert (verifier, source) == ("math", None)
    held = {"verifier", *(f"verification.{key}" for key in verification), *(f"sandbox.{key}" for key in sandbox)}
    read = {key for key in FIELDS if is_of_grading(key)}
    assert read - held == {"verification.workers", "verification.launchers"}
    assert held <= read
    assert not is_of_grading("verifier_error_limit")


def test_a_verifier_of_the_users_decides_verdicts_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for source in ("def grade(submission): return True", "def grade(submission): return False"):
        (tmp_path / "own_source.py").write_text(source)
        found.append(verdict_settings(config(verifier="own_source:grade")))
    assert found[0] != found[1]
    assert json.loads(json.dumps(found)) == found


def test_the_configs_limits_are_the_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    limits = {"verification.workers": 3, "verification.timeout_seconds": 0.25, "verification.memory_mb": 64}
    limits |= {"verification.launchers": ["ssh -o 'User me' node7", "ssh node8"]}
    launchers = [["ssh", "-o", "User me", "node7"], ["ssh", "node8"]]
    for values, expected in ((limits, (3, 0.25, 64, launchers)), ({}, (2, 1.0, 512, []))):
        with (
            patch.object(jobs, "Pool", autospec=True) as made,
            open_pool(config(**values)),
        ):
            workers, timeout_seconds, memory_mb, started_by = expected
            made.assert_called_once_with(
                workers,
                timeout_seconds=timeout_seconds,
                memory_mb=memory_mb,
                sandbox=Settings(),
                launchers=started_by,
            )
    programs = config(**{"sandbox.memory_mb": 64, "sandbox.imports": ["numpy"]})
    with patch.object(jobs, "Pool", autospec=True) as made, open_pool(programs):
        assert made.call_args.kwargs["sandbox"] == Settings(memory_mb=64, imports=("numpy",))


def test_answers_that_cannot_be_graded_are_named_with_the_reason(pool: Pool) -> None:
    problems = [problem("1", name="fine"), problem("one", name="bad"), problem("one", "exact", name="text")]
    faults = check_problems(problems, config(verifier="numeric"), pool)
    assert set(faults) == {"bad"}
    assert "`one` is not a number" in faults["bad"]


@pytest.mark.parametrize("own", [None, "numerik"])
def test_an_unknown_verifier_is_an_error_wherever_it_was_named(own: str | None, pool: Pool) -> None:
    with pytest.raises(RlsdError, match="problem `p` asks for verifier `numerik`") as caught:
        check_problems([problem("1", own)], config(verifier="numeric" if own else "numerik"), pool)
    assert caught.value.hint == "did you mean `numeric`?"


MINE = """
def grade(submission):
    return submission.response.startswith("ANSWER ")

def fussy(submission):
    if int(submission.answer) < 12:
        raise ValueError("too small")
    return True

seven = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a verifier in it, which is not on the path yet."""
    (tmp_path / "mine_here.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine_here", raising=False)
    return tmp_path


def test_a_verifier_of_the_users_is_found_in_the_working_directory_and_may_refuse_the_references(
    here: Path, pool: Pool
) -> None:
    """It says itself what a response looks like."""
    mine = config(verifier="mine_here:grade")
    assert check_problems([problem("1")], mine, pool) == {}
    assert [v.correct for v in grade([problem("1")] * 2, ["ANSWER 1", "1"], mine, pool)] == [True, False]
    assert str(here) in sys.path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        ("mine_here:grad", "`mine_here` has no `grad`; did you mean `grade`"),
        ("mine_here:seven", "`seven` is not a function"),
        ("not_here:grade", "no module named `not_here`"),
    ],
)
def test_a_verifier_that_does_not_load_is_an_error_that_says_why(verifier: str, words: str, pool: Pool) -> None:
    with pytest.raises(RlsdError, match=words) as caught:
        check_problems([problem("1")], config(verifier=verifier), pool)
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("here")
def test_a_verifier_that_fails_on_all_of_the_first_references_is_an_error(pool: Pool) -> None:
    problems = [problem(str(number), name=f"p{number}") for number in range(20)]
    words = r"on any of 8 references .* problem `p0`: the verifier failed with ValueError: too small"
    with pytest.raises(RlsdError, match=words) as caught:
        check_problems(problems, config(verifier="mine_here:fussy"), pool)
    assert caught.value.exit_code == 1
    assert check_problems(problems[5:], config(verifier="mine_here:fussy"), pool) == {}


def test_data_may_not_name_code_to_import(pool: Pool) -> None:
    with pytest.raises(RlsdError, match="problem `p` asks for verifier `os:getcwd`, which is code") as caught:
        check_problems([problem("1"), problem("1", "os:getcwd")], config(), pool)
    assert caught.value.hint == "set the key `verifier=os:getcwd`"
