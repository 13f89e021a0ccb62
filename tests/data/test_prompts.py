from typing import Any

import pytest

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import fill, prompt_ids, student_text, teacher_text
from rlsd_cli.errors import RlsdError

PROBLEM = Problem("p1", "0", r"Write \boxed{x} for {reference} and {question}.", "4", r"{prompt}: \boxed{4}")


class Chat:
    """One token a character; a template that writes roles and flags down."""

    chat_template: Any = "roles"

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> dict[str, list[int]]:
        assert options.pop("tokenize")
        assert options.pop("return_dict")
        assert options.pop("add_generation_prompt")
        text = "".join(f"<{message['role']}>{message['content']}" for message in conversation)
        return {"input_ids": [ord(character) for character in f"{text}{sorted(options.items())}<assistant>"]}

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        assert not options
        return {"input_ids": [ord(character) for character in text]}


class Plain(Chat):
    chat_template = None


def config(**values: object) -> Config:
    return merge([], Layer(COMMAND_LINE, {key.replace("__", "."): value for key, value in values.items()})).config


def read(text: str, settings: Config, tokenizer: Chat) -> str:
    return "".join(map(chr, prompt_ids(text, settings, tokenizer)))


def test_braces_survive_and_what_was_filled_in_is_not_filled_again() -> None:
    settings = config(
        prompt__template="{question} {answer}", teacher__view="solution", teacher__template="{reference}|{prompt}"
    )
    assert student_text(PROBLEM, settings) == PROBLEM.question + " {answer}"
    assert teacher_text(PROBLEM, settings) == f"{PROBLEM.solution}|{PROBLEM.question} {{answer}}"
    assert fill(r"\boxed{} {a} {a}", a=r"\1 {a}") == r"\boxed{} \1 {a} \1 {a}"


def test_the_views_differ_by_the_privileged_text_alone() -> None:
    settings = config(prompt__system="be brief", prompt__thinking=False, teacher__template="{prompt}[{reference}]")
    student, teacher = (read(view(PROBLEM, settings), settings, Chat()) for view in (student_text, teacher_text))
    assert student.startswith("<system>be brief<user>")
    assert student.endswith("[('enable_thinking', False)]<assistant>")
    assert teacher.replace("[4]", "", 1) == student


@pytest.mark.parametrize(("view", "shown"), [("answer", "4"), ("solution", r"{prompt}: \boxed{4}")])
def test_the_view_says_what_the_teacher_reads(view: str, shown: str) -> None:
    settings = config(prompt__template="{question}", teacher__view=view, teacher__template="{reference}|{prompt}")
    assert teacher_text(PROBLEM, settings) == f"{shown}|{PROBLEM.question}"


def test_without_a_view_both_read_the_same_tokens() -> None:
    from rlsd_cli.policy.quickstart import tokenizer

    settings = config(teacher__view="none", prompt__template="{question}")
    problem = PROBLEM._replace(question="Q37+58-21=", solution=None, answer="")
    student, teacher = (
        prompt_ids(view(problem, settings), settings, tokenizer()) for view in (student_text, teacher_text)
    )
    assert student == teacher
    assert tokenizer().decode(student) == "Q37+58-21=|"


@pytest.mark.parametrize(
    ("num_hints", "shown"), [(None, "1. vague\n2. clear\n3. {prompt}"), (2, "1. vague\n2. clear"), (1, "1. vague")]
)
def test_the_first_hints_are_shown_as_a_numbered_list(num_hints: int | None, shown: str) -> None:
    problem = PROBLEM._replace(hints=("vague", "clear", "{prompt}"))
    settings = config(
        prompt__template="{question}",
        teacher__view="hints",
        teacher__num_hints=num_hints,
        teacher__template="{reference}|{prompt}",
    )
    assert teacher_text(problem, settings) == f"{shown}|{PROBLEM.question}"


def test_more_hints_than_there_are_is_no_error_and_none_at_all_is_no_number() -> None:
    settings = config(teacher__view="hints", teacher__num_hints=9, teacher__template="{reference}|{prompt}")
    assert teacher_text(PROBLEM._replace(hints=("only",)), settings).startswith("1. only|")
    with pytest.raises(RlsdError, match="num_hints"):
        config(teacher__num_hints=0)


@pytest.mark.parametrize(
    ("view", "lacking", "instead"),
    [
        ("solution", {"solution": None}, "set `teacher.view=answer` or `none`, or"),
        ("answer", {"answer": ""}, "set `teacher.view=none`, or"),
        ("hints", {"hints": None}, "set `teacher.view=answer` or `none`, or"),
        ("hints", {"hints": ()}, "set `teacher.view=answer` or `none`, or"),
    ],
)
def test_a_reference_that_is_not_there_is_an_error_that_names_the_problem(
    view: str, lacking: dict[str, Any], instead: str
) -> None:
    with pytest.raises(RlsdError, match=f"problem `p1` has no `{view}`") as caught:
        teacher_text(PROBLEM._replace(**lacking), config(teacher__view=view))
    assert (caught.value.hint or "").startswith(instead)


def test_flags_and_system_messages_nobody_set_are_not_sent() -> None:
    assert read("hello", config(), Chat()) == "<user>hello[]<assistant>"
    assert read("hello", config(prompt__system=""), Chat()) == "<system><user>hello[]<assistant>"


def test_a_tokenizer_without_a_chat_template_reads_plain_text() -> None:
    assert read("hello", config(), Plain()) == "hello"
    assert read("hello", config(prompt__system="be brief"), Plain()) == "be brief\n\nhello"
