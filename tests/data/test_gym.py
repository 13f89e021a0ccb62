import json
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from typing import Any

import pytest

from rlsd_cli.data import gym, packages
from rlsd_cli.data.gym import gym_tasks, load_gym
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_verifiers import Pool, Submission, verify_all

installed = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="the package reasoning-gym is not installed")


def test_gym_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", missing)
    for load in (gym_tasks, lambda: load_gym("basic_arithmetic", {})):
        with pytest.raises(RlsdError, match="`reasoning-gym`, which is not installed") as caught:
            load()
        assert caught.value.exit_code == EXIT_MACHINE
        assert "pip install reasoning-gym` (the extra `gym`)" in (caught.value.hint or "")


def made(task: str, **settings: int | float | str) -> list[dict[str, Any]]:
    """The rows of a task, made in this process: importing reasoning-gym for each test would take minutes."""
    return gym.answer(task, settings)


@installed
def test_problems_are_made_elsewhere_and_are_the_same_whatever_the_hashes_here_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        loaded.append(load_gym("word_ladder", {"size": 6, "seed": 3}))
    assert loaded[0] == loaded[1]
    assert [problem.id for problem in loaded[0]] == [f"word_ladder/3/{index}" for index in range(6)]
    assert all(problem.question and problem.answer and problem.verifier == "gym" for problem in loaded[0])


@installed
def test_a_generator_that_prints_does_not_break_the_reply() -> None:
    assert len(load_gym("bf", {"size": 5})) == 5


@installed
def test_an_error_of_the_other_process_comes_with_its_hint() -> None:
    with pytest.raises(RlsdError, match="no task `basic_aritmetic`") as caught:
        load_gym("basic_aritmetic", {})
    assert (caught.value.hint or "").startswith("did you mean `basic_arithmetic`")


def test_a_question_that_comes_twice_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(n), "question": q, "answer": "", "solution": None, "tests": []} for n, q in enumerate("abac")]
    monkeypatch.setattr(gym, "_ask", lambda _: rows)
    assert [problem.id for problem in load_gym("any", {})] == ["0", "1", "3"]


@installed
def test_size_seed_and_other_settings_say_what_is_made() -> None:
    rows = made("basic_arithmetic", size=3, seed=4, max_terms=3, allow_negation="false")
    assert [row["id"] for row in rows] == ["basic_arithmetic/4/0", "basic_arithmetic/4/1", "basic_arithmetic/4/2"]
    assert rows[0]["tests"][0]["settings"] == {"max_terms": 3, "allow_negation": False}
    assert json.loads(json.dumps(rows)) == rows
    assert made("basic_arithmetic", size=3, seed=5)[0]["question"] != rows[0]["question"]
    assert len(made("gcd")) == 1000


@installed
def test_a_worked_text_becomes_the_solution() -> None:
    row = made("gsm_symbolic", size=1)[0]
    assert row["solution"].endswith(f"#### {row['answer']}")


@installed
def test_answers_and_examples_of_answers_are_right_after_json() -> None:
    tasks = ("arc_1d", "rearc", "graph_color", "knights_knaves", "rubiks_cube", "propositional_logic", "power_function")
    rows = [row for task in tasks for row in made(task, size=2)]
    given = [
        Submission(f"<answer>{row['answer']}</answer>", tests=json.loads(json.dumps(row["tests"]))) for row in rows
    ]
    with Pool(1, timeout_seconds=20) as pool:
        verdicts = verify_all(given, "gym", pool=pool)
    assert [row["id"] for row, verdict in zip(rows, verdicts, strict=True) if not verdict.correct] == []


@installed
def test_tasks_that_cannot_be_graded_are_not_offered() -> None:
    names = gym_tasks()
    assert {"basic_arithmetic", "power_function"} < {*names}
    assert not {"composite", "codeio", "puzzle24", "game_of_life_halting", "complex_arithmetic", "coin_flip"} & {*names}
    with pytest.raises(RlsdError, match="`puzzle24` of reasoning-gym cannot be used: its scorer takes any four"):
        made("puzzle24")


@installed
@pytest.mark.parametrize(
    ("task", "settings", "words", "hint"),
    [
        ("basic_aritmetic", {}, "no task `basic_aritmetic`", "did you mean `basic_arithmetic`"),
        ("gcd", {"max_valu": 3}, "`max_valu`: no such setting", "did you mean `max_value`"),
        ("gcd", {"zzz": 3}, "`zzz`: no such setting", "settings: "),
        ("gcd", {"size": 0}, "`size` must be a whole number from 1", None),
        ("gcd", {"seed": "x"}, "`seed` must be a whole number", None),
        ("gcd", {"max_value": "x"}, "`max_value` must be a whole number, found `x`", None),
        ("basic_arithmetic", {"allow_negation": "maybe"}, "must be true or false, found `maybe`", None),
        ("gcd", {"min_value": 9, "max_value": 3}, "cannot be made with these settings: AssertionError", None),
        ("basic_arithmetic", {"operators": "+"}, "that is set by a list or a table", None),
    ],
)
def test_what_cannot_be_made_is_an_error_that_says_why(
    task: str, settings: dict[str, int | float | str], words: str, hint: str | None
) -> None:
    with pytest.raises(RlsdError) as caught:
        made(task, **settings)
    assert words in caught.value.message
    assert hint is None or (caught.value.hint or "").startswith(hint)
