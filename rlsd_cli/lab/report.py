"""The figures of a study as tables and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rlsd_cli.lab.figures import (
    CONTROLS,
    PAIRS,
    Looked,
    agreement,
    by_kind,
    costliest,
    costly,
    found,
    late,
    moved,
    spread,
)
from rlsd_cli.lab.hints import MEANINGS
from rlsd_cli.lab.intervals import Figure
from rlsd_cli.lab.study import Asked, Study

Row = tuple[str, ...]


class Table(NamedTuple):
    """A question that the study answers: its title, the names of the columns, and the rows."""

    title: str
    columns: Row
    rows: Sequence[Row]


def tables(asked: Asked, study: Study) -> Iterator[Table]:
    """The answers, those without any row left out."""
    hints, methods = [hint for hint in asked.hints if hint != "none"], methods_of(study)
    kinds = by_kind(study.looked)
    wrong = {kind: looked for kind, looked in kinds.items() if kind.startswith("wrong")}
    yield Table(
        "responses looked at: the first of each kind to each problem",
        ("kind", "responses", "with values", "error placed"),
        [
            (kind, str(len(looked)), str(_count(looked, "values")), str(sum(bool(each.case.error) for each in looked)))
            for kind, looked in kinds.items()
        ],
    )
    yield from _filled(_found_table(study, (*CONTROLS, *hints, *methods)))
    for kind, looked in wrong.items():
        yield from _filled(
            _share_table(f"{kind}: share of the blame after all was decided", late, looked, hints, methods)
        )
        yield from _filled(_share_table(f"{kind}: share of the blame on costly tokens", costly, looked, hints, methods))
    yield from _filled(_costliest_table(kinds, hints, asked.value))
    yield from _filled(_moved_table(kinds, hints, _clip(study)))
    yield from _filled(_spread_table(kinds, methods))
    yield from _filled(_agreement_table(kinds, asked.hints))


def methods_of(study: Study) -> list[str]:
    """The methods that gave credit."""
    return list(dict.fromkeys(name for each in study.looked for name in each.credit))


def _clip(study: Study) -> float:
    return float(getattr(study.config.credit, "clip", 0.2))


def _count(looked: Sequence[Looked], name: str) -> int:
    return sum(getattr(each, name) is not None for each in looked)


def _filled(table: Table) -> Iterator[Table]:
    if table.rows:
        yield table


def _found_table(study: Study, names: Sequence[str]) -> Table:
    figures = found(study.looked, names)
    steps = sorted({number for each in figures.values() for number in each.after})
    return Table(
        "is the most blamed token in the first wrong step?",
        ("blame by", "in the step", "the token itself", *(f"{number} steps after" for number in steps)),
        [
            (name, str(each.step), str(each.token), *(str(each.after.get(number, Figure(None))) for number in steps))
            for name, each in figures.items()
        ],
    )


def _share_table(
    title: str, measure: Any, looked: Sequence[Looked], hints: Sequence[str], methods: Sequence[str]
) -> Table:
    figures: Mapping[str, Figure] = measure(looked, (*CONTROLS, *hints, *methods))
    rows = [(name, str(figure), str(figure.n)) for name, figure in figures.items() if figure.n]
    return Table(title, ("blame by", "share", "responses"), rows)


def _costliest_table(kinds: Mapping[str, Sequence[Looked]], hints: Sequence[str], num: int) -> Table:
    rows = [
        (
            kind,
            str(at.before),
            str(at.after),
            str(at.is_error),
            hint,
            str(at.gaps[hint]),
            f"{at.slope[hint]:+.2f}",
            str(at.r[hint]),
        )
        for kind, looked in kinds.items()
        if (at := costliest(looked, hints, num))
        for hint in at.gaps
    ]
    columns = ("kind", "chance before", "after", "is the first error", "view", "gap there, nats", "slope", "r")
    return Table("the costliest token, and the gap on the change of the log chance", columns, rows)


def _moved_table(kinds: Mapping[str, Sequence[Looked]], hints: Sequence[str], clip: float) -> Table:
    rows = [
        (kind, hint, str(figures.moved), str(figures.bound))
        for kind, looked in kinds.items()
        for hint in hints
        if (figures := moved(looked, hint, clip))
    ]
    return Table(
        "share of tokens that a view moves", ("kind", "view", "|gap| > 0.05", f"beyond a clip of {clip:g}"), rows
    )


def _spread_table(kinds: Mapping[str, Sequence[Looked]], methods: Sequence[str]) -> Table:
    rows = [
        (kind, method, str(figures.deviation), str(figures.lift))
        for kind, looked in kinds.items()
        for method in methods
        if (figures := spread(looked, method))
    ]
    return Table("the credit as configured", ("kind", "method", "deviation / mean", "first error / mean"), rows)


def _agreement_table(kinds: Mapping[str, Sequence[Looked]], hints: Sequence[str]) -> Table:
    rows = [
        (kind, f"{one} - {other}", str(figures.same_sign), str(figures.r), str(figures.specific))
        for kind, looked in kinds.items()
        for one, other in PAIRS
        if {one, other} <= set(hints) and (figures := agreement(looked, one, other))
    ]
    return Table(
        "do two views move the same tokens the same way?", ("kind", "views", "same sign", "r", "specific"), rows
    )


def as_json(asked: Asked, study: Study) -> dict[str, Any]:
    """Everything that the tables say, and AUROC, in one object."""
    hints, methods = [hint for hint in asked.hints if hint != "none"], methods_of(study)
    kinds = by_kind(study.looked)
    names = (*CONTROLS, *hints, *methods)
    return {
        "model": study.config.model,
        "data": study.config.eval_data or study.config.data,
        "problems": asked.num_problems,
        "samples": study.config.samples_per_prompt,
        "responses": study.num_responses,
        "left_out": dict(study.left_out),
        "views": {hint: MEANINGS[hint] for hint in asked.hints},
        "methods": methods,
        "skipped": dict(study.skipped),
        "kinds": {kind: len(looked) for kind, looked in kinds.items()},
        "found": plain(found(study.looked, names)),
        "late": {kind: plain(late(looked, names)) for kind, looked in kinds.items() if kind.startswith("wrong")},
        "costly": {kind: plain(costly(looked, names)) for kind, looked in kinds.items() if kind.startswith("wrong")},
        "costliest": {kind: plain(costliest(looked, hints, asked.value)) for kind, looked in kinds.items()},
        "moved": {
            kind: {hint: plain(moved(looked, hint, _clip(study))) for hint in hints} for kind, looked in kinds.items()
        },
        "spread": {kind: {name: plain(spread(looked, name)) for name in methods} for kind, looked in kinds.items()},
        "agreement": {
            kind: {f"{one}-{other}": plain(agreement(looked, one, other)) for one, other in PAIRS}
            for kind, looked in kinds.items()
        },
    }


def plain(value: Any) -> Any:
    """Records as JSON values; a figure without any case is null."""
    if isinstance(value, Figure):
        return None if value.mean is None else value._asdict()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    return value
