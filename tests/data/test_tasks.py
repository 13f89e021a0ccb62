import re
from collections.abc import Callable
from random import Random

import pytest

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks import TASKS, arithmetic, generate, sums
from rlsd_verifiers import Submission, check_reference, verify


def drawn(draw: Callable[[Random], Problem], count: int = 2000) -> list[Problem]:
    random = Random(0)
    return [draw(random) for _ in range(count)]


def test_every_running_total_of_a_chain_is_right_and_never_negative() -> None:
    lengths = set()
    for problem in drawn(arithmetic.draw):
        chain = re.fullmatch(r"Q(\d+(?:[+-]\d+)+)=", problem.question)
        assert chain, problem.question
        first, *terms = re.findall(r"[+-]?\d+", chain[1])
        *steps, last = (problem.solution or "").split(";")
        total = int(first)
        assert 1 <= total <= 99
        for term, step in zip(terms, steps, strict=True):
            assert 1 <= abs(int(term)) <= 99
            assert step == f"{total}{term}={total + int(term)}"
            total += int(term)
            assert total >= 0
        assert problem.answer == str(total)
        assert last == f"#{total}"
        lengths.add(len(terms) + 1)
    assert lengths == {2, 3, 4}


def test_every_sum_is_right_line_by_line() -> None:
    for problem in drawn(sums.draw):
        *lines, last = (problem.solution or "").splitlines()
        total = None
        for line in lines:
            left, sign, right, result = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)", line).groups()  # type: ignore[union-attr]
            assert total in (None, int(left))
            total = int(result)
            assert total == int(left) + int(sign + right) >= 0
        asked = [int(term) for term in re.findall(r"\d+", problem.question)]
        signs = [1, *(1 if sign == "+" else -1 for sign in re.findall(r" ([+-]) ", problem.question))]
        assert total == sum(sign * term for sign, term in zip(signs, asked, strict=True))
        assert (problem.answer, last) == (str(total), f"#### {total}")


@pytest.mark.parametrize(("draw", "verifier"), [(arithmetic.draw, "exact"), (sums.draw, "numeric")])
def test_a_worked_solution_is_graded_correct_by_the_verifier_of_its_task(
    draw: Callable[[Random], Problem], verifier: str
) -> None:
    for problem in drawn(draw, 300):
        assert problem.verifier == verifier
        graded = Submission(problem.solution or "", problem.answer)
        assert check_reference(graded, verifier) is None
        assert verify(graded, verifier).correct
        assert verify(graded._replace(answer=str(int(problem.answer) + 1)), verifier).correct is False


def test_a_demonstration_answers_its_question_worked_or_directly_with_or_without_a_hint() -> None:
    kinds = {"worked": 0, "hint: solution": 0, "hint: answer": 0}
    for problem in drawn(arithmetic.draw_demonstration):
        hint, _, bare = problem.question.rpartition("|")
        assert problem.fingerprint == content_hash(bare)
        assert verify(Submission(problem.solution or "", problem.answer), "exact").correct
        kinds["worked"] += problem.solution != f"#{problem.answer}"
        kinds["hint: answer"] += hint == f"H{problem.answer}"
        kinds["hint: solution"] += hint.endswith(f";#{problem.answer}")
        assert not hint or hint.endswith(problem.answer)
    shares = {kind: count / 2000 for kind, count in kinds.items()}
    assert shares == pytest.approx({"worked": 0.4, "hint: solution": 0.15, "hint: answer": 0.15}, abs=0.04)


@pytest.mark.parametrize("name", ["arithmetic", "sums"])
def test_a_task_is_a_fixed_list_without_repeats(name: str) -> None:
    problems = generate(name)
    assert problems == generate(name)
    assert len({problem.question for problem in problems}) == len(problems) > 0.8 * TASKS[name].num_problems
