"""What the policy would have answered, had it seen a correct response of the same group, is distilled into it."""

from rlsd_cli.methods.base import Distill, Method, View

METHOD = Method(
    name="sdpo",
    summary="distils the policy that is shown a correct sibling response into the one that is not",
    source="SDPO, arXiv 2601.20802",
    deviations=(
        "its blend with GRPO's advantage is left out: `srpo` routes between the two",
        "`teacher.view=sibling_feedback` shows the verifier's words, too",
    ),
    views={"hint": View()},
    terms=(Distill(view="hint"),),
    defaults={
        "teacher.view": "sibling",
        "teacher.weights": "ema",
        "teacher.ema_rate": 0.05,
        "distill.divergence": "jsd",
        "distill.top_k": 100,
        "distill.ratio_cap": 2.0,
        "loss.reduction": "token_mean",
        "optim.lr": 1e-5,
    },
)
