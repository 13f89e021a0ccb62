"""One HTML page with everything in it: no network, no server. What is large is unpacked when it is looked at."""

import base64
import gzip
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from rlsd_cli import __version__
from rlsd_cli.report.rollouts import RECORDED, Shown
from rlsd_cli.runs.rundir import RunDir

PLACES = 5
"""Decimals that numbers of tokens are rounded to."""


def page(title: str, data: Mapping[str, Any], chunks: Mapping[str, Any]) -> str:
    """The page of a report. `chunks` are unpacked by name when they are asked for."""
    packed = "\n".join(
        f'<script type="text/plain" id="chunk-{html.escape(name, quote=True)}">{_packed(value)}</script>'
        for name, value in chunks.items()
    )
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _asset("page.css"),
        "SCRIPT": _asset("page.js"),
        "DATA": _safe({"title": title, "version": __version__, **data}),
        "CHUNKS": packed,
    }
    return re.sub(r"\[\[([A-Z]+)\]\]", lambda found: parts[found[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (resources.files("rlsd_cli.report") / "assets" / name).read_text(encoding="utf-8")


def _safe(value: Any) -> str:
    """JSON that no text in it can end the element of."""
    return json.dumps(_finite(value), separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """Values with None for what JSON has no number for."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _packed(value: Any) -> str:
    text = json.dumps(_finite(value), separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, compresslevel=4, mtime=0)).decode()


def rollouts_page(run: RunDir, shown: Sequence[Shown], methods: Sequence[str], skipped: Mapping[str, str]) -> str:
    """The page of a step's rollouts."""
    data, chunks = rollouts_data(run, shown, methods, skipped)
    step = shown[0].record.step if shown else 0
    return page(f"{run.name}, step {step}", {"rollouts": data}, chunks)


def rollouts_data(
    run: RunDir, shown: Sequence[Shown], methods: Sequence[str], skipped: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page lists of rollouts, and a chunk for each group: its prompt, and all that is known of its tokens."""
    columns = ("group", "sample", "problem_id", "outcome", "score", "advantage", "tokens", "credit", "gap", "leaks")
    names = (*columns, "left_out", "truncated", "extracted")
    rows, groups = [], dict[int, list[dict[str, Any]]]()
    for each in shown:
        fields = each.fields()
        rows.append([_rounded(fields[name]) for name in names])
        groups.setdefault(each.record.group, []).append(_tokens(each, [RECORDED, *methods]))
    prompts = {each.record.group: each.record.prompt for each in shown}
    data = {
        "run": run.name,
        "step": shown[0].record.step if shown else None,
        "method": run.config().method,
        "methods": [RECORDED, *methods],
        "skipped": dict(skipped),
        "columns": names,
        "rows": rows,
    }
    chunks = {f"group-{group}": {"prompt": prompts[group], "rollouts": own} for group, own in groups.items()}
    return data, chunks


def _tokens(shown: Shown, methods: Sequence[str]) -> dict[str, Any]:
    record = shown.record
    return {
        "sample": record.sample,
        "reason": record.reason,
        "texts": list(shown.texts),
        "logp": _rounded(record.student_logp),
        "teacher_logp": _rounded(record.teacher_logp),
        "entropy": _rounded(record.entropy),
        "clipped": record.clipped,
        "credit": {name: _rounded(shown.signals[name].credit) for name in methods if name in shown.signals},
        "pull": {name: _rounded(shown.signals[name].pull) for name in methods if name in shown.signals},
        "alternatives": [[[text, _rounded(logp)] for text, logp in row] for row in shown.alternatives],
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
