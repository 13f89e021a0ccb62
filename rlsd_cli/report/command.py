"""What `rlsd compare` and `rlsd report` work out, before it is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.errors import RlsdError
from rlsd_cli.report.comparing import Compared, Line, compare, parse_gate
from rlsd_cli.report.sides import Arm, arms_of


class Found(NamedTuple):
    """The comparisons of a first arm with each other one; gates that do not hold."""

    compared: tuple[Compared, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "comparisons": [as_json(each) for each in self.compared],
            "failed_gates": list(self.failed),
            "notes": list(self.notes),
        }


def compare_named(
    names: Sequence[str], root: Path, suites: Sequence[str] | None, step: int | None, gates: Sequence[str]
) -> Found:
    """Compare the first arm that these names stand for with each other one.

    Raises:
        RlsdError: they are fewer than two, or a gate is none.
    """
    parsed = [parse_gate(text) for text in gates]
    arms, notes = arms_of(names, root, step)
    if len(arms) < 2:
        sides = ", ".join(side.name for arm in arms for side in arm.sides)
        raise RlsdError(
            f"these are one side: {sides} differ in their seed alone" if arms else "nothing to compare",
            hint="name runs of another config beside them, or exactly two runs",
        )
    compared = tuple(compare(arms[0], arm, suites) for arm in arms[1:])
    failed = tuple(gate.text for gate in parsed if not all(gate.holds(each) for each in compared))
    return Found(compared, failed, tuple(notes))


def as_json(compared: Compared) -> dict[str, Any]:
    """A comparison as JSON values."""
    return {
        "first": _arm(compared.first),
        "second": _arm(compared.second),
        "unit": compared.unit,
        "metrics": [_line(line) for line in compared.lines],
        "interquartile_mean": compared.robust and compared.robust.interquartile_mean._asdict(),
        "probability_of_improvement": compared.robust and compared.robust.improvement._asdict(),
        "gained": [flip._asdict() for flip in compared.gained],
        "lost": [flip._asdict() for flip in compared.lost],
        "left_out": dict(compared.left_out),
        "notes": list(compared.notes),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        "runs": [side.name for side in arm.sides],
        "seeds": [side.seed for side in arm.sides],
        "steps": [side.step for side in arm.sides],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "suite": line.suite,
        "data": line.data,
        "decoding": line.decoding,
        "metric": line.metric,
        "first": line.first._asdict() | {"points": list(line.points[0])},
        "second": line.second._asdict() | {"points": list(line.points[1])},
        "difference": line.difference.mean,
        "ci95": None if line.difference.low is None else [line.difference.low, line.difference.high],
        "p": line.difference.p,
        "p_holm": line.adjusted_p,
        "detectable": line.difference.detectable,
        "n": line.difference.n,
        "how": line.difference.how,
        "verdict": line.verdict,
    }
