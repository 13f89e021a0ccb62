"""One advantage a rollout -> one credit a token."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlsd_cli.core.evidence import Credit
from rlsd_cli.core.ratios import MAX_LOG_RATIO


def uniform_credit(advantage: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Credit:
    """Every token of a rollout earns the rollout's advantage, as in GRPO.

        credit = advantage

    Args:
        advantage: One advantage a rollout.
        mask: True at the tokens that count.

    Returns:
        ``Credit`` without diagnostics.
    """
    return Credit(torch.where(mask, advantage[:, None], 0.0), {})


def self_distilled_credit(
    advantage: Float[Tensor, " B"],
    student_logp: Float[Tensor, "B T"],
    teacher_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    mix: float,
    clip: float,
    weighted: Bool[Tensor, "B T"] | None = None,
) -> Credit:
    """The verifier sets each token's direction, the privileged teacher its magnitude.

        gap    = sg(teacher_logp - student_logp)
        weight = clip(exp(sign(advantage) * gap), 1 - clip, 1 + clip)
        credit = advantage * ((1 - mix) + mix * weight)

    With ``mix`` or ``clip`` 0 the result *is* ``uniform_credit``, bit for bit, and so is a credit of weight 1.

    The clip has two sides whatever the sign of the advantage. The paper's Eq. 16, read literally, clips one side only
    and lets a token of a failed rollout take unbounded blame; Algorithm 1, followed here, does not.

    A rollout with advantage 0 gets 0 whatever the gap. The exponent is held to ±20, so an infinite gap saturates; a NaN
    gap stays NaN at a token that is reweighted, for ``check_credit`` to report.

    Args:
        advantage: One advantage a rollout.
        student_logp: Log-probability of each sampled token under the policy (nats).
        teacher_logp: The same tokens under the teacher's view of the problem (nats).
        mask: True at the tokens that count.
        mix: The paper's lambda, in [0, 1].
        clip: The paper's epsilon_w, finite and not negative.
        weighted: True at the tokens that are reweighted, the others having weight 1; None reweights them all.

    Returns:
        ``Credit``, with ``|advantage| * (1 - mix * clip) <= |credit| <= |advantage| * (1 + mix * clip)`` in the mask.
        Its diagnostics: ``weight`` before it is mixed, 1 at every token that is not reweighted; ``clip_low`` and
        ``clip_high``, True where it was raised to ``1 - clip`` or lowered to ``1 + clip``.

    Raises:
        ValueError: ``mix`` or ``clip`` is out of range.

    Source: RLSD, arXiv 2604.03128, Eq. 13-15 and Algorithm 1, step 3.
    """
    if not 0 <= mix <= 1:
        raise ValueError(f"mix must lie in [0, 1], not {mix}")
    if not 0 <= clip < float("inf"):
        raise ValueError(f"clip must be finite and not negative, not {clip}")
    if mix == 0 or clip == 0:
        return uniform_credit(advantage, mask)

    reweighted = mask & (advantage != 0)[:, None]
    if weighted is not None:
        reweighted = reweighted & weighted

    gap = torch.where(reweighted, teacher_logp - student_logp, 0.0).detach()
    raw = (advantage.sign()[:, None] * gap).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    weight = raw.clamp(1 - clip, 1 + clip)
    credit = advantage[:, None] * ((1 - mix) + mix * weight)
    clipped = {"clip_low": raw < 1 - clip, "clip_high": raw > 1 + clip}
    return Credit(torch.where(mask, credit, 0.0), {"weight": weight, **clipped})


def balance_target(
    advantage: Float[Tensor, " B"],
    old_logp: Float[Tensor, "B T"],
    teacher_logp: Float[Tensor, "B T"],
    initial_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    *,
    shown: Bool[Tensor, "B T"],
    teacher_weight: float,
    reward_weight: float,
    gap_clip: float,
) -> Float[Tensor, " B"]:
    """What the mean log-probability of each response should be, for a flow that balances within its group.

        gap    = mean(clip(teacher_logp - initial_logp, -gap_clip, gap_clip)) * sign(advantage)
        flow   = mean(initial_logp) + teacher_weight * gap + reward_weight * advantage
        target = flow + group_mean(mean(old_logp) - flow)

    Means are over the tokens of a response. A token that the teacher was not shown anything for has gap 0.

    Args:
        advantage: One advantage a rollout.
        old_logp: Log-probability of each sampled token before the update (nats).
        teacher_logp: The same under the teacher's view of the problem.
        initial_logp: The same under the initial policy.
        mask: True at the tokens that count.
        group: Which rollouts answer the same prompt.
        shown: True where the teacher was shown something.
        teacher_weight: The source's beta_T.
        reward_weight: The source's eta_A.
        gap_clip: Largest gap of a token (nats).

    Returns:
        One target a rollout (nats).

    Source: FlowSD, with beta_T = 1 and eta_A = 15.
    """
    num_tokens = mask.sum(dim=1).clamp(min=1)

    def mean(values: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
        return torch.where(mask, values, 0.0).sum(dim=1) / num_tokens

    gap = mean(torch.where(shown, (teacher_logp - initial_logp).clamp(-gap_clip, gap_clip), 0.0)) * advantage.sign()
    flow = mean(initial_logp) + teacher_weight * gap + reward_weight * advantage
    together = (group[:, None] == group).to(flow)
    return (flow + together @ (mean(old_logp) - flow) / together.sum(dim=1)).detach()


def check_credit(
    credit: Credit, advantage: Float[Tensor, " B"], mask: Bool[Tensor, "B T"], *, mix: float, clip: float
) -> None:
    """Holds a credit to what RLSD promises: the verifier's sign, and a magnitude within the band.

        |advantage| * (1 - mix * clip) <= |credit| <= |advantage| * (1 + mix * clip)

    Args:
        credit: What ``self_distilled_credit`` returned.
        advantage: The advantages it was given.
        mask: The mask it was given.
        mix: The mix it was given.
        clip: The clip it was given.

    Raises:
        ValueError: Names the first rollout and token where the credit is not finite, is not 0 outside the mask, has the
            opposite sign of its advantage, or leaves the band by more than rounding.

    Source: RLSD, arXiv 2604.03128, Theorem 5.
    """
    value, base = credit.value, advantage[:, None]
    low, high = 1 - mix * clip, 1 + mix * clip
    faults = {
        "is not finite": mask & ~value.isfinite(),
        "is not 0 outside the mask": ~mask & (value != 0),
        "has the opposite sign of its advantage": mask & (value.sign() * base.sign() < 0),
        f"leaves |advantage| * [{low:.6g}, {high:.6g}]": mask
        & ((value.abs() < base.abs() * (low - 1e-5)) | (value.abs() > base.abs() * (high + 1e-5))),
    }
    for fault, found in faults.items():
        if found.any():
            rollout, token = found.nonzero()[0].tolist()
            raise ValueError(
                f"rollout {rollout}, token {token}: credit {value[rollout, token].item():.6g} {fault} "
                f"(advantage {advantage[rollout].item():.6g})"
            )
