r"""What equals what: pairs of reference and answer, by the kind of difference between them."""

import pytest

from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.compare import same
from rlsd_verifiers.maths.labels import Rules
from rlsd_verifiers.maths.parser import parse
from rlsd_verifiers.maths.probe import Probe
from rlsd_verifiers.maths.rational import ExactValues, UndecidedError
from rlsd_verifiers.maths.tokens import TooComplexError, UnreadableError

PROBE = Probe()
DEFAULT = Leniency()

EQUAL = {
    "numbers": r"""
        1/2 | 0.5
        \frac{1}{2} | \frac12
        \frac 1 2 | .5
        \dfrac{m + n}{2} | \frac{1}{2}(m+n)
        1500 | 1.5e3
        1234567 | 1\,234\,567
        1234567 | 1,234,567
        3.14 | 3,14
        2 × 10^(-10) | 2 \times 10^{-10}
        4.27 × 10^-5 | 4.27 x 10^{-5}
        120000 | 1.2\times 10^5
        \frac13 | 0.\overline{3}
        918\frac{1}{2} | 918.5
        3/2 | 1 1/2
        -7/2 | -3\frac{1}{2}
        5000000 | 5 \text{ million}
        2^{100} | 1267650600228229401496703205376
        10 | 1010_2
        120 | 5!
        10 | \binom{5}{2}
        15 | 15th Day
        12 | 12^{\text{th}}
        \sqrt{16} | 4
        6 \frac{1}{64} | 6.015625
    """,
    "unicode": r"""
        -5 | −5
        2\pi | 2π
        x^2 | x²
        \frac12 | ½
        42 | ４２
        42 | ٤٢
        x \le 3 | x ≤ 3
        (-\infty, -3) \cup (3, \infty) | (-∞, -3) ∪ (3, +∞)
        x^2 | x<sup>2</sup>
    """,
    "surds and constants": r"""
        2\sqrt{3} | \sqrt{12}
        \frac{\sqrt2}{2} | \frac{1}{\sqrt2}
        \sqrt{2}+\sqrt{3} | \sqrt{5+2\sqrt{6}}
        1 | \sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}
        5\sqrt[3]{4} | 5 \cdot 2^{2/3}
        \pi/2 | pi/2
        e^{16}-1 | -1+exp(16)
        -1 | e^{i\pi}
        14 - i | 14.0 + -1.0i
        3 | \log_2(8)
        \pi/4 | \arctan 1
        1-\frac1{\mathrm e} | 1-e^{-1}
        96-10\sqrt{21} | 96 - \sqrt{2100}
    """,
    "expressions": r"""
        x^2+2x+1 | (x+1)^2
        (x+y)^3 | x^3+3x^2y+3xy^2+y^3
        a^2-b^2 | (a+b)(a-b)
        \frac{x+2}{7} | \frac{x}{7}+\frac{2}{7}
        \tan^2(y)+1 | \sec^2(y)
        \frac{\sin 2x}{2} | \sin x\cos x
        \sqrt{x^2} | |x|
        1/\sqrt n | \sqrt{1/n}
        \binom{n}{2} | n(n-1)/2
        \frac{d !}{2 k(d-k) !} | \dfrac{\dbinom{d}{k} (k - 1)!}{2}
        (-1)^n | \cos(n\pi)
        \lceil n / 2\rceil+1 | \left\lceil \dfrac{n}{2} \right\rceil + 1
        3 | \lfloor 7/2 \rfloor
        4 | \lceil 7/2 \rceil
        \angle A + 30 | 30 + \angle A
        \fbox{3x} | 3x
        \frac{1}{3\sqrt[3]{x}^2} | \frac{1}{3x^{2/3}}
        \ln 2 | \log 2
        f(2x) | f(x+x)
        x_i^2 | x^2_i
        \frac{1}{dt} | \frac{1}{td}
    """,
    "labels": r"""
        x=3 | 3
        3 | x = 3
        11 | x\approx11
        1/3 | x=1/3\approx1.3
        y = x^2+2x+1 | 2x+ 1+x^2
        f(x)=x+22 | f(x) = x + 22
        f(n) = 2n+1007 | f(m) = 2m+1007
        |AB|=1 | 1
        \frac{NO}{BO}=\frac{1}{\sqrt{6}} | \frac{1}{\sqrt{6}}
        S_{MBCN}:S=7:32 | 7:32
        2,4,3 | T(10)=2, T(11)=4, T(12)=3
        1,3 | Minimum: 1, Maximum: 3
        x=1, y=2 | y=2, x=1
        p=5,q=2;p=7,q=2 | (5,2),(7,2)
        (p,q,r)=(3,2,7) | (3,2,7)
        1 | \lim_{x \to 0} \frac{\sin x}{x} = 1
        \frac{6^6 - 5^6}{6^5} \approx 3.99 | \dfrac{31031}{7776}
        f(x)=1 | f(x) = 1 \text{ for all } x \in \mathbb{Q}_{>0}
    """,
    "lists and sets": r"""
        1,2,3 | 3,2,1
        1,2,3 | \{3, 1, 2\}
        1 and 2 and 3 | 1,2,3
        5,15 | 5 \text{ and } 15
        x=2 \text{ or } x=3 | \{2,3\}
        1 \pm \sqrt{19} | 1 + \sqrt{19}, 1 - \sqrt{19}
        0, \pm 1, \pm 2 | \{-2, -1, 0, 1, 2\}
        3, 1+\sqrt2, 1-\sqrt2 | 1-\sqrt2, 3, 1+\sqrt2
        (-1,-9),(4,8) | (4, 8) \text{ and } (-1,-9)
        7,4 | 7 \text{ stuffed goats and } 4 \text{ toy helicopters}
        $21,16$ or $11$ | $21,16,11$
        (\sqrt{2}, 0), (-\sqrt{2}, 0) | (\pm \sqrt{2}, 0)
    """,
    "tuples, vectors, matrices": r"""
        (1,\frac{9}{2}) | (1,4.5)
        \begin{pmatrix}-7\\16\\5\end{pmatrix} | (-7,16,5)
        \begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}
        \begin{pmatrix}1&2\\3&4\end{pmatrix} | [[1,2],[3,4]]
        (1,2,3) | \langle 1, 2, 3 \rangle
        1,2,3 | (x, y, z) = (1, 2, 3)
    """,
    "regions": r"""
        (5,\infty) | x>5
        x > 5 | 5 < x
        x > 5 | (5,\infty)
        (-\infty,-5) | k<-5
        (2,3) | \{x | 2 < x < 3\}
        20<P<30 | (20, 30)
        1<x<3 | 3>x>1
        x < 1 | -x > -1
        a\in(-\infty,-1]\cup[3,4) | (-\infty, -1] \cup [3, 4)
        (-\infty,-8)\cup(8,\infty) | (8,\infty)\cup(-\infty,-8)
        x < -2 \text{ or } x > 3 | (-\infty,-2)\cup(3,\infty)
        a \leqslant -2 \text{ or } a = 1 | (-\infty, -2] \cup \{1\}
        x\ne 2 | (-\infty,2)\cup(2,\infty)
        \mathbb{R}\setminus\{2\} | x \ne 2
        1\leq|z|\leq \frac{3}{2} | z \in [-\frac{3}{2}, -1] \cup [1, \frac{3}{2}]
        0<f(x)<1 | (0,1)
        [\frac{e}{5},+\infty) | \left[ \dfrac{e}{5}, +\infty \right)
    """,
    "equations": r"""
        2x+4y-3=0 | y=-\frac{1}{2}x+\frac{3}{4}
        x^2/4 + y^2/3 = 1 | x^2/16 + y^2/12 = 1/4
        x - (y+2) = 0 | x = y + 2
        y = \frac{1}{2}x+3 | 2y = x + 6
        34x+45y-20z+100=0 | -34x-45y+20z-100=0
    """,
    "units, degrees, percent": r"""
        1\text{ km} | 1000\text{ m}
        1 km | 1000 m
        10 | 10\text{ cm}
        15\mbox{ cm}^2 | 15
        \$10 | 10
        3.5 | \$3.50
        90 | 90^\circ
        \frac{\pi}{2} | 90^\circ
        72 degrees | 72
        50 | 50\%
        28\% | 28
        0.5 | 50\%
        62.5\% | \frac58
        1:2 | \frac12
        1:2:3 | 2:4:6
    """,
    "rounding": r"""
        30.52 | \frac{1587}{52}
        33.3 | 100/3
        6.01 | 6 \frac{1}{64}
        600/7 | 85.71
        \sqrt{3} | 1.732
        3.1416 | 3.14159
        6.67\% | \dfrac{1}{15}
    """,
    "parameters": r"""
        \pi k | \pi n
        \frac{\pi}{4}+k\pi | \frac{\pi}{4}+n\pi
        \frac{x^2}{2}+C | \frac{x^2}{2}+K
        \frac{x^2}{2}+C | \frac{x^2+2}{2}+C
    """,
}

DIFFERENT = {
    "tiny numbers": r"""
        \frac{1}{2004!} | \frac{1}{2006!}
        \frac1{2^{99}} | \frac1{2^{98}}
        10^{-23} | 10^{-22}
        0.0000001 | 0.0000002
        4.27 × 10^-5 | 8.54 x 10^-6
        1.6 \times 10^{-19} | 0
        1 + 10^{-20} | 1
        e^{-1000} | e^{-1001}
    """,
    "large numbers": r"""
        2^{100} | 1267650600228229401496703205375
        100! | 100!+1
        3^{200}+1 | 3^{200}
        1e20 | 100000000000000000001
    """,
    "percent and units": r"""
        1 | 1\%
        0.5 | 0.5\%
        28 | 28/100
        10\text{ cm} | 10\text{ m}
        3m | 3
        90 | 90\pi
        1010_2 | 1010
        1:2 | 2:1
    """,
    "equations for values": r"""
        42 | 41 = 42
        42 | 0=1=42
        0 | 2x+1=0
        2x+1=0 | 2x+1
        2 | 3x+4=10
        x=3 | y=3
        f(x)=2x+3 | g(t)=2t+3
        7 = 11a+c | 11a+c
        42 | x \le 42
    """,
    "too much or too little": r"""
        42 | \pm 42
        \pm 42 | 42
        \{1,2\} | \{1,2,3\}
        1331, 1728 | 1728
        1,2,3 | 1,2
        42 | 41, 42, 43
        42 | 42 \text{ if } x > 0, 43 \text{ otherwise}
        42 | 42 \text{ when } x > 0
        1,234 | \{1,234\}
        1,2,\ldots,n | 1,3,5,\ldots,2n-1
    """,
    "order and kind": r"""
        (1,2) | (2,1)
        (1,2) | \{1,2\}
        \begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&3\\2&4\end{pmatrix}
        x > 5 | x \ge 5
        x > 5 | x < 5
        [0,1) | (0,1)
        -4<m\leq0 | (-4, 4]
        f(2) < f(1) | f(1) < f(0)
    """,
    "left to be worked out": r"""
        5050 | \sum_{k=1}^{100}k
        1/3 | \int_0^1x^2dx
        1 | \lim_{x\to 0}\frac{\sin x}{x}
        -2 | \begin{vmatrix}1&2\\3&4\end{vmatrix}
    """,
    "expressions": r"""
        |x| | x
        \sqrt{x^2} | x
        a+b | A+B
        1-\frac1{\mathrm e} | 1+\frac1{\mathrm e}
        3+4i | 3-4i
        x^2+2x+1 | y^2+2y+1
        (x+y)^2 | x^2+y^2
        x_1 | x_2
        4 | 4\sqrt(2)
        2\sqrt{2} | 2.8
    """,
    "rounding": r"""
        \sqrt{3} | 1.73
        \sqrt{3} | 1.733
        0.33 | \frac13
        42 | 41.9
        5 | 5.001
    """,
}  # fmt: skip


def pairs(tables: dict[str, str]) -> list[object]:
    return [
        pytest.param(*(side.strip() for side in line.split(" | ", 1)), id=f"{kind}: {line.strip()}")
        for kind, table in tables.items()
        for line in table.strip().splitlines()
    ]


def decide(reference: str, answer: str, leniency: Leniency = DEFAULT) -> bool:
    return same(parse(reference), parse(answer), Rules(leniency, PROBE))


@pytest.mark.parametrize(("reference", "answer"), pairs(EQUAL))
def test_equal(reference: str, answer: str) -> None:
    assert decide(reference, answer)


@pytest.mark.parametrize(("reference", "answer"), pairs(DIFFERENT))
def test_different(reference: str, answer: str) -> None:
    assert not decide(reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer", "leniency"),
    [
        ("30.52", r"\frac{1587}{52}", Leniency(decimals="exact")),
        ("50", r"50\%", Leniency(percent="value")),
        ("1,2,3", "3,2,1", Leniency(ordered=True)),
    ],
)
def test_leniency_takes_a_liberty_back(reference: str, answer: str, leniency: Leniency) -> None:
    assert decide(reference, answer)
    assert not decide(reference, answer, leniency)


def test_a_restatement_is_left_to_others_where_leniency_accepts_it() -> None:
    with pytest.raises(UndecidedError):
        decide("5050", r"\sum_{k=1}^{100}k", Leniency(restatement="accept"))


def test_exact_values_alone_never_guess() -> None:
    rules = Rules(Leniency(), ExactValues())
    assert same(parse("1/2"), parse("0.5"), rules)
    assert not same(parse("1/2"), parse("0.4"), rules)
    with pytest.raises(UndecidedError):
        same(parse(r"2\sqrt{3}"), parse(r"\sqrt{12}"), rules)


@pytest.mark.parametrize(
    "answer",
    [
        r"9^{9^{9^9}}",
        "9**9**9**9",
        r"2^{100000000}",
        r"10^{1000000}",
        r"((9!)!)!",
        r"100000000!",
        r"\binom{1000000}{500000}",
        r"\Gamma(10000000)",
        "(" * 200 + "1" + ")" * 200,
        r"\frac{1}{1+" * 300 + "1" + "}" * 300,
        "7" * 20_000,
        "0." + "3" * 20_000,
        "+".join("x" * 6_000),
    ],
)
def test_the_static_limits_answer_at_once(answer: str) -> None:
    with pytest.raises(TooComplexError):
        decide("42", answer)


@pytest.mark.parametrize(
    "answer",
    [
        "4\u200b2",
        "4\x002",
        "\u202e24\u202c",
        "4\ud800",
        r"4 \foo{bar} \baz",
        "4 2",
        "__import__('os')",
        "(1, 2",
        "x +",
        "",
    ],
)
def test_what_cannot_be_read_whole_is_refused(answer: str) -> None:
    with pytest.raises(UnreadableError):
        parse(answer)
