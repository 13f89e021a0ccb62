"""The keys that each method reads. Other keys are refused beside it, and are not part of a run's identity."""

from collections.abc import Callable, Mapping

from rlsd_cli.methods.base import Distill, Method, PolicyGradient
from rlsd_cli.methods.table import METHODS


def _samples(method: Method) -> bool:
    return method.responses == "policy"


def _scores(method: Method) -> bool:
    return method.scored


def _sums_parts(method: Method) -> bool:
    """Values of prefixes are of the verifier's scores, and so are the responses that they are compared with."""
    return _samples(method) and method.continuations is None


def _has_surrogate(method: Method) -> bool:
    return method.has(PolicyGradient)


def _distills(method: Method) -> bool:
    return method.has(Distill)


def _teaches(method: Method) -> bool:
    return any(view.by == "teacher" for view in method.views.values())


def _chooses_view(method: Method) -> bool:
    return any(view.shows is None for view in method.views.values())


def _may_show(what: str) -> Callable[[Method], bool]:
    return lambda method: any(view.shows in (None, what) for view in method.views.values())


CONDITIONS: Mapping[str, Callable[[Method], bool]] = {
    "samples_per_prompt": _samples,
    "verifier_error_limit": _samples,
    "rollout.temperature": _samples,
    "rollout.truncated": _samples,
    "rollout.refill": _scores,
    "reward": _sums_parts,
    "advantage": _scores,
    "loss.surrogate": _has_surrogate,
    "loss.clip_low": _has_surrogate,
    "loss.clip_high": _has_surrogate,
    "loss.dual_clip": _has_surrogate,
    "loss.rollout_correction": _has_surrogate,
    "loss.rollout_correction_level": _has_surrogate,
    "loss.rollout_correction_cap": _has_surrogate,
    "loss.rollout_correction_floor": _has_surrogate,
    "loss.kl_coef": _samples,
    "loss.kl_estimator": _samples,
    "distill": _distills,
    "teacher": _teaches,
    "teacher.view": _chooses_view,
    "teacher.num_hints": _may_show("hints"),
}
"""Keys and sections that some methods do not read, and whether one does; the others are read by all."""


def reads(method: Method, key: str) -> bool:
    """True where the method reads the key; keys under `credit.` are its own settings."""
    section, _, name = key.rpartition(".")
    if section == "credit":
        return name in method.settings.model_fields
    return all(CONDITIONS[part](method) for part in (section, key) if part in CONDITIONS)


def readers(key: str) -> list[str]:
    """The names of the methods that read a key."""
    return [name for name, method in METHODS.items() if reads(method, key)]
