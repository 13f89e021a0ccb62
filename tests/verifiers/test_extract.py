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
        ("1,000.99m\u00b2", "1,000.99"),
        ("\u56e0\u6b643\u9875", "3"),
        ("1 000 in all", "1 000"),
        (r"12,\!000,\!023", "12,000,023"),
        ("1000,99", "1000,99"),
        ("28 percent", "28%"),
        ("it lasts 3 hours", "3 hours"),
        ("at 12:00", "12:00"),
        (r"2\pi", r"2\pi"),
        (r"so \sqrt{4}", r"\sqrt{4}"),
        ("it is x/2", "x/2"),
        (r"0.\overline{3}", r"0.\overline{3}"),
        ("(12,34)", "(12,34)"),
        ("it is (1,234)", "1,234"),
        ("(x, 3)", "3"),
        ("\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}", "42"),
    ],
)
def test_last_number(response: str, text: str) -> None:
    assert extract(response) == Extraction(text, "last number")
    assert extract(response, last_number=False) is None


@pytest.mark.parametrize(
    ("response", "text", "rule"),
    [
        (r"\boxed{10} or \boxed{42}", "10, 42", "boxes"),
        (r"\boxed{1} papers and \boxed{2} bins", "1, 2", "boxes"),
        (r"$\boxed{(3, 3)} \text{ for part (a) and } \boxed{(1, 1)}$", "(3, 3), (1, 1)", "boxes"),
        (r"\($y_1 = \boxed{x} \) and \( y_2 = \boxed{y} \)", "x, y", "boxes"),
        (r"\boxed{1} and and or thus but \boxed{2}", "2", "boxed"),
        (r"\boxed{2}. wait, actually \boxed{3}", "3", "boxed"),
        (r"\boxed{3}, not \boxed{4}", "3", "boxed"),
        (r"\boxed{42}, \boxed{42}", "42", "boxed"),
        (r"\boxed{41} and so \boxed{}", "41", "boxed"),
        (r"within \boxed{}. The result is 42.", "42", "answer is"),
        (r"in \boxed{answer}. The answer is 42.", "42", "answer is"),
        (r"\boxed 5", "5", "boxed"),
        (r"so \boxed5.", "5", "boxed"),
        (r"$\boxed{28}$ pct", r"28\%", "boxed"),
        (r"\boxed{\text{The answer is } 42}", "42", "boxed"),
        (r"\\boxed{\\left\\{ 3, \\frac{1}{2} \\right\\}}", r"\\left\\{ 3, \\frac{1}{2} \\right\\}", "boxed"),
        (r"\\boxed{\\left\\{ 3 \\right.}", r"\\left\\{ 3 \\right.", "boxed"),
        ("She makes 9*2=18\nA: 18", "18", "answer line"),
        ("The answer to the question is 5.", "5", "answer is"),
        ("The answer is 2.5, not 6.", "2.5", "answer is"),
        ("The answer is not 5.", "not 5", "answer is"),
        ("### Final Answer\n\n42\n", "42", "answer is"),
        ("Final Answer: The largest $n$ is 34.", "34", "answer is"),
        ("Final Answer: Jane started growing it 3 hours ago. I hope it is correct.", "3 hours", "answer is"),
        ("The final answer is $(7.5,6)$. I hope it is correct.", "$(7.5,6)$", "answer is"),
        ("R\u00e9ponse: Janeth aura encore 220 $ \u00e0 payer d'ici 12 mois.", "220", "answer is"),
        ("\u7b54\u6848\u662f42\u3002", "42", "answer is"),
        ("1. **\u7ed3\u8bba**\uff1a\u517199\u9897", "99", "last number"),
        ("\u56e0\u6b64\u5171\u6709**858\u9897**\u7cd6\u679c\u3002", "858", "bold"),
        ("increasing on (0, 1)", "(0, 1)", "last number"),
    ],
)
def test_where_the_answer_is_said_in_words(response: str, text: str, rule: str) -> None:
    assert extract(response) == Extraction(text, rule)


@pytest.mark.parametrize(
    ("response", "text", "rule"),
    [
        (r"we find $x \ge 5$ here", r"x \ge 5", "last formula"),
        (r"so \(\frac{1}{2}\) it is", r"\frac{1}{2}", "last formula"),
        ("$$\n9\n$$", "9", "last formula"),
        ("$1$ and $2$", "1, 2", "last formula"),
        ("so $x+y = 1000$ gives 1", "1", "last number"),
        ("it cost $5 and $6", "6", "last number"),
        ("He has $10,200 + $255 = $10,455.", "10,455", "last number"),
        ("how many $? just about 1$", "1", "last number"),
        ("there are 12 values of $n$", "12", "last number"),
        (r"$28$ percent", r"28\%", "last formula"),
        (r"Answer $ \frac{1}{2} \$ = \frac{10}{9} $", r"\frac{1}{2} \$ = \frac{10}{9}", "last formula"),
        ("$42$ $", "42", "last formula"),
        ("[45 degrees]", "45 degrees", "only line"),
        ("Soucis : 2,74 $ a..", "2,74", "last number"),
        (r"\frac{10}{9}", r"\frac{10}{9}", "only line"),
        ("(1, 2)", "(1, 2)", "only line"),
        ("Answer $ \n 9 \n $", "9", "last number"),
        ("Answer \\( \n 9 \n \\)", "9", "last number"),
        ("\\boxed{x+1", "1", "last number"),
        ("\\fbox{18", "18", "last number"),
    ],
)
def test_formulas_are_read_on_request(response: str, text: str, rule: str) -> None:
    assert extract(response, formulas=True) == Extraction(text, rule)


@pytest.mark.parametrize(
    "response",
    [
        "I could not solve it. By the way the year is 42", r"Simplify $\frac{2}{4}$.", "I don't know.",
        "I am unable to determine it, maybe 42", r"\boxed{}", r"\boxed{answer}", r"not \boxed{4}",
    ],
)  # fmt: skip
def test_a_text_that_gives_up_or_restates_has_no_answer(response: str) -> None:
    assert extract(response, formulas=True) is None


@pytest.mark.parametrize("hidden", ["\u200b", "\x00", "\u2060", "\u00ad", "\ufeff"])
@pytest.mark.parametrize("spelling", [r"\boxed{{{}}}", "The answer is {}.", "so {}", "#### {}", "<answer>{}</answer>"])
def test_a_hidden_character_in_a_number_makes_it_another_answer(hidden: str, spelling: str) -> None:
    for answer in ("42", "2", "4"):
        assert verify(Submission(spelling.format(f"4{hidden}2"), answer), "numeric").correct is False
    assert verify(Submission(spelling.format("\u202e24\u202c"), "42"), "numeric").correct is False


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
    assert time.process_time() - started < 4.0  # a quadratic rule takes minutes
    assert verdict.correct is False
    assert len(verdict.reason) < 300
