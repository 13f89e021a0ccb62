"""The choices of a problem: how they are read, shown once, and graded by the letters they are shown with."""

from string import ascii_uppercase
from typing import Any

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.choices import listing, stem
from rlsd_cli.data.problems import Problem, problem_of
from rlsd_cli.data.prompts import student_text, teacher_text
from rlsd_verifiers import Leniency, Outcome, Submission
from rlsd_verifiers.choice import grade_choice

CITIES = ("Lyon", "Paris", "Nice")
LIST = "A. Lyon\nB. Paris\nC. Nice"
PROBLEM = Problem("p1", "0", "Which is the capital?", "B", choices=CITIES)


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, {key.replace("__", "."): value for key, value in values.items()})).config


def read(choices: Any, answer: str = "B", question: str = "Which is the capital?") -> Problem:
    return problem_of({"question": question, "answer": answer, "choices": choices})[0]


# -- where they stand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{question}", f"Which is the capital?\n\n{LIST}"),
        ("Q: {question}\n\nBox it.", f"Q: Which is the capital?\n\n{LIST}\n\nBox it."),
        ("{question} One of:\n{choices}\nBox it.", f"Which is the capital? One of:\n{LIST}\nBox it."),
        ("{choices}\n\n{question}", f"{LIST}\n\nWhich is the capital?"),
    ],
)
def test_choices_stand_where_the_template_says_and_otherwise_behind_the_question(template: str, text: str) -> None:
    assert student_text(PROBLEM, config(prompt__template=template)) == text
    ragged = PROBLEM._replace(question="Which is the capital?\n")
    assert student_text(ragged, config(prompt__template="{question}")) == f"Which is the capital?\n\n{LIST}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{question}\n\n{choices}\n\nBox it.", "Why?\n\nBox it."),
        ("{question} {choices} Box it.", "Why? Box it."),
        ("{question}\n\n{choices}", "Why?"),
        ("{choices}\n\n{question}", "Why?"),
        ("{question}[{choices}]", "Why?[]"),
    ],
)
@pytest.mark.parametrize("choices", [None, ()])
def test_without_choices_their_place_leaves_no_blank_lines(
    template: str, text: str, choices: tuple[str, ...] | None
) -> None:
    problem = PROBLEM._replace(question="Why?", choices=choices)
    assert student_text(problem, config(prompt__template=template)) == text


def test_placeholders_in_a_question_and_in_choices_stay_as_they_are() -> None:
    problem = PROBLEM._replace(question="Fill in {choices}.", choices=("{question}", r"\1 {choices}"))
    expected = "Fill in {choices}.\n\nA. {question}\nB. \\1 {choices}"
    assert student_text(problem, config(prompt__template="{question}")) == expected
    assert student_text(problem._replace(choices=None), config(prompt__template="{question}")) == "Fill in {choices}."


@pytest.mark.parametrize("template", ["{question}", "{question}\n{choices}!"])
@pytest.mark.parametrize("view", ["answer", "solution", "hints", "none"])
def test_both_views_hold_every_choice_and_the_teachers_the_students_whole(view: str, template: str) -> None:
    problem = PROBLEM._replace(solution="It is Paris.", hints=("Not in the south.",))
    settings = config(prompt__template=template, teacher__view=view)
    student, teacher = student_text(problem, settings), teacher_text(problem, settings)
    assert LIST in student
    assert student in teacher
    assert teacher.count(LIST) == 1


def test_the_teacher_reads_the_reference_as_the_data_gives_it_and_fills_in_no_choices() -> None:
    settings = config(prompt__template="{question}", teacher__template="{prompt}|{reference}|{choices}")
    for answer in ("B", "(B) Paris", "Paris"):
        text = teacher_text(PROBLEM._replace(answer=answer), settings)
        assert text == f"Which is the capital?\n\n{LIST}|{answer}|{{choices}}"


# -- shown once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        "\nA. Lyon\nB. Paris\nC. Nice",
        "\n\n(A) Lyon\n(B) Paris\n(C) Nice\n",
        " A) Lyon, B) Paris, C) Nice.",
        " A: Lyon; B: Paris; C: Nice",
        " [A]Lyon [B]Paris [C]Nice",
        "\n**A.** Lyon\n**B.**  Paris \n**C.** Nice",
        "\na) Lyon\nb) Paris\nc) Nice",
    ],
)
def test_choices_that_end_the_question_are_not_shown_again(ending: str) -> None:
    problem = PROBLEM._replace(question=f"Which  is\nthe capital?{ending}")
    assert listing(problem) == ""
    assert stem(problem) == "Which  is\nthe capital?"
    for template in ("{question}", "{question}\n\n{choices}"):
        assert student_text(problem, config(prompt__template=template)) == problem.question


@pytest.mark.parametrize(
    "ending",
    [
        "",
        " Lyon, Paris, Nice",
        "\nB. Paris\nA. Lyon\nC. Nice",
        "\nA. Lyon\nB. Paris",
        "\nA. Lyon\nB. Paris\nC. Nicea",
        "\nA. Lyon\nB. Paris\nC. Rome",
        "\nA. Lyon\nC. Paris\nB. Nice",
        "\nA. Lyon\nB. Paris, Texas\nC. Nice",
        "\nDNA. Lyon\nB. Paris\nC. Nice",
        "\nA Lyon\nB Paris\nC Nice",
        "\nA. Lyon\nB. Paris\nC. Nice\nThe first is wrong.",
    ],
)
def test_choices_that_do_not_all_end_the_question_with_their_letters_in_order_are_shown(ending: str) -> None:
    problem = PROBLEM._replace(question=f"Which?{ending}")
    assert stem(problem) == problem.question
    assert student_text(problem, config(prompt__template="{question}")) == f"Which?{ending}\n\n{LIST}"


def test_choices_of_several_lines_keep_them_and_are_found_at_the_end_of_a_question() -> None:
    programs = ("x = 1\nif x:\n    x = 2", " y = 2 ")
    shown = "A. x = 1\nif x:\n    x = 2\nB. y = 2"
    assert listing(PROBLEM._replace(choices=programs)) == shown
    assert listing(PROBLEM._replace(choices=programs, question=f"Which runs?\n{shown}")) == ""


def test_choices_that_are_their_letters_alone_are_not_listed() -> None:
    assert listing(PROBLEM._replace(choices=("A", "B"))) == ""
    assert listing(PROBLEM._replace(choices=("B", "A"))) == "A. B\nB. A"


# -- how they are read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        ["A. Lyon", "B. Paris", "C. Nice"],
        ["(A) Lyon", "(B) Paris", "(C)Nice"],
        ["A) Lyon", " B)Paris", "C) Nice"],
        ["[A] Lyon", "B: Paris", "C.\nNice"],
        {"A": "Lyon", "B": "Paris", "C": "Nice"},
        {"C": "Nice", "A": "Lyon", "B": "Paris", "D": None},
        {"A": "A. Lyon", "B": "B. Paris", "C": "C. Nice"},
    ],
)
def test_labels_of_their_own_and_letters_as_names_leave_the_texts_in_order(given: Any) -> None:
    labelled = read(given)
    assert labelled == read([*CITIES])
    assert listing(labelled) == LIST


@pytest.mark.parametrize(
    "given",
    [
        ["A.D.", "B.C."],
        ["A. Lincoln", "G. Washington"],
        ["A. Lyon", "Paris"],
        ["B. Lyon", "A. Paris"],
        ["A Lyon", "B Paris"],
        ["A. ", "B. "],
        ["a) Lyon", "b) Paris"],
    ],
)
def test_texts_that_only_look_like_labels_stay_whole(given: list[str]) -> None:
    assert read(given).choices == tuple(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"A": "Lyon", "C": "Nice"}, "field `choices` is an object whose names do not run A, B, C, ..."),
        ({"first": "Lyon"}, "field `choices` is an object whose names do not run A, B, C, ..."),
        ({"A": ["Lyon"], "B": "Paris"}, "field `choices` must be a list of texts"),
        (["x"] * 27, "field `choices` has 27 texts, and there are letters for 26"),
    ],
)
def test_choices_without_letters_of_their_own_are_a_fault_of_the_row(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match="choices") as caught:
        read(given)
    assert str(caught.value).startswith(words)


# -- how they are graded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["B", "(B) Paris", "B. Paris", "Paris"])
@pytest.mark.parametrize("given", [CITIES, ("A. Lyon", "B. Paris", "C. Nice")])
def test_the_letter_the_text_and_the_line_as_shown_are_right_in_a_box(answer: str, given: tuple[str, ...]) -> None:
    problem = read([*given], answer)

    def outcome(boxed: str) -> Outcome:
        response = rf"So it is \boxed{{{boxed}}}."
        return grade_choice(Submission(response, problem.answer, choices=problem.choices), Leniency()).outcome

    for right in ("B", "Paris", "B. Paris", "(B)", r"\text{Paris}"):
        assert outcome(right) is Outcome.CORRECT, right
    for wrong in ("A", "Nice", "C. Nice"):
        assert outcome(wrong) is Outcome.WRONG, wrong


def test_every_letter_that_is_shown_is_one_that_the_verifier_reads() -> None:
    problem = read([f"city {number}" for number in range(26)])
    shown = listing(problem).split("\n")
    assert [line[:3] for line in shown] == [f"{letter}. " for letter in ascii_uppercase]
    for letter, line in zip(ascii_uppercase, shown, strict=True):
        for boxed in (letter, line):
            response = rf"\boxed{{{boxed}}}"
            assert grade_choice(Submission(response, line[3:], choices=problem.choices), Leniency()).correct, boxed
