"""What the oracle and the trainer are run on: every key that enters the numbers, off its default and in company."""

from typing import Any

from rlsd_cli.config.reads import reads
from rlsd_cli.methods.table import METHODS

Overrides = dict[str, Any]

BASE: Overrides = {
    "steps": 3,
    "prompts_per_step": 4,
    "samples_per_prompt": 3,
    "rollout.max_new_tokens": 16,
    "verifier_error_limit": 1.0,
    "optim.lr": 1e-4,
    "optim.eps": 1e-3,
}

TWO: Overrides = {"optim.updates_per_batch": 2, "optim.lr": 1e-3}
"""Updates far enough apart for ratios to leave their clip."""

RLVR: dict[str, Overrides] = {
    "as-it-comes": {"optim.lr": 5e-5, "optim.eps": 1e-8},
    "leave-one-out": {"advantage.baseline": "leave_one_out", "advantage.scale": "none"},
    "leave-one-out-scaled": {
        "advantage.baseline": "leave_one_out",
        "advantage.ddof": 0,
        "advantage.eps": 0.3,
        "loss.reduction": "token_mean",
    },
    "reward-parts": {
        "reward.parts": {"answer": 0.7, "format": 0.4, "overlong": 0.3},
        "reward.format_pattern": r".*[13579]",
        "reward.overlong_buffer": 15,
    },
    "reward-parts-without-answer": TWO
    | {
        "reward.parts": {"answer": 0.0, "format": -0.4, "overlong": 1.0},
        "reward.format_pattern": r".*[02468]",
        "rollout.max_new_tokens": 5,
        "advantage.scale": "none",
    },
    "batch-std": {"advantage.scale": "batch_std", "advantage.ddof": 0, "advantage.eps": 0.1},
    "no-baseline-batch-std": {"advantage.baseline": "none", "advantage.scale": "batch_std", "advantage.eps": 0.05},
    "batch-mean": {"advantage.baseline": "batch_mean", "advantage.scale": "batch_std", "advantage.eps": 0.05},
    "no-baseline": {"advantage.baseline": "none", "advantage.scale": "none", "loss.reduction": "constant"},
    "population-std": {"advantage.ddof": 0, "loss.reduction": "constant", "samples_per_prompt": 3},
    "clipped": TWO | {"loss.clip_low": 0.02, "loss.clip_high": 0.05},
    "clipped-dual": TWO | {"loss.clip_low": 0.3, "loss.clip_high": 0.01, "loss.dual_clip": 1.02},
    "three-updates": TWO
    | {
        "optim.updates_per_batch": 3,
        "prompts_per_step": 6,
        "loss.clip_low": 0.04,
        "loss.clip_high": 0.02,
        "loss.reduction": "token_mean",
        "optim.tokens_per_microbatch": 100,
    },
    "uneven-shares": TWO
    | {"optim.updates_per_batch": 3, "loss.clip_low": 0.05, "loss.clip_high": 0.03, "loss.reduction": "constant"},
    "gspo": TWO | {"optim.lr": 3e-4, "loss.surrogate": "gspo", "loss.clip_low": 0.02, "loss.clip_high": 0.01},
    "gspo-dual": TWO
    | {
        "optim.lr": 3e-4,
        "loss.surrogate": "gspo",
        "loss.clip_low": 0.05,
        "loss.clip_high": 0.02,
        "loss.dual_clip": 1.02,
        "loss.reduction": "constant",
    },
    "cispo": TWO | {"loss.surrogate": "cispo", "loss.clip_low": 0.03, "loss.clip_high": 0.01},
    "kl-k1": {"loss.kl_coef": 0.3, "loss.kl_estimator": "k1", "rollout.temperature": 0.8},
    "kl-k2": TWO | {"loss.kl_coef": 0.5, "loss.kl_estimator": "k2", "loss.clip_high": 0.05},
    "kl-k3": {"loss.kl_coef": 0.4, "rollout.temperature": 1.4, "loss.reduction": "token_mean", "optim.lr": 1e-3},
    "correction-truncate": {
        "loss.rollout_correction": "truncate",
        "loss.rollout_correction_cap": 1.2,
        "loss.rollout_correction_floor": 0.85,
        "loss.kl_coef": 0.1,
        "optim.lr": 1e-3,
    },
    "correction-mask": TWO
    | {
        "loss.rollout_correction": "mask",
        "loss.rollout_correction_cap": 1.1,
        "loss.rollout_correction_floor": 0.9,
        "rollout.temperature": 1.2,
    },
    "correction-truncate-sequence": TWO
    | {
        "loss.rollout_correction": "truncate",
        "loss.rollout_correction_level": "sequence",
        "loss.rollout_correction_cap": 1.3,
        "loss.rollout_correction_floor": 0.7,
    },
    "correction-mask-sequence": {
        "loss.rollout_correction": "mask",
        "loss.rollout_correction_level": "sequence",
        "loss.rollout_correction_cap": 1.5,
        "loss.rollout_correction_floor": 0.5,
        "loss.reduction": "token_mean",
    },
    "bfloat16-sampler": {
        "rollout.dtype": "bfloat16",
        "loss.rollout_correction": "truncate",
        "loss.rollout_correction_cap": 1.25,
    },
    "truncated-masked": {"rollout.truncated": "mask", "loss.reduction": "token_mean", "rollout.max_new_tokens": 12},
    "truncated-masked-two": TWO | {"rollout.truncated": "mask", "loss.clip_low": 0.02, "rollout.temperature": 1.3},
    "refill": {"rollout.refill": 3, "loss.reduction": "token_mean"},
    "refill-two": TWO | {"rollout.refill": 2, "rollout.truncated": "mask", "samples_per_prompt": 2},
    "refill-no-baseline": {"rollout.refill": 3, "advantage.baseline": "none", "advantage.scale": "none"},
    "linear": {
        "steps": 5,
        "optim.schedule": "linear",
        "optim.warmup_steps": 2,
        "optim.weight_decay": 0.5,
        "optim.beta1": 0.5,
        "optim.beta2": 0.8,
        "optim.eps": 1e-3,
        "optim.max_grad_norm": 0.05,
        "optim.lr": 2e-3,
    },
    "cosine": TWO
    | {
        "steps": 4,
        "optim.schedule": "cosine",
        "optim.beta1": 0.7,
        "optim.beta2": 0.95,
        "optim.weight_decay": 1.0,
        "optim.max_grad_norm": 0.1,
        "optim.recompute": 0.5,
    },
    "warm-constant": {"optim.warmup_steps": 3, "optim.beta1": 0.0, "optim.max_grad_norm": 1e-3, "optim.eps": 1e-6},
    "adapter": TWO | {"adapter.rank": 3, "adapter.scale": 0.7, "loss.kl_coef": 0.2, "optim.weight_decay": 0.3},
}

RLSD: dict[str, Overrides] = {
    "frozen": {
        "seed": 1,
        "teacher.weights": "frozen",
        "credit.mix": 0.9,
        "credit.mix_decay_steps": 4,
        "credit.mix_first_index": 0,
        "credit.clip": 0.5,
        "optim.lr": 1e-3,
    },
    "snapshot": {
        "teacher.sync_every": 2,
        "credit.mix": 0.8,
        "credit.mix_warmup_steps": 2,
        "credit.mix_decay_steps": 0,
        "credit.clip": 0.7,
        "optim.lr": 1e-3,
    },
    "snapshot-never": {"credit.mix": 1.0, "credit.mix_warmup_steps": 2, "credit.clip": 0.9, "optim.lr": 1e-3},
    "ema": {
        "teacher.weights": "ema",
        "teacher.ema_rate": 0.3,
        "teacher.view": "solution",
        "rollout.temperature": 1.5,
        "credit.mix": 1.0,
        "credit.clip": 0.9,
        "optim.lr": 1e-3,
    },
    "live": {"teacher.weights": "live", "credit.tokens": "thought", "credit.mix": 1.0, "credit.clip": 0.6},
    "live-blind": {"teacher.weights": "live", "teacher.view": "none", "credit.mix": 1.0},
    "live-two": TWO | {"teacher.weights": "live", "credit.mix": 1.0, "credit.clip": 0.9, "rollout.temperature": 0.7},
    "negative": TWO
    | {
        "credit.rollouts": "negative",
        "credit.mix_decay_steps": 8,
        "credit.clip": 0.9,
        "teacher.sync_every": 1,
        "loss.clip_low": 0.03,
        "loss.clip_high": 0.03,
    },
    "gspo": TWO
    | {
        "loss.surrogate": "gspo",
        "loss.clip_low": 0.03,
        "loss.clip_high": 0.02,
        "credit.clip": 0.8,
        "teacher.weights": "frozen",
    },
    "cispo": TWO | {"loss.surrogate": "cispo", "loss.clip_low": 0.1, "credit.mix": 1.0, "teacher.sync_every": 2},
    "hints-skipped": {
        "teacher.view": "hints",
        "teacher.num_hints": 1,
        "teacher.max_prompt_tokens": 18,
        "teacher.overlong": "skip",
        "credit.mix": 1.0,
        "credit.clip": 0.9,
    },
    "all-together": TWO
    | {
        "teacher.weights": "ema",
        "teacher.ema_rate": 0.6,
        "credit.mix": 0.7,
        "credit.clip": 0.4,
        "loss.kl_coef": 0.2,
        "loss.rollout_correction": "truncate",
        "loss.rollout_correction_cap": 1.2,
        "loss.reduction": "token_mean",
        "loss.dual_clip": 1.05,
        "rollout.truncated": "mask",
        "rollout.temperature": 1.25,
        "advantage.ddof": 0,
        "optim.schedule": "linear",
        "optim.max_grad_norm": 0.3,
    },
    "adapter": {
        "adapter.rank": 2,
        "adapter.targets": ["q_proj", "down_proj"],
        "teacher.sync_every": 2,
        "credit.mix": 1.0,
        "credit.clip": 0.9,
        "optim.lr": 5e-3,
    },
}

OPSD: dict[str, Overrides] = {
    "forward": {"distill.divergence": "forward_kl", "teacher.weights": "frozen", "rollout.temperature": 1.3},
    "forward-token-clip": TWO
    | {
        "distill.divergence": "forward_kl",
        "distill.token_clip": 0.4,
        "optim.lr": 3e-4,
        "teacher.weights": "snapshot",
        "teacher.sync_every": 2,
        "loss.reduction": "token_mean",
    },
    "forward-live": {"distill.divergence": "forward_kl", "teacher.weights": "live", "teacher.view": "answer"},
    "forward-live-two": TWO | {"distill.divergence": "forward_kl", "teacher.weights": "live", "optim.lr": 3e-4},
    "reverse-top-k": {"distill.divergence": "reverse_kl", "distill.top_k": 4, "distill.token_clip": 0.5},
    "forward-top-k": {"distill.divergence": "forward_kl", "distill.top_k": 3, "teacher.weights": "ema"},
    "reverse-top-k-no-tail": {"distill.divergence": "reverse_kl", "distill.top_k": 5, "distill.tail": False},
    "reverse-top-all": {"distill.divergence": "reverse_kl", "distill.top_k": 20, "teacher.view": "answer"},
    "jsd": TWO
    | {
        "distill.divergence": "jsd",
        "distill.beta": 0.2,
        "teacher.weights": "ema",
        "teacher.ema_rate": 0.5,
        "optim.lr": 3e-4,
    },
    "jsd-top-k": {
        "distill.divergence": "jsd",
        "distill.beta": 0.8,
        "distill.top_k": 3,
        "rollout.temperature": 0.8,
        "loss.reduction": "constant",
    },
    "jsd-forward": {"distill.divergence": "jsd", "distill.beta": 0.0},
    "jsd-reverse": {"distill.divergence": "jsd", "distill.beta": 1.0, "rollout.truncated": "mask"},
    "sampled-token": {"distill.divergence": "sampled_token", "teacher.weights": "live"},
    "sampled-token-clip": {"distill.divergence": "sampled_token", "distill.token_clip": 0.2, "teacher.view": "hints"},
    "pointwise": {"distill.divergence": "pointwise_clipped_forward_kl", "distill.token_clip": 0.05},
    "kl": {
        "distill.divergence": "forward_kl",
        "loss.kl_coef": 0.5,
        "loss.kl_estimator": "k2",
        "rollout.temperature": 1.2,
    },
    "positions": {"credit.position_floor": 0.25, "loss.reduction": "token_mean"},
    "positions-teacher-top-k": TWO
    | {
        "optim.lr": 3e-4,
        "credit.position_floor": 0.1,
        "credit.position_centre": 0.6,
        "credit.position_width": 0.3,
        "distill.top_k": 3,
        "distill.top_k_of": "teacher",
        "teacher.view": "sibling",
    },
    "skipped": {
        "distill.divergence": "forward_kl",
        "teacher.max_prompt_tokens": 40,
        "teacher.overlong": "skip",
        "loss.reduction": "token_mean",
    },
}

RLRT: dict[str, Overrides] = {
    "frozen": {"teacher.weights": "frozen", "credit.mix": 0.9, "credit.clip": 1.0, "optim.lr": 1e-3},
    "live-two": TWO
    | {
        "teacher.weights": "live",
        "teacher.view": "answer",
        "credit.mix": 1.0,
        "credit.clip": 0.9,
        "loss.clip_low": 0.03,
        "loss.clip_high": 0.05,
        "loss.reduction": "token_mean",
    },
}

SFT: dict[str, Overrides] = {
    "token-mean": {"rollout.max_new_tokens": 32},
    "two-updates": TWO | {"loss.reduction": "sequence_mean", "rollout.max_new_tokens": 32},
}


NARROW: Overrides = {"loss.clip_low": 0.03, "loss.clip_high": 0.02}
"""Ratios leave this within one update of `TWO`."""
MIXED: Overrides = {"credit.mix": 0.9, "credit.mix_decay_steps": 8, "credit.clip": 0.7}
SHORT: Overrides = {"rollout.max_new_tokens": 12}

OTHERS: dict[str, dict[str, Overrides]] = {
    "dapo": {"as-it-comes": {"rollout.refill": 2}, "two": TWO | NARROW | {"rollout.refill": 0}},
    "dr_grpo": {"as-it-comes": {}},
    "rloo": {"two": TWO | NARROW},
    "reinforce_pp": {"as-it-comes": {}, "one-response": {"samples_per_prompt": 1, "prompts_per_step": 8}},
    "reinforce_pp_baseline": {"as-it-comes": {}},
    "gspo": {"as-it-comes": {"optim.lr": 1e-3}},
    "cispo": {"as-it-comes": {"optim.lr": 1e-3}},
    "fipo": {
        "as-it-comes": {"optim.lr": 1e-3},
        "ratios": TWO
        | {
            "optim.updates_per_batch": 3,
            "prompts_per_step": 6,
            "credit.half_life": 3.0,
            "credit.clip_low": 0.3,
            "credit.clip_high": 0.5,
            "credit.safety": 1.02,
            "credit.ratio_limit": 1.1,
        },
    },
    "vineppo": {
        "values": SHORT | {"credit.samples": 2, "credit.step_ends": "0123456789", "credit.max_steps": 3},
        "without-verdicts": TWO | SHORT | {"credit.samples": 1, "credit.step_ends": "13579 "},
    },
    "cepo": {
        "live": MIXED | {"rollout.truncated": "mask"},
        "frozen-two": TWO | NARROW | {"credit.mix": 1.0, "teacher.weights": "frozen"},
    },
    "self_contrast": {"two": TWO | MIXED},
    "credit_pmi": {
        "strangers": MIXED | {"credit.strangers": 3},
        "hints": {
            "credit.mix": 1.0,
            "teacher.view": "hints",
            "teacher.max_prompt_tokens": 18,
            "teacher.overlong": "skip",
        },
    },
    "first_disagreement": {
        "early": MIXED | {"credit.threshold": 0.1},
        "live-two": TWO | {"credit.mix": 1.0, "credit.clip": 0.9, "teacher.weights": "live"},
    },
    "amr_sd": {
        "decay": {"credit.gain": 0.6, "credit.blame": 0.5, "credit.dead_zone": 0.3, "credit.decay_steps": 5},
        "no-decay-two": TWO | NARROW | {"credit.decay_steps": 0, "credit.dead_zone": 0.0, "teacher.weights": "live"},
    },
    "antisd": {
        "decay": {"credit.weight": 0.8, "credit.decay_steps": 4, "teacher.view": "answer"},
        "two": TWO | {"teacher.weights": "ema", "teacher.ema_rate": 0.5},
    },
    "sipo": {
        "additive": {"credit.mix": 0.4, "credit.clip": 0.5, "credit.mix_decay_steps": 8},
        "additive-two": TWO | NARROW | {"teacher.weights": "frozen", "loss.reduction": "constant"},
        "multiplicative": {"credit.form": "multiplicative", "credit.mix": 0.9, "credit.clip": 0.6},
    },
    "rlcsd": {
        "own-means": {
            "credit.temperature": 0.5,
            "credit.scale": 0.8,
            "credit.limit": 0.6,
            "credit.threshold": 0.2,
            "credit.selected_weight": 0.7,
        },
        "two": TWO
        | NARROW
        | {
            "credit.temperature": 0.3,
            "credit.threshold": 0.1,
            "loss.reduction": "sequence_mean",
            "samples_per_prompt": 4,
            "teacher.weights": "live",
            "loss.kl_coef": 0.2,
        },
    },
    "sdar": {
        "gate": {"credit.weight": 0.4, "credit.sharpness": 2.0},
        "live-two": TWO | {"teacher.weights": "live", "loss.clip_high": 0.02},
        "skipped": {"credit.weight": 0.5, "teacher.max_prompt_tokens": 40, "teacher.overlong": "skip"},
    },
    "opdvr": {"as-it-comes": {}, "live-two": TWO | {"teacher.weights": "live", "optim.lr": 3e-4}},
    "sdpg": {
        "warm-up": {"credit.weight": 0.5, "credit.warmup_steps": 2, "credit.decay_steps": 3},
        "two": TWO | {"credit.weight": 0.3, "credit.warmup_steps": 0, "distill.divergence": "jsd", "loss.kl_coef": 0.0},
    },
    "sdpo": {
        "sibling": {"distill.top_k": 5},
        "ratio-cap": TWO | {"distill.top_k": 4, "distill.ratio_cap": 1.01, "teacher.ema_rate": 0.4},
        "feedback": {"teacher.view": "feedback", "loss.reduction": "sequence_mean"},
        "sibling-feedback": {
            "teacher.view": "sibling_feedback",
            "distill.divergence": "sampled_token",
            "distill.top_k": 0,
            "distill.ratio_cap": None,
        },
        "own": {"teacher.view": "own", "distill.divergence": "forward_kl", "distill.ratio_cap": None},
    },
    "srpo": {
        "certainty": {"credit.sharpness": 2.0, "distill.top_k": 6},
        "two": TWO | NARROW | {"distill.ratio_cap": 1.02, "loss.reduction": "sequence_mean", "loss.kl_coef": 0.1},
    },
    "h2sd": {
        "both": MIXED | {"credit.fail_weight": 0.6},
        "two": TWO | NARROW | {"teacher.max_prompt_tokens": 40, "teacher.overlong": "skip", "teacher.weights": "ema"},
    },
    "hdpo": {
        "told": {"credit.weight": 0.8, "credit.told_samples": 5, "samples_per_prompt": 2, "distill.top_k": 5},
        "two": TWO
        | {
            "seed": 1,
            "credit.weight": 0.5,
            "samples_per_prompt": 2,
            "teacher.weights": "frozen",
            "distill.top_k": 4,
            "distill.tail": False,
            "distill.ratio_cap": 1.02,
            "loss.reduction": "sequence_mean",
            "rollout.truncated": "mask",
        },
        "kl": {"samples_per_prompt": 2, "loss.kl_coef": 0.3, "distill.divergence": "forward_kl", "distill.top_k": 3},
    },
    "flowsd": {
        "balance": {"credit.teacher_weight": 0.7, "credit.reward_weight": 2.0, "credit.gap_clip": 0.3},
        "two": TWO | {"credit.reward_weight": 1.0, "teacher.view": "sibling", "loss.kl_coef": 0.1},
    },
}


def of_base(method: str) -> Overrides:
    """The method, and the keys of `BASE` that it reads."""
    return {"method": method} | {key: value for key, value in BASE.items() if reads(METHODS[method], key)}


CONFIGURATIONS: dict[str, Overrides] = {
    f"{method}-{name}": of_base(method) | of_method | overrides
    for method, of_method, table in (
        ("rlvr", {}, RLVR),
        ("rlsd", {}, RLSD),
        ("opsd", {"samples_per_prompt": 2, "teacher.view": "solution"}, OPSD),
        ("rlrt", {}, RLRT),
        ("sft", {}, SFT),
        *((method, {}, table) for method, table in OTHERS.items()),
    )
    for name, overrides in table.items()
}
