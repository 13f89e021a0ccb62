"""What counts as an answer, and as equal, where reasonable graders disagree."""

from typing import Literal, NamedTuple


class Leniency(NamedTuple):
    """The choices a verifier leaves open. The defaults are those of the published accuracy tables.

    `last_number`: where no answer is marked, take the last number of the text; a guess.
    `relative_tolerance`: verifiers `numeric` and `math`: a number is right within this share of the reference.
    `decimals`: verifier `math`: `rounded` accepts an exact answer that rounds to a decimal reference at the precision
    it is written in, and a decimal that is an exact reference rounded to at least four digits; `exact` neither.
    `percent`: `either` reads `50%` as 0.5, and as 50 where only one of answer and reference has the sign and the other
    is greater than 1; `value` reads it as 0.5 alone.
    `ordered`: whether the order of a plain list counts. That of a tuple or a vector always does.
    `names`: verifier `math`: `strict` keeps variables apart, but for the name of an integer parameter, a constant of
    integration, or the argument of a function that is being defined; `any` lets an answer rename them all.
    `regions`: verifier `math`: `any` takes an interval, an inequality and a set builder for the same region;
    `as_written` wants the answer in the reference's form.
    `restatement`: verifier `math`: `reject` takes a sum, integral, product, limit or determinant that is left to be
    worked out for no answer to a reference that is worked out.
    """

    last_number: bool = True
    relative_tolerance: float = 0.0
    decimals: Literal["rounded", "exact"] = "rounded"
    percent: Literal["either", "value"] = "either"
    ordered: bool = False
    names: Literal["strict", "any"] = "strict"
    regions: Literal["any", "as_written"] = "any"
    restatement: Literal["reject", "accept"] = "reject"
