"""Choices that bring defaults of other keys with them."""

from collections.abc import Mapping

CHOICES: Mapping[str, Mapping[str, Mapping[str, float | None]]] = {
    "loss.surrogate": {
        "clipped": {"loss.clip_low": 0.2, "loss.clip_high": 0.28},
        "gspo": {"loss.clip_low": 3e-4, "loss.clip_high": 4e-4},
        "cispo": {"loss.clip_low": 0.2, "loss.clip_high": 0.28},
    },
    "distill.divergence": {
        "forward_kl": {"distill.token_clip": 0.05},
        "reverse_kl": {"distill.token_clip": None},
        "jsd": {"distill.token_clip": None},
        "sampled_token": {"distill.token_clip": None},
        "pointwise_clipped_forward_kl": {"distill.token_clip": 0.05},
    },
}
"""Defaults that come with a choice: a layer that changes the key to this value brings them, below what it says itself.

The mean ratio of a sequence moves far less than that of a token (GSPO, arXiv 2507.18071). OPSD clips its forward KL
(arXiv 2601.18734), SDPO clips nothing (arXiv 2601.20802).
"""
