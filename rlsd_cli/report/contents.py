"""What a report says, as JSON values: read from what runs wrote, without a model."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlsd_cli.config.differences import differences
from rlsd_cli.report.command import as_json
from rlsd_cli.report.comparing import Compared, Line, compare
from rlsd_cli.report.sides import Arm, Kept, Side, short_names
from rlsd_cli.runs.rundir import RunDir, read_json
from rlsd_cli.statistics.seeds import mean_over_seeds

CURVES = {
    "reward_mean": "reward of training rollouts, mean",
    "loss": "loss",
    "entropy": "entropy of the policy, nats a token",
    "response_tokens_mean": "length of a response, tokens",
    "zero_variance_rate": "groups without an advantage, share",
    "truncated_rate": "responses that were cut, share",
    "no_answer_rate": "responses without an answer, share",
    "leakage_rate": "responses that leak, share",
    "grad_norm": "norm of the gradient, before clipping",
    "kl": "KL to the initial policy, nats a token",
    "credit_weight_mean": "credit over advantage, mean",
    "teacher_student_gap_abs_mean": "gap between teacher and student, nats a token",
}
"""Metrics of a step that are drawn, where a run has them."""
EVALUATION = (
    *("data", "decoding", "problems", "samples", "n", "mean", "ci95", "pass_at_k", "maj_at_k", "tokens_per_response"),
    *("truncated_rate", "leakage_rate", "no_verdict", "overlong", "in_training", "outcomes"),
)
"""What is shown of the summary of an evaluation."""
MOST_PROBLEMS = 300
BAND = 3
"""Seeds from which the interval of their mean is drawn: that of two is wider than the chart."""
EXAMPLES = 3
"""Responses that are shown of each outcome."""


def contents(arms: Sequence[Arm], notes: Sequence[str], suites: Sequence[str] | None = None) -> dict[str, Any]:
    """The report of arms: the first is what the others are compared with; a single run is compared with its start."""
    compared = [compare(arms[0], arm, suites) for arm in arms[1:]]
    progress = [found for arm in arms for side in arm.sides if (found := _since_start(side, suites))]
    sides = [side for arm in arms for side in arm.sides]
    runs = [side.run for side in sides if side.run]
    return {
        "arms": [{"name": arm.name, "runs": [side.name for side in arm.sides]} for arm in arms],
        "verdict": [verdict(each, line) for each in compared for line in each.lines if line.metric != "tokens"]
        or [verdict(each, line) for each in progress for line in each.lines if line.metric != "tokens"],
        "notes": [*notes, *(note for each in compared for note in each.notes)],
        "comparisons": [as_json(each) for each in compared],
        "progress": [as_json(each) for each in progress],
        "not_significant": [
            _not_seen(each, line) for each in compared for line in each.lines if line.verdict == "not distinguishable"
        ],
        "evaluations": [_evaluation(side, kept) for side in sides for kept in side.evaluations.values()],
        "curves": curves(arms),
        "problems": problems(compared[0] if compared else progress[0]) if compared or progress else None,
        "outcomes": [outcomes(run) for run in runs],
        "left_out": [left_out(run) for run in runs],
        "differences": config_differences(arms),
        "runs": [provenance(run) for run in runs],
    }


def _since_start(side: Side, suites: Sequence[str] | None) -> Compared | None:
    """A run against what it began as, on the suites that were evaluated before its first step."""
    if side.run is None:
        return None
    folders = {suite: side.run.evaluation_dir(suite, 0) for suite in side.evaluations}
    before = {suite: Kept(folder, suite) for suite, folder in folders.items() if folder.is_dir()}
    if not before or side.step == 0:
        return None
    start = side._replace(name="start", step=0, evaluations=before)
    found = compare(Arm("start", (start,)), Arm(side.name, (side,)), suites)
    return found._replace(notes=())


def verdict(compared: Compared, line: Line) -> str:
    """A comparison in a sentence."""
    found, first, second = line.difference, compared.first.name, compared.second.name
    metric = f"{line.metric} ({line.decoding}) on {line.data}"
    if found.low is None or found.high is None:
        return f"{second} has {found.mean:+.3f} in {metric} against {first}; no interval: {found.how}"
    interval = f"[{found.low:+.3f}, {found.high:+.3f}]"
    seeds = f"{len(line.points[0])} and {len(line.points[1])} seeds"
    unit = f"{found.n} problems" if compared.unit == "problems" else seeds
    known = found.detectable is not None
    seen = f", a difference of {found.detectable:.3f} would be seen four times in five" if known else ""
    word = {"more": "more than", "less": "less than"}.get(line.verdict, "not distinguishable from")
    return f"{second} is {word} {first} in {metric}: {found.mean:+.3f} {interval}, {unit}{seen}"


def _not_seen(compared: Compared, line: Line) -> str:
    found = line.difference
    floor = "" if found.detectable is None else f"; what is below {found.detectable:.3g} would often be missed"
    p = "" if found.p is None else f", p = {found.p:.2g}"
    return (
        f"{line.metric} on {line.data}, {compared.second.name} against {compared.first.name}: "
        f"{found.mean:+.3g} [{found.low:+.3g}, {found.high:+.3g}]{p}{floor}"
    )


def _evaluation(side: Side, kept: Kept) -> dict[str, Any]:
    known = {key: kept.summary[key] for key in EVALUATION if key in kept.summary}
    return {"name": side.name, "step": side.step, "suite": kept.suite, **known}


# -- curves --------------------------------------------------------------------------------------------------------


def curves(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """A chart a metric: each seed's line, and each arm's mean with its band where an arm has several."""
    found = [_accuracy(arms)] if any(side.run for arm in arms for side in arm.sides) else []
    for key, title in CURVES.items():
        lines = [
            [
                [[row["step"], row[key]] for row in side.run.metrics() if isinstance(row.get(key), int | float)]
                for side in arm.sides
                if side.run
            ]
            for arm in arms
        ]
        found.append(_chart(key, title, arms, lines))
    return [chart for chart in found if chart["arms"]]


def _accuracy(arms: Sequence[Arm]) -> dict[str, Any]:
    """The mean score of the suite that runs evaluate as they train."""
    lines, titles = [], list[str]()
    for arm in arms:
        of_arm = []
        for run in (side.run for side in arm.sides if side.run):
            suites: dict[str, list[list[float]]] = {}
            for path in sorted(run.path.glob("evals/*/[0-9]*/summary.json")):
                summary = read_json(path)
                if summary.get("mean") is not None:
                    suites.setdefault(path.parts[-3], []).append([int(path.parts[-2]), summary["mean"]])
                    titles.append(f"held-out {summary['data']}, mean score ({summary.get('decoding', '-')})")
            of_arm.append(max(suites.values(), key=len, default=[]))
        lines.append(of_arm)
    return _chart("accuracy", titles[0] if titles else "held-out", arms, lines)


def _chart(key: str, title: str, arms: Sequence[Arm], lines: Sequence[Sequence[list[list[float]]]]) -> dict[str, Any]:
    drawn = []
    for number, (arm, own) in enumerate(zip(arms, lines, strict=True)):
        kept = [line for line in own if any(point[1] for point in line)]
        if kept:
            drawn.append({"arm": number, "name": arm.name, "lines": kept, "band": band(kept)})
    return {"key": key, "title": title, "arms": drawn}


def band(lines: Sequence[Sequence[Sequence[float]]]) -> list[list[float | None]]:
    """At each step that all seeds have: their mean, and the bounds of its t interval from three seeds on."""
    if len(lines) < 2:
        return []
    at = [{point[0]: point[1] for point in line} for line in lines]
    steps = sorted(set.intersection(*(set(each) for each in at)))
    means = [(step, mean_over_seeds([each[step] for each in at])) for step in steps]
    return [[step, mean.mean, *([mean.low, mean.high] if mean.n >= BAND else [None, None])] for step, mean in means]


# -- problems, outcomes, what was left out -------------------------------------------------------------------------


def problems(compared: Compared) -> dict[str, Any]:
    """The problems by the size of their difference, with the responses of every policy; at most `MOST_PROBLEMS`."""
    ordered = sorted(compared.problems, key=lambda flip: (-abs(flip.second - flip.first), flip.problem_id))
    chosen = ordered[:MOST_PROBLEMS]
    return {
        "first": compared.first.name,
        "second": compared.second.name,
        "total": len(ordered),
        "gained": len(compared.gained),
        "lost": len(compared.lost),
        "rows": [
            [flip.suite, flip.problem_id, _question(compared, flip.suite, flip.problem_id), flip.first, flip.second]
            for flip in chosen
        ],
        "responses": [_responses(compared, flip.suite, flip.problem_id) for flip in chosen],
    }


def _question(compared: Compared, suite: str, problem: str) -> str:
    row = compared.first.sides[0].evaluations[suite].problems[problem][0]
    return str(row.get("question", problem))


def _responses(compared: Compared, suite: str, problem: str) -> list[dict[str, Any]]:
    kept = ("response", "extracted", "answer", "outcome", "score", "reason", "tokens")
    return [
        {"name": side.name, "arm": arm.name, **{key: row.get(key) for key in kept}}
        for arm in (compared.first, compared.second)
        for side in arm.sides
        for row in side.evaluations[suite].problems[problem]
    ]


def outcomes(run: RunDir) -> dict[str, Any]:
    """How many responses of each step ended how, and examples of each outcome from the last step that was kept."""
    metrics = run.metrics()
    kinds = [kind for kind, _ in sum((Counter(row["outcomes"]) for row in metrics), Counter()).most_common()]
    steps = [[row["step"], *(row["outcomes"].get(kind, 0) for kind in kinds)] for row in metrics]
    files = sorted(run.path.glob("rollouts/*.jsonl.gz"))
    examples: dict[str, list[dict[str, Any]]] = {}
    for record in run.rollouts(int(files[-1].name.partition(".")[0])) if files else ():
        kind = examples.setdefault(record.outcome or "none", [])
        if len(kind) < EXAMPLES:
            kind.append({"problem": record.problem_id, "response": record.response, "reason": record.reason})
    return {"run": run.name, "kinds": kinds, "steps": steps, "examples": examples}


def left_out(run: RunDir) -> dict[str, Any]:
    """What was in no loss and why, over all steps."""
    metrics = run.metrics()
    rollouts = sum((Counter(row.get("left_out") or {}) for row in metrics), Counter[str]())
    groups = sum((Counter(row.get("zero_variance_groups") or {}) for row in metrics), Counter[str]())
    return {
        "run": run.name,
        "rollouts": sum(sum(row["outcomes"].values()) for row in metrics),
        "left_out": dict(rollouts.most_common()),
        "zero_variance_groups": dict(groups.most_common()),
        "teacher_skipped": sum(row.get("teacher_skipped") or 0 for row in metrics),
        "truncated": _total(metrics, "truncated_rate"),
        "no_verdict": _total(metrics, "no_verdict_rate"),
        "overlong_problems": run.status().get("overlong") or {},
    }


def _total(metrics: Iterable[Mapping[str, Any]], rate: str) -> int:
    """How many responses a rate stands for, over all steps."""
    return round(math.fsum((row.get(rate) or 0.0) * sum(row["outcomes"].values()) for row in metrics))


# -- where it comes from -------------------------------------------------------------------------------------------


def config_differences(arms: Sequence[Arm]) -> dict[str, Any]:
    """The keys whose values differ between the first arm and each other one."""
    runs = [next((side.run for side in arm.sides if side.run), None) for arm in arms]
    if runs[0] is None:
        return {"names": [], "rows": []}
    known = [(arm.name, run.config()) for arm, run in zip(arms, runs, strict=True) if run]
    keys: dict[str, None] = {}
    for _, config in known[1:]:
        keys |= dict.fromkeys(each.key for each in differences(known[0][1], config) if each.key != "seed")
    values = [{each.key: each for each in differences(known[0][1], config)} for _, config in known[1:]]
    rows = []
    for key in keys:
        first = next(each[key].row()[1] for each in values if key in each)
        rows.append([key, first, *(each[key].row()[2] if key in each else first for each in values)])
    return {"names": [name for name, _ in known], "rows": rows}


def provenance(run: RunDir) -> dict[str, Any]:
    """What a run was made by, from and on."""
    metrics, status = run.metrics(), run.status()
    last = metrics[-1] if metrics else {}
    mismatches = [row["sampler_mismatch_abs_max"] for row in metrics if row.get("sampler_mismatch_abs_max") is not None]
    return {
        "name": run.name,
        "status": status["status"],
        "steps": last.get("step", 0),
        "planned_steps": run.config().steps,
        "seconds": math.fsum(row["seconds"] for row in metrics),
        "command": _text(run, "command.txt"),
        "environment": json.loads(_text(run, "environment.json") or "{}"),
        "data": run.data(),
        "inputs": {key: each._asdict() for key, each in run.inputs().items()},
        "plan": run.plan(),
        "weights_digest": last.get("weights_digest"),
        "sampler_mismatch_abs_max": max(mismatches, default=None),
        "peak_memory_mb": last.get("peak_memory_mb"),
        "config": _text(run, "config.toml"),
        "code_patch": _text(run, "code.patch"),
    }


def _text(run: RunDir, name: str) -> str:
    path = run.path / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def title(arms: Sequence[Arm]) -> str:
    """What a report is called."""
    return " and ".join(short_names([arm.name for arm in arms])) if len(arms) > 1 else arms[0].name
