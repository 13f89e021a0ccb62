"""The teacher's gap as credit, where it agrees with the verdict."""

from typing import TYPE_CHECKING

from rlsd_cli.methods.base import Method, NoSettings, PolicyGradient, View, everyone
from rlsd_cli.methods.rules import is_correct, is_wrong

if TYPE_CHECKING:
    from rlsd_cli.core.evidence import Credit, Evidence


def praise(evidence: "Evidence", settings: NoSettings, step: int) -> "Credit":
    """`core.gates.one_sided_gap` of correct responses."""
    from rlsd_cli.core.gates import one_sided_gap

    del settings, step
    return one_sided_gap(evidence.gap("hint")[:, 0], evidence.mask, correct=True)


def blame(evidence: "Evidence", settings: NoSettings, step: int) -> "Credit":
    """`core.gates.one_sided_gap` of wrong responses."""
    from rlsd_cli.core.gates import one_sided_gap

    del settings, step
    return one_sided_gap(evidence.gap("hint")[:, 0], evidence.mask, correct=False)


METHOD = Method(
    name="opdvr",
    summary="a token earns the teacher's gap where that agrees with the verdict, and nothing where it does not",
    source="OPDVR, arXiv 2608.24696",
    deviations=("the teacher is the policy itself, shown what `teacher.view` names; the source has a larger model",),
    views={"hint": View()},
    terms=(
        PolicyGradient(route=is_correct, moves=everyone, credit=praise),
        PolicyGradient(route=is_wrong, moves=everyone, credit=blame),
    ),
    defaults={"teacher.view": "solution", "loss.reduction": "token_mean"},
)
