"""The table of methods: which signal decides the direction of an update, and which its magnitude.

A method is one row. The trainer reads the row and never its name: `samples` says where responses come from, `credit`
and `objective` name entries of the tables in `training.update`, and `defaults` are the config values that belong to the
method (they rank above the schema's defaults and below presets and the command line).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

MethodName = Literal["rlvr", "opsd", "rlsd", "sft"]


@dataclass(frozen=True)
class Method:
    """One row: how responses are made, how tokens are credited, what is minimised."""

    name: MethodName
    summary: str
    source: str
    samples: Literal["policy", "solution"]
    credit: Literal["uniform", "self_distilled"]
    objective: Literal["surrogate", "divergence", "likelihood"]
    defaults: Mapping[str, object] = field(default_factory=dict)

    @property
    def needs_teacher(self) -> bool:
        return self.credit == "self_distilled" or self.objective == "divergence"

    @property
    def needs_reward(self) -> bool:
        """Whether scores enter the update (they are measured and reported in any case)."""
        return self.objective == "surrogate"


_ROWS = (
    Method(
        name="rlvr",
        summary="the verifier decides; every token of a response gets the same credit",
        source="GRPO, arXiv 2402.03300",
        samples="policy",
        credit="uniform",
        objective="surrogate",
    ),
    Method(
        name="opsd",
        summary="the privileged teacher decides direction and magnitude, token by token",
        source="OPSD, arXiv 2601.18734",
        samples="policy",
        credit="uniform",
        objective="divergence",
        defaults={"teacher.view": "solution", "teacher.weights": "frozen", "distill.token_clip": 0.05},
    ),
    Method(
        name="rlsd",
        summary="the verifier decides the direction; the privileged teacher scales each token's magnitude",
        source="RLSD, arXiv 2604.03128",
        samples="policy",
        credit="self_distilled",
        objective="surrogate",
    ),
    Method(
        name="sft",
        summary="maximise the likelihood of each problem's worked solution",
        source="maximum likelihood",
        samples="solution",
        credit="uniform",
        objective="likelihood",
        defaults={"loss.reduction": "token_mean", "optim.lr": 1e-5},
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
