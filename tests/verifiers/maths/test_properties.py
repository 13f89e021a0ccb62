"""What holds for any text and any expression."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.compare import same
from rlsd_verifiers.maths.labels import Rules
from rlsd_verifiers.maths.parser import parse
from rlsd_verifiers.maths.probe import Probe
from rlsd_verifiers.maths.quick import grade_math_quickly
from rlsd_verifiers.maths.rational import UndecidedError, exact
from rlsd_verifiers.maths.tokens import UnreadableError
from rlsd_verifiers.verdict import Submission, Verdict

RULES = Rules(Leniency(), Probe())
PIECES = st.sampled_from(
    r"\frac \sqrt { } ( ) [ ] \{ \} | , ; = < \le + - * / ^ _ ! % x y n 2 10 0.5 \pi \infty \cup \in \text{and} \pm "
    r"\sin f( \begin{pmatrix} \end{pmatrix} & \\ \int \sum \log \binom : and km \circ ' \ldots \left \right $ "
    r"\mathbb{R} \overline".split()
)
NUMBERS = st.fractions(max_denominator=50).map(lambda f: (f"({f.numerator}/{f.denominator})", f))


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 3) -> tuple[str, Fraction]:
    """An expression of rational numbers in LaTeX, and its value."""
    if depth == 0 or draw(st.booleans()):
        return draw(NUMBERS)
    (left, a), (right, b) = draw(arithmetic(depth - 1)), draw(arithmetic(depth - 1))
    sign = draw(st.sampled_from(["+", "-", r"\cdot ", r"\frac"]))
    if sign == r"\frac":
        return (rf"\frac{{{left}}}{{{right}}}", a / b) if b else (left, a)
    return f"({left}{sign}{right})", {"+": a + b, "-": a - b}.get(sign, a * b)


@given(st.lists(PIECES, max_size=25).map(" ".join))
@settings(max_examples=600, deadline=None)
def test_any_mixture_of_symbols_is_read_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except UnreadableError:
        return
    try:
        assert same(tree, tree, RULES)
        same(parse("42"), tree, RULES)
        same(tree, parse("(1, 2)"), RULES)
    except (UndecidedError, UnreadableError):
        pass


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_verdict_or_is_handed_on(answer: str, response: str) -> None:
    for text in (response, f"\\boxed{{{response}}}"):
        verdict = grade_math_quickly(Submission(text, answer), Leniency())
        assert verdict is None or isinstance(verdict, Verdict)


@given(arithmetic())
@settings(max_examples=300, deadline=None)
def test_arithmetic_is_exact(case: tuple[str, Fraction]) -> None:
    text, value = case
    assert exact(parse(text)) == value


@given(arithmetic(depth=2), arithmetic(depth=2))
@settings(max_examples=200, deadline=None)
def test_equality_is_that_of_the_values_from_both_sides(
    left: tuple[str, Fraction], right: tuple[str, Fraction]
) -> None:
    a, b = (parse(f"{text} \\sqrt{{2}}") for text, _ in (left, right))
    assert same(a, b, RULES) == same(b, a, RULES) == (left[1] == right[1])
