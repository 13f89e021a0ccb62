"""Small runs of `rlsd train quickstart`, between them every road from a reward to a weight.

A run sets no key that its method does not read. Types, micro-batches and compilation are said, so that nothing is
chosen by measuring this machine.
"""

from typing import Any

Settings = dict[str, Any]

BASE: Settings = {
    "data": "arithmetic:count=400",
    "steps": 5,
    "prompts_per_step": 4,
    "rollout.max_new_tokens": 56,
    "device": "cpu",
    "dtype": "float32",
    "rollout.dtype": "float32",
    "compile": "off",
    "optim.tokens_per_microbatch": 2048,
    "optim.lr": 1e-3,
    "optim.eps": 1e-2,
    "loss.reduction": "token_mean",
    "evaluation.every": 0,
    "evaluation.problems": 4,
    "verification.workers": 1,
}
"""Weights move visibly, and a gradient that is rounding moves none (`optim.eps`). The sum of a step's advantages is 0;
with `token_mean` its loss is not."""

SAMPLED: Settings = {"samples_per_prompt": 4}
TWO: Settings = {"optim.updates_per_batch": 2, "optim.lr": 2e-3}
"""Two updates, far enough apart for ratios to leave their clip."""

RLVR: dict[str, Settings] = {
    "as-it-comes": {},
    "sequence-mean": {"loss.reduction": "sequence_mean"},
    "constant": {"loss.reduction": "constant", "advantage.baseline": "leave_one_out", "advantage.scale": "none"},
    "batch-std": {"advantage.scale": "batch_std"},
    "refill": {"rollout.refill": 2},
    "truncated": {"rollout.truncated": "mask", "rollout.max_new_tokens": 36, "rollout.temperature": 0.9},
    "two-updates": TWO | {"loss.clip_low": 0.05, "loss.clip_high": 0.03},
    "cispo": TWO | {"loss.surrogate": "cispo", "loss.clip_low": 0.03, "loss.clip_high": 0.01},
    "gspo": TWO | {"loss.surrogate": "gspo", "loss.clip_low": 0.02, "loss.clip_high": 0.01},
    "kl": {"loss.kl_coef": 0.1, "loss.kl_estimator": "k3"},
    "correction": {"rollout.dtype": "bfloat16", "loss.rollout_correction": "truncate"},
    "adapter": {"adapter.rank": 4, "optim.lr": 3e-3, "optim.eps": 1e-3},
    "padded": {"attention": "padded"},
    "small-microbatches": {"optim.tokens_per_microbatch": 120},
    "recompute": {"optim.recompute": 0.5},
    "reward-parts": {
        "reward.parts.format": 0.3,
        "reward.format_pattern": "[^+]*",
        "reward.parts.overlong": 0.5,
        "reward.overlong_buffer": 40,
    },
    "cosine": {"optim.schedule": "cosine", "optim.warmup_steps": 2, "optim.max_grad_norm": 0.1},
}

RLSD: dict[str, Settings] = {
    "snapshot": {"teacher.weights": "snapshot", "teacher.sync_every": 2, "credit.mix": 0.9},
    "live": {"teacher.weights": "live", "teacher.view": "solution", "credit.mix": 0.9, "credit.clip": 0.6},
    "frozen": {"teacher.weights": "frozen", "credit.mix": 0.9, "credit.mix_decay_steps": 5},
    "ema": {"teacher.weights": "ema", "teacher.ema_rate": 0.3, "credit.mix": 0.7, "credit.clip": 0.5},
    "negative": {"credit.rollouts": "negative", "credit.mix": 0.9, "teacher.view": "solution"},
    "two-updates": TWO | {"credit.mix": 0.9, "teacher.weights": "live", "loss.clip_high": 0.05},
    "refill-kl": {"rollout.refill": 2, "loss.kl_coef": 0.1, "teacher.sync_every": 1},
}

OPSD: dict[str, Settings] = {
    "forward-kl": {"distill.divergence": "forward_kl"},
    "reverse-kl": {"distill.divergence": "reverse_kl"},
    "jsd": {"distill.divergence": "jsd", "distill.beta": 0.3},
    "sampled-token": {"distill.divergence": "sampled_token"},
    "pointwise": {"distill.divergence": "pointwise_clipped_forward_kl", "distill.token_clip": 0.05},
    "top-k": {"distill.divergence": "forward_kl", "distill.top_k": 4, "teacher.weights": "snapshot"},
    "kl": {"distill.divergence": "forward_kl", "loss.kl_coef": 0.1, "teacher.view": "answer"},
    "two-updates": TWO | {"optim.lr": 1e-3, "distill.divergence": "reverse_kl", "teacher.weights": "ema"},
}

SFT: dict[str, Settings] = {"as-it-comes": {}}


def _named(method: str, table: dict[str, Settings], common: Settings) -> dict[str, Settings]:
    return {f"{method}-{name}": {"method": method} | BASE | common | own for name, own in table.items()}


ALONE: dict[str, Settings] = (
    _named("rlvr", RLVR, SAMPLED)
    | _named("rlsd", RLSD, SAMPLED)
    | _named("opsd", OPSD, SAMPLED)
    | _named("sft", SFT, {})
)
"""In one process."""

COARSE = frozenset({"rlvr-correction"})
"""What samples in bfloat16, which every kind of processor rounds in its own way: compared, not kept."""

SPREAD: Settings = {"optim.tokens_per_microbatch": 120}
TOGETHER: dict[str, Settings] = _named(
    "rlsd",
    {
        "two-processes-refill": SPREAD | {"rollout.refill": 2},
        "two-processes-two-updates": SPREAD | TWO | {"credit.mix": 0.9},
        "two-processes-sharded": SPREAD | {"optim.layout": "sharded", "teacher.sync_every": 2},
    },
    SAMPLED,
)
"""In two processes, several micro-batches each."""


def arguments(settings: Settings) -> list[str]:
    """What a user types behind `rlsd train`."""
    return ["quickstart", *(f"{key}={value}" for key, value in settings.items())]
