"""Self-distillation: one optimiser step on fixed rollouts, `opsd` against TRL's experimental `SDPOTrainer`.

    make bench-env
    python benchmarks/distillation/bench.py --pairs 5

The protocol and the gate are those of `training`. Student and teacher read the same token ids on both sides,
the teacher's prompt longer by a solution; the loss is the mean over sequences of their token means.

Rows: the reverse KL over the whole vocabulary with a frozen teacher, with the live policy as the teacher, and with that
on completions of which few are long and most are not (`heavy tail`); on the student's 100 likeliest tokens, the rest
pooled in one entry; and of the sampled token alone.
"""

from benchmarks.training.pairs import Row, bench
from benchmarks.training.work import HEAVY_TAIL, draw_steps, two_views

SETTINGS = {
    "method": "opsd",
    "teacher.view": "solution",
    "teacher.weights": "frozen",
    "distill.divergence": "reverse_kl",
    "loss.reduction": "sequence_mean",
}
PEER = {"distillation_mode": "full_logits", "teacher_model_kind": "base"}
TOP_K = 100
ROWS = {
    "full, frozen teacher": Row(SETTINGS, PEER),
    "full, live teacher": Row(SETTINGS | {"teacher.weights": "live"}, PEER | {"teacher_model_kind": "live"}),
    "full, live teacher, heavy tail": Row(
        SETTINGS | {"teacher.weights": "live"}, PEER | {"teacher_model_kind": "live"}, completions=HEAVY_TAIL
    ),
    "top-k and tail": Row(
        SETTINGS | {"distill.top_k": TOP_K, "distill.tail": True},
        PEER | {"distillation_mode": "topk_logits", "distillation_topk": TOP_K, "distillation_add_tail": True},
    ),
    "sampled token": Row(
        SETTINGS | {"distill.divergence": "sampled_token"}, PEER | {"distillation_mode": "sampled_token"}
    ),
}


if __name__ == "__main__":
    bench(
        "distillation",
        __doc__,
        ROWS,
        programs=("training/side.py", "distillation/peer.py"),
        shapes=("tiny", "smollm2"),
        rollouts=lambda row, model, groups, steps: draw_steps(
            model, groups, steps, row.dead_share, row.completions, two_views(row.settings, model)
        ),
    )
