"""The privileged teacher decides alone."""

from rlsd_cli.methods.base import Distill, Method, View

METHOD = Method(
    name="opsd",
    summary="the privileged teacher decides direction and magnitude, token by token",
    source="OPSD, arXiv 2601.18734",
    views={"hint": View()},
    terms=(Distill(view="hint"),),
    defaults={"teacher.view": "solution", "teacher.weights": "frozen", "distill.token_clip": 0.05},
)
