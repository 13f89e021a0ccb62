import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_verifiers import Outcome, Submission, check_reference, verify
from rlsd_verifiers.countdown import MAX_CHARS, UnreadableError, grade_countdown, read_expression
from rlsd_verifiers.leniency import Leniency

REFERENCE = "(25-4)*3+7"


def graded(response: str, reference: str | None = REFERENCE) -> tuple[Outcome, str]:
    verdict = verify(Submission(response, reference), "countdown")
    assert verdict.score == float(verdict.outcome is Outcome.CORRECT)
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{(25-4)*3+7}",
        r"\boxed{7 + 3 * (25 - 4)}",
        r"\boxed{(25-4)\times 3+7=70}",
        r"$$\boxed{7+\left(25-4\right)\cdot3}$$",
        r"\boxed{(25 − 4) × 3 + 7}",
        r"\boxed{(25-4)·3+7.}",
        r"\boxed{-(4-25)*3+7}",
        r"\boxed{+7+3*-(4-25)}",
        "The answer is $7+3(25-4)$, no: the final answer is 7+3*(25-4).",
        "7 + 3 * (25 - 4) = 70",
        "#### 7+(25-4)*3",
        "<answer>((7)+((25-4)*3))</answer>",
        "<think>2(3)</think>\nThe answer is: 7+(25-4)*3",
        "Fullwidth: \\boxed{（２５−４）＊３＋７}",
    ],
)
def test_an_expression_of_the_same_numbers_and_the_same_value_is_right(response: str) -> None:
    outcome, reason = graded(response)
    assert outcome is Outcome.CORRECT, reason


@pytest.mark.parametrize(
    ("expression", "reference", "outcome", "words"),
    [
        ("25*3-4-7", REFERENCE, "wrong", "has the value 64, not 70"),
        ("(25-4)*3+7=71", REFERENCE, "wrong", "has the value 70, not 71"),
        ("70", REFERENCE, "wrong", "does not use 3, 4, 7, 25"),
        ("(25-4)*3", REFERENCE, "wrong", "does not use 7"),
        ("(25-4)*3+7+1-1", REFERENCE, "wrong", "should not use 1, 1"),
        ("(25-4)*3+7*3/3", REFERENCE, "wrong", "should not use 3, 3"),
        ("254*3+7", REFERENCE, "wrong", "does not use 4, 25"),
        ("12+34", "1+2+43", "wrong", "does not use 1, 2, 43"),
        ("25/(4-4)", "25+4-4", "wrong", "divides by zero"),
        ("25/(1-4/4)*0", "25*0+1+4+4", "wrong", "divides by zero"),
        (r"\frac{6}{4}*2", "6*2/4", "correct", "has the numbers"),
        (r"\dfrac{6+2}{\frac{4}{(2)}}", "6*2-2*4", "correct", "has the numbers"),
        (r"\tfrac{6+2}{\cfrac{4}{2}}", "6+2-4/2", "wrong", "has the value 4, not 6"),
        (r"6 \div 4 \ast 2", "6*2/4", "correct", "has the numbers"),
        ("6÷4∗2", "6*2/4", "correct", "has the numbers"),
        ("8/(3-8/3)", "8/(3-8/3)", "correct", "has the numbers"),
        ("8/3", "8/3-0", "wrong", "does not use 0"),
        ("2-3-4", "4-3-2", "wrong", "has the value -5, not -1"),
        ("8/4/2", "8/(4/2)", "wrong", "has the value 1, not 4"),
        ("2-3=-1", "2-3", "correct", "has the numbers"),
        ("2(3)", "2*3", "unparseable", "no sign stands before `(`"),
        ("(2)(3)", "2*3", "unparseable", "no sign stands before `(`"),
        ("2 3", "2*3", "unparseable", "no sign stands before `3`"),
        (r"2\frac{1}{3}", "2+1/3", "unparseable", "no sign stands before `(`"),
        ("2**3", "2*3", "unparseable", "no number stands before `*`"),
        ("2--3", "2+3", "correct", "has the numbers"),
        ("2---3", "2+3", "unparseable", "no number stands before `-`"),
        ("2^3", "2*3", "unparseable", "`^3` cannot be read"),
        ("2*3!", "2*3", "unparseable", "`!` cannot be read"),
        ("2.5*2", "5*1", "unparseable", "cannot be read"),
        ("2*x", "2*3", "unparseable", "`x` cannot be read"),
        (r"2\timesx 3", "2*3", "unparseable", "cannot be read"),
        ("2*3=6=6", "2*3", "unparseable", "not a whole number"),
        ("2*3=", "2*3", "unparseable", "not a whole number"),
        ("2*3=5+1", "2*3", "unparseable", "not a whole number"),
        ("=6", "2*3", "unparseable", "no number stands before its end"),
        ("(2*3", "2*3", "unparseable", "brackets do not match"),
        ("2*3)", "2*3", "unparseable", "brackets do not match"),
        ("2*()3", "2*3", "unparseable", "no number stands before `)`"),
        ("2*3+", "2*3", "unparseable", "no number stands before its end"),
        (r"\frac12", "1/2", "unparseable", "a fraction is not written"),
        (r"\frac{1}2", "1/2", "unparseable", "a fraction is not written"),
        (r"\frac{(1}{2)}", "1/2", "unparseable", "belongs to no fraction"),
        (r"\frac{1)}{(2}", "1/2", "unparseable", "brackets do not match"),
        (r"\frac{1}{2", "1/2", "unparseable", "brackets do not match"),
        ("(1=1)", "1", "unparseable", "brackets do not match"),
        ("{1}/2", "1/2", "unparseable", "belongs to no fraction"),
        ("__import__('os')", "1/2", "unparseable", "cannot be read"),
        ("1+" * MAX_CHARS + "1", "1/2", "unparseable", "more than 500 characters"),
    ],
)
def test_what_an_answer_is_and_why(expression: str, reference: str, outcome: str, words: str) -> None:
    found, reason = graded(f"<answer>{expression}</answer>", reference)
    assert (found, words in reason) == (Outcome(outcome), True), reason


@pytest.mark.parametrize("reference", ["", None, "x", "2(3)", "1/0", "2*3=7", "1+" * MAX_CHARS + "1", "(" * 400])
def test_a_reference_that_is_no_expression_gives_no_verdict(reference: str | None) -> None:
    assert graded(r"\boxed{2*3}", reference)[0] is Outcome.BAD_REFERENCE


@pytest.mark.parametrize("response", ["", "I think\n2*3", "<think>2*3"])
def test_a_response_without_an_answer_has_none(response: str) -> None:
    assert graded(response, "2*3")[0] is Outcome.NO_ANSWER


def test_a_reference_accepts_itself_and_nothing_of_it_is_rounded() -> None:
    assert check_reference(Submission("", REFERENCE), "countdown") is None
    assert read_expression("1/3+1/3").value == Fraction(2, 3)
    big = "9" * 200
    assert read_expression(f"{big}*{big}").value == int(big) ** 2
    assert graded(f"<answer>{big}*{big}+1-1</answer>", f"1-1+{big}*{big}")[0] is Outcome.CORRECT


ALPHABET = st.sampled_from(
    [*"0123456789+-*/()={}$. x^", "\\frac{", "\\frac", "}{", "\\times", "\\left(", "−", "×", "⁄", "٣", "½", "\\boxed{"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ALPHABET, max_size=60).map("".join) | st.text(max_size=80), st.booleans())
def test_no_text_raises_whether_it_is_the_answer_or_the_reference(text: str, boxed: bool) -> None:
    response = f"<answer>{text}</answer>" if boxed else text
    assert grade_countdown(Submission(response, REFERENCE), Leniency()).outcome in {
        Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.UNPARSEABLE,
    }  # fmt: skip
    verdict = grade_countdown(Submission(f"<answer>{text}</answer>", text), Leniency())
    assert verdict.outcome is not Outcome.WRONG or "<" in text


def trees() -> st.SearchStrategy[str]:
    """Expressions with brackets around every operation, which Python reads the same way."""
    return st.recursive(
        st.integers(0, 99).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        max_leaves=8,
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=5), st.lists(st.sampled_from("+-*/"), min_size=4, max_size=4))
def test_the_value_is_the_one_that_python_gives(parts: list[str], signs: list[str]) -> None:
    text = parts[0] + "".join(sign + part for sign, part in zip(signs, parts[1:], strict=False))
    try:
        wanted = eval(re.sub(r"\d+", r"Fraction(\g<0>)", text))
    except ZeroDivisionError:
        wanted = None
    try:
        assert read_expression(text).value == wanted
    except UnreadableError:
        assert len(text) > MAX_CHARS


@pytest.mark.parametrize("unit", ["(", "-", "1+", "(1", "\\frac{", "\\frac{1}{", "9", "1/3+", "=", " ", "1*(-"])
def test_hostile_text_takes_no_time(unit: str) -> None:
    started = time.perf_counter()
    for size in (MAX_CHARS, 200_000):
        text = (unit * size)[:size]
        graded(f"<answer>{text}</answer>")
        graded(text)
        graded("1+1", text)
    assert time.perf_counter() - started < 2
