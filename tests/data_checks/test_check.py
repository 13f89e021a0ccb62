"""What a check finds in problems: each fault planted once, sound problems left alone, by the verifiers of training."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.lengths import quantiles
from rlsd_cli.data.problems import Found, Problem, content_hash, problem_of
from rlsd_cli.data.sources import parse_source, read_source
from rlsd_cli.data_checks import check as check_module
from rlsd_cli.data_checks.check import Checked, Checking, tried_out
from rlsd_cli.data_checks.check_report import Report, percent
from rlsd_cli.data_checks.check_views import Reading
from rlsd_cli.data_checks.perturb import changes
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.grading.jobs import as_answer, is_unsolved
from rlsd_cli.policy.tokenizer import Room, load_room
from rlsd_sandbox import RefusedError, Sandbox
from rlsd_verifiers import Outcome, Pool, Verdict

ADD = "def add(a, b):\n    return a + b\n"
CALLS = [{"args": [2, 3], "expected": 5}]


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, values)).config


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, timeout_seconds=10.0) as pool:
        yield pool


@pytest.fixture(scope="module")
def room() -> Room:
    return load_room("quickstart")


@pytest.fixture
def _jail() -> None:
    try:
        with Sandbox() as sandbox:
            sandbox.start()
    except RefusedError as error:
        pytest.skip(f"programs cannot be jailed here: {error}")


def rows(*given: dict[str, Any]) -> list[Found]:
    return [Found(f"f.jsonl:{number}", problem_of(row)[0]) for number, row in enumerate(given, start=1)]


def check(found: list[Found], pool: Pool, reading: Reading = Reading(False), **values: object) -> list[Checked]:  # noqa: B008
    return [checked for checked in Checking(found, config(**values), pool, reading) if checked]


def reasons(checked: list[Checked]) -> list[list[str]]:
    return [[flag.reason for flag in each.flags] for each in checked]


def ask(answer: str, **fields: Any) -> dict[str, Any]:
    """A row whose question says nothing, and is another for every answer."""
    return {"question": f"What is {content_hash(str((answer, fields)))}?", "answer": answer, **fields}


# -- references ----------------------------------------------------------------------------------------------------


def test_sound_problems_of_every_kind_have_no_fault(pool: Pool) -> None:
    sound = [
        ask("72", solution="48 / 2 = 24, so it is 72.\n#### 72"),
        ask("1,080"),
        ask("9"),
        ask("0"),
        ask(r"\frac{1}{2}"),
        ask("x^2 + y"),
        ask(r"\infty"),
        ask(r"\text{Monday}"),
        ask("B"),
        ask("Lyon", choices=["Paris", "Lyon"]),
        ask("Paris", verifier="exact"),
        ask("/[Pp]aris/", verifier="exact"),
        ask("3.5 km", verifier="numeric"),
        ask("(8 - 2) * 4", verifier="countdown"),
        ask("4", solution="The answer is 28 days / 7 days = 4 weeks"),
        {"question": "Tom has 3 apples and gets 5 more. How many are 3 and 5?", "answer": "8"},
        {"question": "Is 12345678901234 even? Write the number again.", "answer": "12345678901234"},
        {"question": "Is it the ticket office?", "answer": "ticket office", "choices": ["ticket office", "till"]},
    ]  # fmt: skip
    checked = check(rows(*sound), pool)
    assert reasons(checked) == [[]] * len(sound)
    assert all(each.own and each.own.correct for each in checked)
    assert all(each.tried and not each.tried[-1].verdict.correct for each in checked)


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        (ask("seven", verifier="numeric"), "bad_reference", "`seven` is not a number"),
        (ask("/(/", verifier="exact"), "bad_reference", "not a regular expression"),
        (ask("7", verifier="numerik"), "bad_reference", "`numerik`, which does not exist"),
        (ask("7", verifier="os:system"), "bad_reference", "data may not name that"),
        (ask("7", verifier="code"), "bad_reference", "tests: missing"),
        (ask(r"\boxed{}"), "rejects_itself", "no answer"),
        (ask("/.*/", verifier="exact"), "accepts_perturbed", "the verifier also accepts `zzz` and `7`"),
        (ask("64", solution="16 + 46 = 62.\n#### 62"), "solution_disagrees", "`62` (hash marker)"),
        (ask("B", solution="So the answer is (C)."), "solution_disagrees", "C"),
        ({"question": "What is 6 * 7? The answer is 42.", "answer": "42"}, "leaks", "the question states the answer"),
        (
            {"question": "Add: first  4 + 4 = 8,\nthen 1", "answer": "9", "solution": "first 4 + 4 = 8, then 1"},
            "leaks",
            "the worked solution",
        ),
        (
            {"question": "Which is more, a^2 + 2abc + b^2 or 7?", "answer": "a^2 + 2abc + b^2"},
            "leaks",
            "holds the answer `a^2 + 2abc + b^2`",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_named(row: dict[str, Any], reason: str, words: str, pool: Pool) -> None:
    [checked] = check(rows(row), pool)
    assert [flag.reason for flag in checked.flags] == [reason]
    assert checked.flags[0].is_fault
    assert words in checked.flags[0].detail
    assert not checked.is_faultless


def test_a_tolerance_that_takes_everything_is_a_verifier_that_accepts_wrong_answers(pool: Pool) -> None:
    wide = {"verifier": "numeric", "verification.relative_tolerance": 5.0}
    [checked] = check(rows(ask("72")), pool, **wide)
    assert [flag.reason for flag in checked.flags] == ["accepts_perturbed"]
    assert "`82` and `73`" in checked.flags[0].detail
    narrow = {"verifier": "numeric", "verification.relative_tolerance": 0.2}
    assert reasons(check(rows(ask("1.72")), pool, **narrow)) == [[]]


def test_a_change_that_is_right_by_chance_is_followed_by_another(pool: Pool) -> None:
    [checked] = check(rows(ask("72")), pool, **{"verifier": "numeric", "verification.relative_tolerance": 0.0})
    assert [each.change.words for each in checked.tried] == ["`82`"]
    [checked] = check(rows(ask("A")), pool)
    assert [(each.change.words, each.verdict.correct) for each in checked.tried] == [("`A`", True), ("`B`", False)]


def test_a_solution_or_a_question_that_marks_nothing_is_not_judged(pool: Pool) -> None:
    silent = [ask("64", solution=text) for text in ("It is 16 and 46, so 62.", "Then it is $16 + 46$")]
    asked = {"question": r"What is $6 \cdot 7$?", "answer": "42"}
    assert reasons(check(rows(*silent, asked), pool)) == [[], [], []]


def test_a_text_that_is_picked_from_the_question_is_noted(pool: Pool) -> None:
    row = {
        "question": "Paula Modersohn and Otto meet. Who is taller?",
        "answer": "Paula Modersohn",
        "verifier": "exact",
    }
    [checked] = check(rows(row), pool)
    assert ([flag.reason for flag in checked.flags], checked.is_faultless) == (["answer_in_question"], True)


def test_what_is_changed_in_a_reference() -> None:
    def words(answer: str, verifier: str, **fields: Any) -> list[str]:
        return [
            change.words
            for change in changes(rows(ask(answer, **fields))[0].problem or Problem("", "", "", ""), verifier)
        ]

    assert words("72", "math") == ["`82`", "`73`"]
    assert words("9", "numeric") == ["`1`"]
    assert words("0.95", "math") == ["`1.95`", "`0.96`"]
    assert words("so 12 and 34 make \\boxed{46}, as 2 + 4 = 6", "math") == ["`56`", "`47`"]
    assert words("x", "math") == ["`x+1`", "`1`"]
    assert words("½", "numeric") == ["`1`", "`2`"]
    assert words("only", "choice", choices=["only"]) == []


# -- choices -------------------------------------------------------------------------------------------------------

CHOOSE = "Name the organ that pumps blood. Choose the correct answer:"
ORGANS = ["the heart of the animal", "the liver of the animal"]
LETTERED = "\nA. the heart of the animal\nB. the liver of the animal"


@pytest.mark.parametrize("question", [CHOOSE, CHOOSE + LETTERED])
@pytest.mark.parametrize("solution", [ORGANS[0], f"A. {ORGANS[0]}", None])
@pytest.mark.parametrize("answer", ["A", ORGANS[0]])
def test_choices_that_a_view_shows_give_nothing_away(
    question: str, solution: str | None, answer: str, pool: Pool
) -> None:
    found = rows({"question": question, "answer": answer, "solution": solution, "choices": ORGANS})
    [checked] = check(found, pool)
    assert checked.own
    assert checked.own.correct
    assert checked.is_faultless, checked.flags
    assert [flag.reason for flag in checked.flags] == (["choices_not_added"] if question != CHOOSE else [])


@pytest.mark.parametrize("choices", [LETTERED, ""])
def test_a_question_that_gives_the_answer_away_before_its_choices_leaks(choices: str, pool: Pool) -> None:
    told = {"answer": "A", "choices": ORGANS}
    marked = {"question": f"What pumps? Everyone knows that the answer is A.{choices}"} | told
    worked = {"question": f"What pumps? Blood comes from the heart.{choices}"} | told
    found = rows(marked, worked | {"solution": "Blood comes from the heart."})
    words = ("the question states the answer", "the student's view holds the worked solution")
    for checked, detail in zip(check(found, pool), words, strict=True):
        assert [flag.reason for flag in checked.flags if flag.is_fault] == ["leaks"]
        assert detail in checked.flags[0].detail


def test_choices_that_are_not_added_to_a_view_are_noted(pool: Pool) -> None:
    shown = {"question": f"Which pumps?{LETTERED}", "answer": "A", "choices": ORGANS}
    bare = {"question": "Who lies, A or B?", "answer": "A", "choices": ["A", "B"]}
    checked = check(rows(shown, bare, ask("A", choices=ORGANS), ask("A")), pool)
    assert [[(flag.reason, flag.detail) for flag in each.flags] for each in checked] == [
        [("choices_not_added", "the question ends with its choices")],
        [("choices_not_added", "the choices are their letters alone")],
        [],
        [],
    ]
    assert all(each.is_faultless for each in checked)


# -- programs ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_jail")
def test_programs_are_tried_on_their_tests_and_spoiled_ones_must_fail(pool: Pool) -> None:
    tested = [
        {"question": "1", "solution": ADD, "tests": CALLS, "entry_point": "add"},
        {"question": "2", "solution": "add = lambda a, b: a + b", "tests": "assert add(2, 3) == 5"},
        {"question": "3", "solution": "print(int(input()) + 1)", "tests": [{"input": "1\n", "output": "2\n"}]},
        {"question": "4", "solution": "def even(n):\n    return n % 2 == 0", "tests": "assert even(4)"},
        {
            "question": "def add(a, b):\n    '''Their sum.'''\n",
            "solution": "    return a + b\n",
            "tests": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
            "entry_point": "add",
        },
        {"question": "6", "tests": CALLS, "entry_point": "add"},
        {"question": "7", "solution": ADD.replace("+", "-"), "tests": CALLS, "entry_point": "add"},
        {"question": "8", "solution": ADD, "tests": [{"args": [2, 3]}], "entry_point": "add"},
        {"question": "9", "solution": ADD, "tests": "sum = add(2, 3)\nassert sum != 4"},
    ]  # fmt: skip
    found = [[]] * 5 + [["unsolved"], ["rejects_itself"], ["bad_reference"], ["accepts_perturbed"]]
    checked = check(rows(*tested), pool)
    assert reasons(checked) == found
    assert checked[5].is_faultless
    assert [len(each.tried) for each in checked[:4]] == [1, 1, 1, 2]
    assert '"?" and a program whose functions return None' in checked[8].flags[0].detail


@pytest.mark.usefixtures("_jail")
def test_tests_that_assert_nothing_are_a_fault_of_the_reference_and_tests_that_nothing_calls_are_not(
    pool: Pool,
) -> None:
    def tested(tests: str, solution: str = ADD) -> dict[str, Any]:
        return {"question": content_hash(tests + solution), "solution": solution, "tests": tests}

    never_reached = "try:\n    add(2, 3)\nexcept TypeError:\n    assert False"
    checked = check(
        rows(
            tested("def test_add():\n    assert add(2, 3) == 5"),
            tested("print(add(2, 3) == 5)"),
            tested("print(add(2, 3) == 5)", ""),
            tested(never_reached),
            tested("for a, b in []:\n    assert add(a, b)", ""),
            tested("def test_add(capsys):\n    assert add(2, 3) == 5"),
        ),
        pool,
    )
    assert reasons(checked) == [[], *[["bad_reference"]] * 5]
    assert "nothing was asserted" in checked[3].flags[0].detail


def test_tests_that_are_no_programs_are_tried_with_the_answer() -> None:
    """Those of the verifier `gym` are an entry of a task; some tasks have no one answer."""
    puzzle = Problem("p", "p", "Which?", "7", verifier="gym", tests=[{"task": "t"}])
    fair = Verdict(Outcome.WRONG, 0.0, "7", "")
    assert as_answer(puzzle, config()) == r"\boxed{7}"
    assert not is_unsolved(puzzle, fair, config())
    assert is_unsolved(puzzle._replace(answer=""), fair, config())
    assert not is_unsolved(puzzle._replace(answer="", tests=None), fair, config())
    assert not is_unsolved(puzzle._replace(answer=""), fair._replace(outcome=Outcome.BAD_REFERENCE), config())
    assert [change.words for change in changes(puzzle, "gym")] == ["`8`"]


# -- a verifier of the user's --------------------------------------------------------------------------------------


def test_a_verifier_of_the_users_is_loaded_and_tried_and_nothing_is_said_of_single_problems(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_check.py").write_text(
        "def no(submission): return False\ndef bad(submission): raise ValueError('never')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with Pool(1, timeout_seconds=10.0) as own:
        assert reasons(check(rows(ask("7")), own, verifier="mine_check:no")) == [[]]
        found = rows(*[ask(str(number)) for number in range(10)])
        assert [*tried_out(found, config(verifier="mine_check:no"), own)] == found
        with pytest.raises(RlsdError, match="no verdict on any of 8 references") as caught:
            list(tried_out(found, config(verifier="mine_check:bad"), own))
        assert caught.value.exit_code == EXIT_NO
    with pytest.raises(RlsdError, match="`numerik`"):
        check(rows(ask("7")), pool, verifier="numerik")


# -- views ---------------------------------------------------------------------------------------------------------


def test_a_view_that_cannot_be_made_is_a_fault_where_it_is_asked_for(pool: Pool) -> None:
    found = rows(ask("7"), ask("8", solution="It is 8."))
    shown = {"teacher.view": "solution"}
    assert reasons(check(found, pool, Reading(True), **shown)) == [["no_view"], []]
    assert reasons(check(found, pool, Reading(True), method="sft")) == [["no_view"], []]
    assert reasons(check(found, pool, Reading(True), method="rlvr")) == [[], []]
    assert reasons(check(found, pool, Reading(False), **shown)) == [[], []]


def test_a_solution_without_the_answer_is_noted(pool: Pool) -> None:
    said = [
        ask("1,080", solution="So 1080."),
        ask("1080", solution="$1,080 in all"),
        ask("0.5", solution="that is 1/2"),
    ]
    silent = [ask("64", solution="16 + 46 is 62"), ask("x+1", solution="by symmetry")]
    checked = check(rows(*said, *silent), pool, Reading(True), **{"teacher.view": "solution"})
    assert reasons(checked) == [[], [], [], ["answer_not_in_view"], ["answer_not_in_view"]]
    assert checked[3].is_faultless


@pytest.mark.parametrize(
    ("values", "reason", "words"),
    [
        ({"rollout.max_new_tokens": 230}, [], ""),
        ({"rollout.max_new_tokens": 240}, ["too_long"], "the teacher's view has 24 tokens"),
        ({"rollout.max_new_tokens": 250}, ["too_long", "too_long"], "the student's view has 14 tokens"),
        ({"teacher.max_prompt_tokens": 23}, ["too_long"], "`teacher.max_prompt_tokens` is 23"),
        ({"teacher.max_prompt_tokens": 23, "teacher.overlong": "skip"}, ["teacher_skipped"], "24 tokens"),
        ({"method": "rlvr", "rollout.max_new_tokens": 240}, [], ""),
    ],
)
def test_views_that_leave_no_room_for_a_response(
    values: dict[str, object], reason: list[str], words: str, pool: Pool, room: Room
) -> None:
    short = {"prompt.template": "{question}", "rollout.max_new_tokens": 56}
    short |= {} if "method" in values else {"teacher.template": "H{reference}|{prompt}"}
    row = {"question": "1+2+3+4+5+6+7", "answer": "28282828"}
    [checked] = check(rows(row), pool, Reading(True, *room), **(short | values))
    assert [flag.reason for flag in checked.flags] == reason
    assert words in "".join(flag.detail for flag in checked.flags)
    assert checked.tokens == (14, None if "method" in values else 24)


# -- a whole source ------------------------------------------------------------------------------------------------


def test_ids_questions_and_odd_rows_of_a_file(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = [
        json.dumps({"id": "a", "question": "q 1", "answer": "1"}),
        json.dumps({"id": "a", "question": "q  1", "answer": "1"}),
        json.dumps({"id": "a", "question": "q 2", "answer": "2"}),
        "{",
        json.dumps({"question": "q 3"}),
    ]
    file.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    checked = check([*read_source(parse_source(str(file)))], pool)
    assert reasons(checked) == [["odd_row"], ["repeated"], ["duplicate_id"], ["unreadable"], ["unreadable"]]
    assert [each.is_faultless for each in checked] == [True, True, False, False, False]
    assert checked[4].flags[0].detail.startswith("field `answer` is missing")
    assert checked[3].found.where == f"{file}:4"


def test_rows_stay_in_order_and_few_are_under_way(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_WAITING", 4)
    read, most, given = 0, 0, []

    def source() -> Iterator[Found]:
        nonlocal read
        for number in range(60):
            read += 1
            slow = r"\sqrt{12} + \sin(x)" if number % 7 == 0 else str(number)
            yield Found(str(number), Problem(str(number), content_hash(str(number)), f"q {number}", slow))

    for checked in Checking(source(), config(), pool, Reading(False)):
        if checked:
            given.append(checked.found.where)
        most = max(most, read - len(given))
    assert given == [str(number) for number in range(60)]
    assert most <= 5


def test_a_large_problem_waits_for_those_before_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_WAITING_CHARS", 10)
    assert reasons(check(rows(ask("7"), ask("8"), ask("9")), pool)) == [[]] * 3


def test_a_report_counts_rows_once_and_names_the_first(pool: Pool) -> None:
    report = Report()
    bad = [ask(f"none {number}", verifier="numeric", id=f"p{number}") for number in range(5)]
    for checked in check([Found("f:1", None, fault="spoiled"), *rows(ask("7", id="good"), *bad)], pool):
        report.add(checked)
    summary = report.summary()
    assert (summary["rows"], summary["problems"], summary["faultless"], summary["share"]) == (7, 6, 1, 1 / 7)
    assert (summary["self_accepting"], summary["self_accepting_rate"]) == (1, 1 / 6)
    assert (summary["reasons"], summary["notes"]) == ({"unreadable": 1, "bad_reference": 5}, {})
    table = [*report.table()]
    assert table[0] == ("unreadable", "fault", 1, "14.28 %", "f:1", "spoiled")
    assert table[1][:5] == ("bad_reference", "fault", 5, "71.42 %", "p0, p1, p2, ...")
    assert "none 0" in str(table[1][5])
    assert [*report.words()] == ["1 of 7 rows have no fault (14.28 %)", "1 of 6 references accept themselves"]


def test_shares_are_cut_and_lengths_are_those_of_real_problems() -> None:
    assert percent(7_470, 7_473) == "99.95 %"
    assert percent(99_999, 100_000) == "99.99 %"
    assert (percent(5, 5), percent(0, 5), percent(1, 100_000)) == ("100.00 %", "0.00 %", "< 0.01 %")
    assert percent(29, 100) == "29.00 %"
    assert quantiles({5: 1}) == {"median": 5, "p99": 5, "max": 5}
    assert quantiles({1: 50, 2: 49, 9: 1}) == {"median": 1, "p99": 2, "max": 9}
