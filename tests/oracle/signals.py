"""What each method makes of a response: its terms, from the formulas of the papers and of `docs` alone."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.oracle.cases import Case, Term
from tests.oracle.formulas import credit, falling, keep_sign

Terms = list[Term]
Signal = Callable[[Case, Any], Terms]
"""A response and the method's settings -> the terms that it is in."""


# -- the verdict alone ------------------------------------------------------------------------------------------------


def plain(case: Case, _: Any) -> Terms:
    return [case.rewarded(case.everywhere(case.advantage))]


def fipo(case: Case, s: Any) -> Terms:
    moved = case.logp.detach() - case.old
    ratio, length = moved.exp(), len(moved)
    kept = torch.where(ratio > s.ratio_limit, 0.0, moved)
    later = torch.arange(length)[None] - torch.arange(length)[:, None]
    future = torch.where(later >= 0, 0.5 ** (later / s.half_life), 0.0).double() @ kept
    weight = future.exp().clamp(1 - s.clip_low, 1 + s.clip_high)
    if case.advantage < 0:
        weight = torch.where(ratio > s.safety, weight.clamp(0.8, 1.0), weight)
        if (ratio > s.ratio_limit).sum() > 1:
            weight = torch.zeros_like(weight)
    return [case.rewarded(case.advantage * weight)]


def vineppo(case: Case, _: Any) -> Terms:
    credits, values = case.everywhere(0.0), case.response.values
    ends = [*values[1:], (len(credits), case.score)]
    for (start, before), (end, after) in zip(values, ends, strict=False):
        credits[start:end] = after - before
    return [case.rewarded(credits, moves=True)]


# -- the advantage, scaled by a gap -----------------------------------------------------------------------------------


def scaled(case: Case, gap: Tensor, s: Any) -> Terms:
    """RLSD's credit of a gap, with a lambda that falls."""
    return [case.rewarded(credit(case.advantage, gap, falling(case.step, s.mix, s.mix_decay_steps), s.clip))]


def first(readings: list[Tensor]) -> Tensor:
    return readings[0]


def between(case: Case, view: str, other: str, summary: Callable[[list[Tensor]], Tensor] = first) -> Tensor:
    """Reading after a view less a summary of those after another; 0 where one is lacking."""
    told, others = case.told(view), case.told(other)
    return told[0] - summary(others) if told and others else case.everywhere(0.0)


def rlsd(case: Case, s: Any) -> Terms:
    mix = falling(case.step - 1 + s.mix_first_index, s.mix, s.mix_decay_steps, s.mix_warmup_steps)
    gap = case.gap("hint") if s.rollouts == "all" or case.advantage < 0 else case.everywhere(0.0)
    end = case.response.thought if s.tokens == "thought" else len(gap)
    return [case.rewarded(credit(case.advantage, torch.cat([gap[:end], 0 * gap[end:]]), mix, s.clip))]


def rlrt(case: Case, s: Any) -> Terms:
    gap = -case.gap("hint") if case.correct and case.advantage > 0 else case.everywhere(0.0)
    return [case.rewarded(credit(case.advantage, gap, s.mix, s.clip))]


def cepo(case: Case, s: Any) -> Terms:
    return scaled(case, between(case, "hint", "wrong"), s)


def self_contrast(case: Case, s: Any) -> Terms:
    return scaled(case, between(case, "hint", "own"), s)


def credit_pmi(case: Case, s: Any) -> Terms:
    return scaled(case, between(case, "hint", "other", lambda told: torch.stack(told[: s.strangers]).mean(0)), s)


def first_disagreement(case: Case, s: Any) -> Terms:
    gap = case.gap("hint")
    below = (gap < -s.threshold).nonzero().flatten().tolist()
    end = below[0] + 1 if below else len(gap)
    return scaled(case, torch.cat([gap[:end], 0 * gap[end:]]), s)


# -- the advantage, and something added -------------------------------------------------------------------------------


def amr_sd(case: Case, s: Any) -> Terms:
    left, gap = falling(case.step, 1.0, s.decay_steps), case.gap("hint").clamp(-5, 5)
    factor, agreement = (s.gain, gap) if case.advantage >= 0 else (s.blame, -gap)
    return [case.rewarded(case.advantage * (1 + left * factor * (agreement - s.dead_zone).clamp(min=0)))]


def antisd(case: Case, s: Any) -> Terms:
    if not case.advantage:
        return plain(case, s)
    taken = (F.softplus(case.gap("hint")) - math.log(2)) / 2
    return [case.rewarded(case.advantage - falling(case.step, s.weight, s.decay_steps) * taken)]


def sipo(case: Case, s: Any) -> Terms:
    evidence = between(case, "hint", "mistake")
    if s.form == "multiplicative":
        return scaled(case, evidence, s)
    added = falling(case.step, s.mix, s.mix_decay_steps) * evidence.clamp(-s.clip, s.clip)
    return [case.rewarded(keep_sign(case.advantage + added, case.advantage), moves=True)]


def rlcsd(case: Case, s: Any) -> Terms:
    def mixture(wrong: list[Tensor]) -> Tensor:
        return torch.stack(wrong).exp().mean(0).log()

    evidence = between(case, "right", "wrong", mixture) if case.advantage else case.everywhere(0.0)
    value = (s.scale * (evidence / s.temperature).tanh()).clamp(-s.limit, s.limit)
    selected = value.abs() > s.threshold
    contrasted = case.rewarded(keep_sign(case.advantage + value, case.advantage))
    return [
        plain(case, s)[0]._replace(weight=(~selected).double(), mean="plain"),
        contrasted._replace(coef=s.selected_weight, weight=selected.double(), mean="selected"),
    ]


# -- the gap alone, or beside the advantage ---------------------------------------------------------------------------


def sdar(case: Case, s: Any) -> Terms:
    gate = (s.sharpness * case.gap("hint")).sigmoid() if case.told("hint") else case.everywhere(0.0)
    gated = case.rewarded(gate, moves=True)
    return [*plain(case, s), gated._replace(coef=s.weight)]


def opdvr(case: Case, _: Any) -> Terms:
    gap = case.gap("hint")
    return [case.rewarded(gap.clamp(min=0) if case.correct else gap.clamp(max=0), moves=True)]


def sdpg(case: Case, s: Any) -> Terms:
    weight = falling(case.step, s.weight, s.decay_steps, s.warmup_steps)
    return plain(case, s) + (case.distilled("hint", coef=weight) if case.advantage > 0 else [])


# -- the teacher's distribution ---------------------------------------------------------------------------------------


def opsd(case: Case, s: Any) -> Terms:
    length = len(case.response.tokens)
    places = (torch.arange(length).double() + 0.5) / length
    rise = 1 / (1 + (-(places - s.position_centre) / s.position_width).exp())
    return case.distilled("hint", weight=s.position_floor + (1 - s.position_floor) * rise)


def sdpo(case: Case, _: Any) -> Terms:
    return case.distilled("hint")


def srpo(case: Case, s: Any) -> Terms:
    def is_distilled(case: Case) -> bool:
        return case.correct is False and any(other.correct for other in case.group)

    def certainty(case: Case) -> Tensor:
        table = case.tables("sibling")[0]
        return (s.sharpness * (table.exp() * table).sum(-1)).exp()

    if not is_distilled(case):
        return plain(case, s)
    if not case.is_shown("sibling"):
        return []
    others = [other for other in case.share if is_distilled(other) and other.is_shown("sibling")]
    return case.distilled("sibling", weight=certainty(case) / torch.cat([certainty(other) for other in others]).mean())


def h2sd(case: Case, s: Any) -> Terms:
    if not case.correct:
        return case.distilled("hint", coef=s.fail_weight)
    return scaled(case, case.gap("own") if case.advantage > 0 else case.everywhere(0.0), s)


def hdpo(case: Case, s: Any) -> Terms:
    if case.response.drawn_under == "student":
        return plain(case, s)
    failed = all(other.correct is False for other in case.group if other.response.drawn_under == "student")
    return case.distilled("told", coef=s.weight, mean="told") if failed and case.correct else []


# -- the response as a whole ------------------------------------------------------------------------------------------


def flowsd(case: Case, s: Any) -> Terms:
    def flow(case: Case) -> Tensor:
        initial, told = case.told("initial", by="initial")[0], case.told("hint")
        gap = (told[0] - initial).clamp(-s.gap_clip, s.gap_clip).mean() if told else torch.tensor(0.0)
        sign = (case.advantage > 0) - (case.advantage < 0)
        return initial.mean() + s.teacher_weight * gap * sign + s.reward_weight * case.advantage

    group = [other for other in case.share if other.group is case.group]
    balance = torch.stack([other.sampled.mean() - flow(other) for other in group]).mean()
    return [Term(((case.logp.mean() - flow(case) - balance) ** 2).expand(len(case.logp)))]


def sft(case: Case, _: Any) -> Terms:
    return [Term(-case.logp)]


PLAIN = ("rlvr", "dapo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "gspo", "cispo")
SCALED = (rlsd, rlrt, cepo, self_contrast, credit_pmi, first_disagreement, h2sd)
ADDED = (amr_sd, antisd, sipo, rlcsd, sdar, opdvr)
OTHERS = (fipo, vineppo, sdpg, opsd, sdpo, srpo, hdpo, flowsd, sft)
SIGNALS: dict[str, Signal] = {
    **dict.fromkeys(PLAIN, plain),
    **{signal.__name__: signal for signal in (*SCALED, *ADDED, *OTHERS)},
}
"""By the name of the method."""
