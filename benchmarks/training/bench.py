"""Training: one optimiser step on fixed rollouts, against TRL's `GRPOTrainer`.

    make bench-env
    python benchmarks/training/bench.py --pairs 5
    python benchmarks/training/bench.py --shape tiny --row live --pairs 1 --set optim.tokens_per_microbatch=4096

Both sides start from the same weights in float32 and are given the same token ids and rewards, the batches of several
steps, whose first is not timed. They take turns in fresh processes. No figure is shown unless loss and gradient norm
agree to 1e-4 on every step: else the script says by how much they differ, and exits with 1.

Rows: `live`, every group has both rewards; `half-dead`, in half of the groups all rewards are the same; `defaults`,
the rollouts of `live` and TRL at its own defaults (bfloat16 autocast, gradient checkpointing, another loss), without a
gate.
"""

from benchmarks.training.pairs import Row, bench
from benchmarks.training.work import draw_steps, plain_prompt

SETTINGS = {
    "method": "rlvr",
    "advantage.ddof": 1,
    "advantage.eps": 1e-4,
    "loss.clip_low": 0.2,
    "loss.clip_high": 0.2,
    "loss.reduction": "constant",
}
"""The loss of TRL's `dr_grpo` with `scale_rewards="group"`."""
ROWS = {
    "live": Row(SETTINGS, dead_share=0.0),
    "half-dead": Row(SETTINGS, dead_share=0.5),
    "defaults": Row(SETTINGS, dead_share=0.0, gated=False),
}


if __name__ == "__main__":
    bench(
        "training",
        __doc__,
        ROWS,
        programs=("training/side.py", "training/peer.py"),
        shapes=("tiny", "mid", "smollm2"),
        rollouts=lambda row, model, groups, steps: draw_steps(
            model, groups, steps, row.dead_share, row.completions, plain_prompt
        ),
    )
