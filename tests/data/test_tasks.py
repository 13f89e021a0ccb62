import hashlib
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, permutations, product
from random import Random

import pytest

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.data.tasks import TASKS, arithmetic, generate, iterate, knobs_of, routes, sums
from rlsd_cli.errors import RlsdError
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


@pytest.mark.parametrize("num_terms", [0, 8])
def test_every_step_of_a_route_adds_two_numbers_that_are_left(num_terms: int) -> None:
    for problem in drawn(lambda random: routes.draw(random, num_terms)):
        question = re.fullmatch(r"Q(\d+(?:\+\d+)+)=", problem.question)
        assert question, problem.question
        left = Counter(map(int, question[1].split("+")))
        assert left.total() in ([num_terms] if num_terms else [3, 4])
        assert 1 <= min(left) <= max(left) <= 99
        *steps, last = (problem.solution or "").split(";")
        for step in steps:
            first, second, total = map(int, re.fullmatch(r"(\d+)\+(\d+)=(\d+)", step).groups())  # type: ignore[union-attr]
            assert total == first + second
            assert not Counter((first, second)) - left
            left = left - Counter((first, second)) + Counter((total,))
        assert left == Counter((int(problem.answer),))
        assert last == f"#{problem.answer}"


def test_a_route_begins_anywhere_and_grows_to_both_sides() -> None:
    ways = Counter[tuple[int, ...]]()
    for problem in drawn(lambda random: routes.draw(random, 4), 3000):
        numbers = re.findall(r"\d+", problem.question)
        if len({*numbers}) == 4:
            first, *_ = steps = re.findall(r"(\d+)\+(\d+)=", problem.solution or "")
            ways[tuple(numbers.index(number) for number in (first[0], *(term for _, term in steps)))] += 1
    shares = {way: count / ways.total() for way, count in ways.items()}
    thirds, sixths = ((0, 1, 2, 3), (2, 3, 1, 0)), ((1, 2, 0, 3), (1, 2, 3, 0))
    expected = {**dict.fromkeys(thirds, 1 / 3), **dict.fromkeys(sixths, 1 / 6)}
    assert shares == pytest.approx(expected, abs=0.03)


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


@pytest.mark.parametrize(
    ("draw", "verifier"), [(arithmetic.draw, "exact"), (routes.draw, "exact"), (sums.draw, "numeric")]
)
def test_a_worked_solution_is_graded_correct_by_the_verifier_of_its_task(
    draw: Callable[[Random], Problem], verifier: str
) -> None:
    for problem in drawn(draw, 300):
        assert problem.verifier == verifier
        graded = Submission(problem.solution or "", problem.answer)
        assert check_reference(graded, verifier) is None
        assert verify(graded, verifier).correct
        assert verify(graded._replace(answer=str(int(problem.answer) + 1)), verifier).correct is False


@pytest.mark.parametrize(("draw", "worked"), [(arithmetic.draw_demonstration, 0.4), (routes.draw_demonstration, 0.9)])
def test_a_demonstration_answers_its_question_worked_or_directly_with_or_without_a_hint(
    draw: Callable[[Random], Problem], worked: float
) -> None:
    kinds = {"worked": 0, "hint: solution": 0, "hint: answer": 0}
    for problem in drawn(draw):
        hint, _, bare = problem.question.rpartition("|")
        assert problem.fingerprint == content_hash(bare)
        assert verify(Submission(problem.solution or "", problem.answer), "exact").correct
        kinds["worked"] += problem.solution != f"#{problem.answer}"
        kinds["hint: answer"] += hint == f"H{problem.answer}"
        kinds["hint: solution"] += hint.endswith(f";#{problem.answer}")
        assert not hint or hint.endswith(problem.answer)
    shares = {kind: count / 2000 for kind, count in kinds.items()}
    assert shares == pytest.approx({"worked": worked, "hint: solution": 0.15, "hint: answer": 0.15}, abs=0.04)


@pytest.mark.parametrize("name", ["arithmetic", "routes", "sums"])
def test_a_task_is_a_fixed_list_without_repeats(name: str) -> None:
    problems = generate(name)
    assert problems == generate(name)
    assert len({problem.question for problem in problems}) == len(problems) > 0.8 * TASKS[name].num_problems


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("arithmetic", "f2abc490c3f575ff94691bcdfa17aead580d2bcde4c82cd70d9b5e6c70bf1133"),
        pytest.param(
            "arithmetic-warmup",
            "aaf8fc9f859aee5e3e1ad4fc0f57b48551a02f902e2c4464e4ed9ab3a75ae40a",
            marks=pytest.mark.slow,
        ),
        ("sums", "ff7fb71ded64c8f6fc91fceeff9d2d798cb465c8cae18becc4e1665f88901e87"),
    ],
)
def test_the_problems_of_the_published_numbers_never_change(name: str, digest: str) -> None:
    rows = ["\t".join(map(str, (p.id, p.question, p.answer, p.solution, p.verifier))) for p in generate(name)]
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest() == digest


EXTREMES: list[tuple[str, dict[str, int]]] = [
    ("arithmetic", {"terms": 8, "largest": 999}),
    ("routes", {}),
    ("routes", {"terms": 8, "largest": 999}),
    ("sums", {"terms": 3, "largest": 20}),
    ("sums", {"terms": 2, "largest": 999}),
    ("countdown", {}),
    ("countdown", {"numbers": 3, "largest": 5, "target": 10}),
    ("countdown", {"numbers": 6, "largest": 99, "target": 999}),
    ("base-conversion", {}),
    ("base-conversion", {"base_from": 16, "base_to": 2, "digits": 8}),
    ("base-conversion", {"base_from": 10, "base_to": 16, "digits": 1}),
    ("linear", {}),
    ("linear", {"largest": 2}),
    ("linear", {"unknowns": 2, "largest": 99}),
    ("latin", {}),
    ("latin", {"size": 5, "blanks": 15}),
    ("latin", {"size": 6, "blanks": 22}),
    ("knights", {"people": 2}),
    ("knights", {}),
    ("knights", {"people": 5}),
]


def some(name: str, settings: dict[str, int], count: int = 60) -> list[Problem]:
    return generate(name, {**settings, "count": count})


def solution_of(problem: Problem) -> list[str]:
    """The lines of a worked solution before the box."""
    *lines, box = (problem.solution or "").splitlines()
    assert box == f"\\boxed{{{problem.answer}}}"
    return lines


def test_the_extremes_have_every_task() -> None:
    assert {name for name, _ in EXTREMES} == TASKS.keys() - {"arithmetic-warmup", "routes-warmup"}


@pytest.mark.parametrize(("name", "settings"), EXTREMES)
def test_every_solution_is_graded_correct_and_every_other_answer_is_not(name: str, settings: dict[str, int]) -> None:
    problems = some(name, settings)
    answers = {problem.answer for problem in problems}
    for problem in problems:
        assert problem.fingerprint == problem.id == content_hash(problem.question)
        assert problem.verifier
        graded = Submission(problem.solution or "", problem.answer)
        assert check_reference(graded, problem.verifier) is None
        assert verify(graded, problem.verifier).correct, problem
        for other in sorted(answers - {problem.answer})[:5]:
            assert verify(graded._replace(response=f"\\boxed{{{other}}}"), problem.verifier).correct is False


@pytest.mark.parametrize("name", [*TASKS])
def test_a_count_takes_the_beginning_of_the_same_list_and_a_default_changes_nothing(name: str) -> None:
    few, more = some(name, {}, 40), some(name, {}, 80)
    assert few == more[: len(few)]
    assert some(name, {knob: default for knob, (default, *_) in TASKS[name].knobs.items()}, 40) == few
    assert len({problem.question for problem in few}) == len(few) or TASKS[name].demonstrates


def test_a_question_that_is_drawn_again_keeps_its_first_solution() -> None:
    knobs = {"numbers": 3, "largest": 5}
    few, more = some("countdown", knobs, 200), some("countdown", knobs, 2000)
    assert few == more[: len(few)]
    assert len({problem.question for problem in more}) == len(more) < 500


def test_every_knob_changes_the_problems_and_their_order_does_not_matter() -> None:
    for name, task in TASKS.items():
        for knob, (default, low, high, meaning) in task.knobs.items():
            changed = some(name, {knob: low if low != default else high if knob != "blanks" else 4}, 30)
            assert changed != some(name, {}, 30), (name, knob)
            assert meaning
    first = some("countdown", {"numbers": 3, "largest": 9})
    assert first == some("countdown", {"largest": 9, "numbers": 3})
    pairs = zip(some("latin", {"blanks": 4}), some("latin", {"blanks": 5}), strict=False)
    assert sum(one.answer == other.answer for one, other in pairs) < 5


@pytest.mark.parametrize(
    ("name", "settings", "words", "hint"),
    [
        ("countdown", {"nubmers": 3}, "`countdown` has no knob `nubmers`", "`numbers`"),
        ("countdown", {"zzz": 3}, "`countdown` has no knob `zzz`", "`numbers`, `largest`, `target`, `count`"),
        ("countdown", {"numbers": 7}, "`countdown`: `numbers` = 7 is not in 3..6", "how many numbers"),
        ("arithmetic", {"terms": 1}, "`arithmetic`: `terms` = 1 is not in 2..8 or 0", "terms of a chain"),
        ("arithmetic-warmup", {"terms": 2}, "`arithmetic-warmup` has no knob `terms`", "`count`"),
        ("sums", {"count": 0}, "`sums`: `count` = 0 is not in 1..10000000", "problems drawn"),
        ("sums", {"largest": True}, "`sums`: `largest` = True", "largest term"),
        ("sums", {"largest": "x"}, "`sums`: `largest` = x", "largest term"),
        ("base-conversion", {"base_from": 8, "base_to": 8}, "`base_from` and `base_to` are both 8", "differ"),
        ("latin", {"size": 4, "blanks": 11}, "`blanks` = 11 is more than 10", "five cells in eight"),
    ],
)
def test_a_knob_that_cannot_be_is_refused_with_what_can(
    name: str, settings: dict[str, int], words: str, hint: str
) -> None:
    with pytest.raises(RlsdError) as caught:
        generate(name, settings)
    assert words in caught.value.message
    assert name in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_task_with_few_problems_ends_with_all_of_them() -> None:
    assert len(generate("base-conversion", {"base_from": 10, "base_to": 2, "digits": 1})) == 9
    assert len(generate("knights", {"people": 2})) < 64
    assert knobs_of("knights")["count"].default == 10_000
    assert len([*islice(iterate("knights", {"people": 2}), 500)]) == 500


def test_a_knob_sets_what_its_name_says() -> None:
    for problem in some("arithmetic", {"terms": 7, "largest": 500}):
        terms = [int(term) for term in re.findall(r"\d+", problem.question)]
        assert len(terms) == 7
        assert max(terms) <= 500
    assert any(re.search(r"\d{3}", problem.question) for problem in some("arithmetic", {"largest": 500}))
    assert {len(re.findall(r"\d+", problem.question)) for problem in some("sums", {"terms": 3})} == {3}
    assert max(int(n) for p in some("sums", {"largest": 20}) for n in re.findall(r"\d+", p.question)) <= 20
    for people in (2, 5):
        assert {len(problem.answer) for problem in some("knights", {"people": people})} == {people}


@pytest.mark.parametrize(("numbers", "largest", "target"), [(3, 9, 20), (4, 25, 100), (6, 50, 999)])
def test_a_countdown_search_is_computed_honestly_and_ends_with_a_hit(numbers: int, largest: int, target: int) -> None:
    num_lines = set()
    for problem in some("countdown", {"numbers": numbers, "largest": largest, "target": target}):
        asked = re.match(r"Make (\d+) from ([\d, ]+) with ", problem.question)
        assert asked
        goal, given = int(asked[1]), Counter(map(int, asked[2].split(", ")))
        assert 1 <= goal <= target
        assert given.total() == numbers
        assert max(given) <= largest
        *misses, hit = solution_of(problem)
        num_lines.add(len(misses))
        for line in (*misses, hit):
            have = given.copy()
            ending = " is right." if line is hit else f" is not {goal}."
            assert line.endswith(ending)
            for step in line.removesuffix(ending).split(", "):
                left, sign, right, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", step).groups()  # type: ignore[union-attr]
                used = Counter((int(left), int(right)))
                assert not used - have
                assert {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}.get(
                    sign, Fraction(int(left), int(right))
                ) == int(result)
                have = have - used + Counter([int(result)])
            assert have.total() == 1
            assert (goal in have) == (line is hit)
        assert Counter(map(int, re.findall(r"\d+", problem.answer))) == given
        assert re.fullmatch(r"[-+*/()\d]+", problem.answer)
        assert eval(re.sub(r"\d+", r"Fraction(\g<0>)", problem.answer)) == goal
    assert num_lines == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"digits": 1},
        {"digits": 8},
        {"base_from": 10},
        {"base_to": 10},
        {"base_from": 2, "base_to": 16, "digits": 6},
    ],
)
def test_a_number_is_the_same_in_both_bases_and_every_line_is_true(settings: dict[str, int]) -> None:
    for problem in some("base-conversion", settings):
        asked = re.match(r"Write (\w+) \(base (\d+)\) in base (\d+)\.", problem.question)
        assert asked
        given, base_from, base_to = asked[1], int(asked[2]), int(asked[3])
        assert len(given) == settings.get("digits", 3)
        assert base_from != base_to
        assert base_from == settings.get("base_from", base_from)
        assert base_to == settings.get("base_to", base_to)
        assert int(given, base_from) == int(problem.answer, base_to)
        assert given[0] != "0" != problem.answer[0]
        lines, value = solution_of(problem), int(given, base_from)
        if len(given) == 1 and base_from != 10:
            assert lines.pop(0) == f"{given} is {value}"
        if base_from != 10:
            for count in range(1, len(given)):
                before, digit, after = (
                    int(part, base_from) for part in (given[:count], given[count], given[: count + 1])
                )
                assert lines.pop(0) == f"{before}*{base_from}+{digit}={after}"
        for digit in reversed(problem.answer if base_to != 10 else ""):
            rest, letter = int(digit, base_to), f", {digit}" if digit.isalpha() else ""
            assert lines.pop(0) == f"{value}/{base_to}={value // base_to} rest {rest}{letter}"
            assert value % base_to == rest
            value //= base_to
        assert not lines


def holds(equation: str, x: int, y: int) -> bool:
    """Whether an equation such as `3x - 2y = 5` is true."""
    left, right = (re.sub(r"(\d)([xy])", r"\1*\2", side) for side in equation.split(" = "))
    assert re.fullmatch(r"[-+* xy\d]+", left + right), equation
    return bool(eval(left, {"x": x, "y": y}) == eval(right, {"x": x, "y": y}))


@pytest.mark.parametrize("settings", [{}, {"largest": 2}, {"unknowns": 2}, {"unknowns": 2, "largest": 99}])
def test_a_solution_solves_its_equations_alone_and_every_line_of_it_is_true(settings: dict[str, int]) -> None:
    largest = settings.get("largest", 9)
    for problem in some("linear", settings, 300):
        x, y = (*map(int, re.findall(r"-?\d+", problem.answer)), 0)[:2]
        asked = problem.question.removeprefix("Solve ").partition(" for x")[0].split(" and ")
        assert all(holds(equation, x, y) for equation in asked)
        assert max(abs(x), abs(y)) <= largest
        assert all(1 <= int(number) <= largest for number in re.findall(r"(\d+)[xy]", " ".join(asked)))
        lines = solution_of(problem)
        written = [part for line in lines for part in re.findall(r"[-\dxy][-+ \dxy]* = [-+ \dxy]+?(?=,|$)", line)]
        assert len(written) >= len(lines)
        assert all(holds(equation, x, y) for equation in written), problem
        others = product(range(x - 5, x + 6), range(y - 5, y + 6) if len(asked) == 2 else [0])
        assert [(x, y)] == [(a, b) for a, b in others if all(holds(equation, a, b) for equation in asked)]


@pytest.mark.parametrize(("size", "blanks"), [(4, 4), (4, 10), (5, 12), (6, 20)])
def test_a_latin_square_has_one_solution_that_its_moves_find(size: int, blanks: int) -> None:
    for problem in some("latin", {"size": size, "blanks": blanks}, 15):
        grid = [list(row) for row in problem.question.splitlines()[1:-1]]
        assert (len(grid), sum(row.count("_") for row in grid)) == (size, blanks)
        assert completions(["".join(row) for row in grid], size) == [problem.answer]
        digits = {str(digit) for digit in range(1, size + 1)}
        for line in solution_of(problem):
            row, column, why = re.fullmatch(r"r(\d)c(\d): (.+)", line).groups()  # type: ignore[union-attr]
            r, c = int(row) - 1, int(column) - 1
            assert grid[r][c] == "_"
            if taken := re.fullmatch(r"(\d+) are taken, so (\d)", why):
                assert {*taken[1]} == {*grid[r], *(line[c] for line in grid)} - {"_"} == digits - {taken[2]}
                grid[r][c] = taken[2]
            else:
                only = re.fullmatch(r"the only place for (\d) in its (row|column)", why)
                assert only
                cells = [(r, k) if only[2] == "row" else (k, c) for k in range(size)]
                able = [
                    (i, k) for i, k in cells
                    if grid[i][k] == "_" and only[1] not in {*grid[i], *(line[k] for line in grid)}
                ]  # fmt: skip
                assert able == [(r, c)]
                grid[r][c] = only[1]
        assert "/".join("".join(row) for row in grid) == problem.answer


def completions(grid: list[str], size: int) -> list[str]:
    """Every filling of a grid, by trying all permutations for all rows."""
    found: list[list[str]] = [[]]
    for given in grid:
        rows = ["".join(row) for row in permutations("123456"[:size])]
        fit = [row for row in rows if all(a in ("_", b) for a, b in zip(given, row, strict=True))]
        found = [
            [*above, row] for above in found for row in fit
            if all(len({line[k] for line in (*above, row)}) == len(above) + 1 for k in range(size))
        ]  # fmt: skip
    return ["/".join(rows) for rows in found]


def is_true(claim: str, kind: dict[str, str]) -> bool:
    """A claim in English about people whose kinds are known."""
    names = re.findall(r"\b[A-E]\b", claim)
    kinds = [kind[name] for name in names]
    if "same kind" in claim:
        return kinds[0] == kinds[1]
    if "different kinds" in claim:
        return kinds[0] != kinds[1]
    wanted = "K" if "knight" in claim else "N"
    return wanted in kinds if "at least one" in claim else {*kinds} == {wanted}


@pytest.mark.parametrize("people", [2, 3, 4, 5])
def test_knights_and_knaves_have_one_world_and_every_case_is_argued_truly(people: int) -> None:
    for problem in some("knights", {"people": people}, 40):
        said = dict(re.findall(r"([A-E]) says: ([^.]+)\.", problem.question))
        assert len(said) == people
        worlds = ["".join(world) for world in product("KN", repeat=people)]

        def agrees(name: str, world: str, said: dict[str, str] = said) -> bool:
            kind = dict(zip("ABCDE", world, strict=False))
            return is_true(said[name], kind) == (kind[name] == "K")

        assert [world for world in worlds if all(agrees(name, world) for name in said)] == [problem.answer]
        covered = []
        for line in solution_of(problem):
            start, verdict = line.split(": ")
            cases = [world for world in worlds if world.startswith(start)]
            covered += cases
            if verdict == "fits.":
                assert start == problem.answer
            else:
                name, truth = re.fullmatch(r"([A-E])'s claim is (true|false), no\.", verdict).groups()  # type: ignore[union-attr]
                assert (start["ABCDE".index(name)] == "K") == (truth == "false")
                assert not any(agrees(name, world) for world in cases)
        assert covered == worlds
