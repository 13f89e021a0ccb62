import time

import pytest

from rlsd_verifiers import Extraction, Submission, extract, verify
from rlsd_verifiers.extract import why_no_answer


@pytest.mark.parametrize(
    ("response", "text", "rule"),
    [
        (r"so \boxed{42}.", "42", "boxed"),
        (r"\boxed {42}", "42", "boxed"),
        (r"\fbox{43}", "43", "boxed"),
        (r"\boxed {42} and \fbox{43}", "42, 43", "boxes"),
        (r"\boxed{10} and then \boxed{42}", "42", "boxed"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "boxed"),
        (r"\boxed{a = \boxed{3}}", "3", "boxed"),
        (r"\boxed{5} then cut off \boxed{4", "5", "boxed"),
        (r"a stray { before \boxed{6} and } after }", "6", "boxed"),
        (r"<answer>7</answer> \boxed{8}", "8", "boxed"),
        ("<answer>6</answer> <ANSWER> 7 </ANSWER>", "7", "answer tag"),
        ("<answer>6</answer> <answer>7", "6", "answer tag"),
        ("steps\n#### 1,080\n", "1,080", "hash marker"),
        ("#### 5\n#### 6\nbye", "6", "hash marker"),
        ("#### yes", "yes", "hash marker"),
        ("#### Step 1\nThe answer is 4.", "4", "answer is"),
        ("37+58=95;95-21=74;#74", "74", "final hash"),
        ("#74", "74", "final hash"),
        ("1-4=-3;#-3\n", "-3", "final hash"),
        ("we are #1", "1", "last number"),
        ("The answer is 41. No, the answer is 42.", "42", "answer is"),
        ("**Final Answer:** **42**", "42", "answer is"),
        ("Answer: $3.50$ because 7 / 2", "$3.50$", "answer is"),
        ("answer =\n 12\nthen 13", "12", "answer is"),
        ("The answer is Paris, France.", "Paris, France", "answer is"),
        ("The answer is 41. Here the answer is just the number itself, no more", "41", "answer is"),
        ("7 + 7 = 14. Here the answer is just the number itself, no more", "14", "last number"),
        ("Answer: the Act of the year 1933", "1933", "answer is"),
        ("(1) 7 (see **8**)", "8", "bold"),
        ("answering 5 questions", "5", "last number"),
        (r"an empty \boxed{} after 9", "9", "last number"),
        (r"so \boxed{185\}", "185", "boxed"),
        (r"\boxed{2}, \boxed{3} and \boxed{5}", "2, 3, 5", "boxes"),
        (r"\boxed{9} \boxed{9} \boxed{42}", "42", "boxed"),
        (r"Maybe \boxed{41}. No: \boxed{42}.", "42", "boxed"),
        (r"half is \boxed{255}. Final Answer: The final answer is 510. I hope it is correct.", "510", "answer is"),
        (r"\boxed{255}. My final answer is hopefully correct.", "255", "boxed"),
    ],
)
def test_rules(response: str, text: str, rule: str) -> None:
    assert extract(response) == Extraction(text, rule)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("is 42.", "42"),
        ("it costs $1,234,567.50 in all", "1,234,567.50"),
        ("5,1", "5,1"),
        ("12,34", "12,34"),
        ("1,234,5678", "5678"),
        ("in 2020, 5 apples, then", "5"),
        ("down to \N{MINUS SIGN}5", "-5"),
        ("down to -$5", "-5"),
        ("10-3", "3"),
        ("f(x)-3", "3"),
        ("= -3", "-3"),
        ("- 3 apples", "3"),
        (".5 of it", ".5"),
        ("about 1/2", "1/2"),
        ("1 1/2 cups", "1 1/2 cups"),
        (r"gives $\frac{3}{4}$.", "3/4"),
        ("half: 50%!", "50%"),
        ("2.5e-3", "2.5e-3"),
        ("5km", "5"),
        ("4 = x_3", "4"),
        ("4 = x_{3}", "4"),
        ("4 is 2^2", "4"),
        ("4 for H2O", "4"),
        ("\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}", "42"),
    ],
)
def test_last_number(response: str, text: str) -> None:
    assert extract(response) == Extraction(text, "last number")
    assert extract(response, last_number=False) is None


@pytest.mark.parametrize(
    ("response", "text", "rule"),
    [
        (r"we find $x \ge 5$ here", r"x \ge 5", "last formula"),
        (r"so \(\frac{1}{2}\) it is", r"\frac{1}{2}", "last formula"),
        ("$$\n9\n$$", "9", "last formula"),
        ("$1$ and $2$", "1, 2", "last formula"),
        ("so $x+y = 1000$ gives 1", "1", "last number"),
        ("it cost $5 and $6", "6", "last number"),
        (r"\frac{10}{9}", r"\frac{10}{9}", "only line"),
        ("(1, 2)", "(1, 2)", "only line"),
        ("Answer $ \n 9 \n $", "9", "last number"),
    ],
)
def test_formulas_are_read_on_request(response: str, text: str, rule: str) -> None:
    assert extract(response, formulas=True) == Extraction(text, rule)


@pytest.mark.parametrize("response", ["I could not solve it. By the way the year is 42", r"Simplify $\frac{2}{4}$."])
def test_a_text_that_gives_up_or_restates_has_no_answer(response: str) -> None:
    assert extract(response, formulas=True) is None


def test_only_what_is_said_after_thinking_counts() -> None:
    assert extract(r"<think>\boxed{1}</think> so \boxed{2}") == Extraction("2", "boxed")
    assert extract(r"\boxed{1}</think> so \boxed{2}") == Extraction("2", "boxed")
    assert extract(r"<think>\boxed{1}</think>") is None
    assert extract(r"<think>a</think>\boxed{1}<thought>b</thought> 2") == Extraction("2", "last number")


@pytest.mark.parametrize("response", ["<think>1", r"<thought> \boxed{1}", r"<think>a</think> \boxed{1} <Think> no"])
def test_unclosed_thinking_has_no_answer(response: str) -> None:
    assert extract(response) is None
    assert "thinking" in why_no_answer(response)


def test_code_and_text_after_the_end_of_turn_do_not_count() -> None:
    assert extract("```\n\\boxed{1}\n```") is None
    assert extract("2\n```python\nprint(1)") == Extraction("2", "last number")
    assert extract("2<|im_end|>\n1") == Extraction("2", "last number")


@pytest.mark.parametrize(("response", "words"), [("", "empty"), (" \n", "empty"), ("no idea", "no answer")])
def test_why_no_answer(response: str, words: str) -> None:
    assert extract(response) is None
    assert words in why_no_answer(response)


HOSTILE = {
    "open boxes": r"\boxed{" * 150_000,
    "nested boxes": r"\boxed{" * 120_000 + "}" * 120_000,
    "box and blanks": r"\boxed" + " " * 1_000_000,
    "huge box": r"\boxed{" + "1" * 1_000_000 + "}",
    "open answer tags": "<answer>" * 125_000,
    "think tags": "<think>" * 70_000 + "</think>" * 60_000,
    "fences": "```" * 333_333,
    "hashes": "#" * 1_000_000,
    "markers": "#### " * 200_000,
    "answer is": "answer is " * 100_000,
    "answer is, in words": "answer is a b c d e " * 50_000,
    "answer and blanks": "answer" + " " * 1_000_000,
    "unending clause": "answer is" + " a" * 500_000,
    "stars": "answer is " + ".*" * 500_000 + "a",
    "thousands": "1" + ",234" * 250_000 + "5",
    "digits": "1" * 1_000_000,
    "dots": "1." * 500_000,
    "exponents": "1e" * 500_000,
    "slashes": "1/" * 500_000,
    "text commands": r"\text{" * 170_000,
    "fractions": r"\frac{1" * 140_000,
    "backslashes": r"\boxed" + "\\" * 1_000_000,
    "unicode": "\N{MINUS SIGN}\N{VULGAR FRACTION ONE HALF}" * 500_000 + "4",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_malice_is_read_in_linear_time(name: str) -> None:
    started = time.process_time()
    verdict = verify(Submission(HOSTILE[name], "42"))
    assert time.process_time() - started < 1.0
    assert verdict.correct is False
    assert len(verdict.reason) < 300
