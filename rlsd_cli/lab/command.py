"""What `rlsd credit` does: a study, its tables and its pictures."""

import time
from collections.abc import Sequence
from pathlib import Path

from rlsd_cli import console
from rlsd_cli.lab import picture, report
from rlsd_cli.lab.strips import chosen, lines
from rlsd_cli.lab.study import ask, study


def run(
    arguments: Sequence[str],
    root: Path,
    *,
    hints: str | None,
    methods: str | None,
    problems: int,
    samples: int | None,
    value: int,
    valued: int,
    step: int | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Study, and show what was found."""
    started = time.perf_counter()
    asked = ask(
        arguments,
        root,
        hints=hints,
        methods=methods,
        problems=problems,
        samples=samples,
        value=value,
        valued=valued,
        step=step,
    )
    done = study(asked)
    asked = asked._replace(num_problems=len({each.case.key[0] for each in done.looked}))
    for name, why in done.skipped.items():
        console.talk(f"{name}: not among the methods below: {why}")
    shown = [hint for hint in asked.hints if hint != "none"]
    if as_json:
        console.data_json(report.as_json(asked, done) | {"seconds": time.perf_counter() - started})
    else:
        for table in report.tables(asked, done):
            console.talk(f"\n{table.title}")
            console.table(table.columns, table.rows)
        console.talk("")
        for each in chosen(done.looked, shown[:2]):
            for line in lines(each, shown[:2]):
                console.data(console.printable(line))
    if png:
        picture.draw(done.looked, shown, png)
        console.talk(f"written to {png}")
    data = done.config.eval_data or done.config.data
    left_out = ", ".join(f"{count} {reason}" for reason, count in done.left_out.items() if count)
    console.talk(
        f"{done.num_responses} responses of {done.config.model} to {asked.num_problems} problems of {data}"
        f"{f'; in no figure: {left_out}' if left_out else ''}; {time.perf_counter() - started:.0f} s"
    )
