r"""CHAMP: 270 competition problems with concepts and hints (Mao, Kim and Zhou 2024, arXiv 2401.06961; MIT).

The data mark mathematics as `@@2^(n-1)@@`; the marks are dropped, as the authors do for their prompts. An answer loses
what only explains it, so that a bare `100` is right where the data say `100 (i.e., all values)`, and is put in a form
that the verifiers read. What the answers then are:

- 213 are numbers, expressions, lists, equations and an interval;
- 33 are `Yes` or `No`, which a guess gets right half of the time;
- 12 are `no solution`, read as the empty set;
- 12 are words, which a response matches only by the same words: `P_Sequence_2, 5, 12, 13, 17, 24, 25, 36, 38, 43`,
  `P_Number-Theory_59` and, a product with dots, `P_Polynomial_46`.

None is a proof.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rlsd_cli.data.packages import package_file
from rlsd_cli.data.problems import Problem, content_hash

Row = Mapping[str, Any]


def load_champ() -> list[Problem]:
    """The 270 problems that the package `champ-dataset` installs; its code is never imported.

    `hints` are the concepts that a problem needs, which say what is known in general, then its own hints; each in the
    order in which the solution uses them. 25 problems have concepts alone.
    """
    data = json.loads(package_file("champ", "v0.json").read_text(encoding="utf-8"))
    return [_problem(row, data) for row in data["problems"].values()]


def _problem(row: Row, data: Row) -> Problem:
    question, answer = _plain(row["_raw_text"]), in_short(row["_raw_answer"])
    steps = [_plain(step["_raw_text"]) for step in row["solution"]["steps"]]
    return Problem(
        id=row["identifier"],
        fingerprint=content_hash(question),
        question=question,
        answer=answer,
        solution="\n".join([*steps, rf"The answer is \boxed{{{answer}}}."]),
        hints=tuple(_hints(row, data)),
    )


def _hints(row: Row, data: Row) -> Iterator[str]:
    names = dict.fromkeys(row["ch_list"])
    for name in names:
        if name in data["concepts"]:
            concept = data["concepts"][name]
            text = _plain(concept["_raw_text"])
            yield f"{concept['name']}: {text}" if concept["name"] else text
    for name in names:
        if name in data["hints"]:
            yield _plain(data["hints"][name]["_raw_text"])


def _plain(text: str) -> str:
    return text.replace("@@", "").strip()


_SHORTER = [
    (re.compile(pattern), shorter)
    for pattern, shorter in (
        (r"(.+?) \((?:i\.e\.|none|no such).*\)", r"\1"),
        (r".+, or (?:equivalently|an equivalent form such as) (.+)", r"\1"),
        (r"(.+), or approximately .+", r"\1"),
        (r"(.+) is the only possible value", r"\1"),
        (r"The (?:limit exists and is equal to|only possible value for the limit is) (.+)", r"\1"),
        (r"The function is periodic, with a period of (.+)", r"\1"),
        (r"(?:At least |At most )?(\w+) (?:inequalities|values?|numbers?|pairs|roots|times|integer-valued \w+)", r"\1"),
        (r"Exactly one(?: sequence)?", "1"),
        (r"(.+) for all n≥\d", r"\1"),
        (r"x=y=0", "x=0, y=0"),
        (r"No (?:\w+ )*?(?:solutions|values)", "no solution"),
        (r"C\((.+), (.+)\)", r"\\binom{\1}{\2}"),
        (r"sum_\((.+)\)\^n (.+)", r"\\sum_{\1}^{n} \2"),
    )
]


def in_short(raw: str) -> str:
    """An answer of the data without marks and explanations."""
    answer = _plain(raw)
    for pattern, shorter in _SHORTER:
        if found := pattern.fullmatch(answer):
            answer = found.expand(shorter)
    return answer
