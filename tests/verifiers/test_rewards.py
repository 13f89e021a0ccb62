"""Reward functions in worker processes: what they return, and what becomes of those that fail."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsd_cli.config.reward import THINKS
from rlsd_verifiers import Call, Job, Pool, Submission
from rlsd_verifiers.registry import absolute, load
from rlsd_verifiers.rewards import MATCHES, takes_group

TIMEOUT_SECONDS = 0.5
MINE = """
import os, time

def length(submission):
    return len(submission.response) - 4.5

def ranks(submissions):
    order = sorted(submissions, key=lambda each: len(each.response))
    return [float(order.index(each)) for each in submissions]

def correct(submission):
    return True

def scaled(submission, factor):
    return factor * len(submission.response)

def hang(submission):
    time.sleep(100)

def die(submission):
    os._exit(3)

def fail(submission):
    raise LookupError("the judge is away")

def greedy(submission):
    return bytearray(2**31)

def nan(submission):
    return float("nan")

def infinite(submission):
    return float("-inf")

def huge(submission):
    return 2e6

def words(submission):
    return "0.5"

def nothing(submission):
    pass

def listed(responses):
    return [1.0]

def short(submissions):
    return [1.0]

def partly_nan(submissions):
    return [1.0, float("nan")]

def single(submissions):
    return 1.0

def group_hang(submissions):
    time.sleep(100)

not_a_function = 3
"""
TWO = (Submission("abc", "1"), Submission("abcdef", "2"))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rewards") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, timeout_seconds=TIMEOUT_SECONDS) as pool:
        yield pool


def test_a_function_gives_a_number_for_a_response_or_one_for_each_of_a_group(pool: Pool, mine: Path) -> None:
    alone = pool.submit(Call(f"{mine}:length", TWO[:1])).result(20)
    together = pool.submit(Call(f"{mine}:ranks", TWO[::-1])).result(20)
    assert (alone.rewards, together.rewards) == ((-1.5,), (1.0, 0.0))
    assert pool.submit(Call(f"{mine}:scaled", TWO[:1], {"factor": 2})).result(20).rewards == (6.0,)
    assert pool.submit(Call(f"{mine}:correct", TWO[:1])).result(20).rewards == (1.0,)


def test_what_a_function_is_called_with_is_decided_by_the_name_of_its_parameter(mine: Path) -> None:
    names = ("length", "ranks", "listed", "short")
    assert [takes_group(load(f"{mine}:{name}")) for name in names] == [False, True, False, True]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hang", "more than 0.5 s"),
        ("group_hang", "more than 0.5 s"),
        ("die", "died twice (exit status 3)"),
        ("greedy", "more than 512 MB"),
        ("fail", "it failed with LookupError: the judge is away"),
        ("nan", "it returned nan, which is not between -1e+06 and 1e+06"),
        ("infinite", "it returned -inf, which is not between"),
        ("huge", "it returned 2000000.0, which is not between"),
        ("words", "it returned str, not a number"),
        ("nothing", "it returned NoneType, not a number"),
        ("listed", "it returned list, not a number; one that is given a group names its parameter `submissions`"),
        ("short", "it returned 1 numbers for 2 responses"),
        ("partly_nan", "it returned nan"),
        ("single", "it returned float, not a list of numbers"),
        ("absent", "has no `absent`"),
        ("not_a_function", "`not_a_function` is not a function"),
    ],
)
def test_a_function_that_fails_has_no_reward_but_a_reason_and_the_next_call_is_answered(
    pool: Pool, mine: Path, name: str, words: str
) -> None:
    found = pool.submit(Call(f"{mine}:{name}", TWO)).result(30)
    assert found.rewards == ()
    assert words in found.reason
    assert pool.submit(Call(f"{mine}:length", TWO[:1])).result(30).rewards == (-1.5,)


def test_one_function_may_be_a_verifier_and_a_reward(pool: Pool, mine: Path) -> None:
    path = f"{mine}:correct"
    verdict, reward = pool.submit(Job(TWO[0], path)).result(20), pool.submit(Call(path, TWO[:1])).result(20)
    assert (verdict.correct, verdict.rewards, reward.rewards) == (True, (), (1.0,))


def test_a_file_is_named_from_the_working_directory_and_found_from_any(
    mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(mine.parent)
    path = absolute("./mine.py:length")
    monkeypatch.chdir(tmp_path)
    assert load(path)(TWO[0]) == -1.5
    assert absolute("package.module:f") == "package.module:f"


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("<think>2+3 is 5</think>5", 1.0),
        ("\n<think>\na\n\nb\n</think>\n\nThe answer:\n5\n", 1.0),
        ("<think></think>5", 1.0),
        ("<think>a</think>", 0.0),
        ("<think>a</think> \n ", 0.0),
        ("<think>a", 0.0),
        ("a</think>5", 0.0),
        ("5", 0.0),
        ("", 0.0),
        ("well, <think>a</think>5", 0.0),
        ("<think>a<think>b</think>5", 0.0),
        ("<think>a</think>5<think>b</think>6", 0.0),
        ("<think>a</think>5</think>", 0.0),
        ("<think>1 < 2</think>2 > 1", 1.0),
    ],
)
def test_the_default_format_is_one_thought_in_its_tags_and_then_an_answer(
    pool: Pool, response: str, value: float
) -> None:
    assert pool.submit(Call(MATCHES, (Submission(response),), {"pattern": THINKS})).result(20).rewards == (value,)


@pytest.mark.parametrize(
    "text", ["<think>" + "<" * 200_000, "<think></think>" + " " * 200_000, "<think></think>5" * 9000]
)
def test_the_default_format_takes_linear_time(text: str) -> None:
    """Two hundred thousand characters in a second: quadratic, they are hours."""
    started = time.perf_counter()
    assert not re.fullmatch(THINKS, text)
    assert time.perf_counter() - started < 1


def test_a_pattern_that_backtracks_without_end_is_stopped_and_gives_no_value(pool: Pool) -> None:
    found = pool.submit(Call(MATCHES, (Submission("a" * 40 + "b"),), {"pattern": "(a+)+"})).result(30)
    assert found.rewards == ()
    assert "more than 0.5 s" in found.reason
