"""`rlsd doctor`: what this machine has, and whether what rlsd relies on works here."""

from typing import Annotated

import typer

from rlsd_cli import console
from rlsd_cli.errors import EXIT_NO


def doctor(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of `sandbox`, to test another jail.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check the machine, the libraries, the verifiers and the sandbox."""
    from rlsd_cli.grading.doctor import examine

    findings = []
    for finding in examine(overrides or []):
        findings.append(finding)
        if not as_json:
            console.data(console.printable(f"{finding.state:<5} {finding.about}: {finding.found}"))
            if finding.hint:
                console.data(f"      hint: {finding.hint}")
    counts = {state: sum(finding.state == state for finding in findings) for state in ("ok", "warn", "fail")}
    if as_json:
        console.data_json({**counts, "checks": [finding._asdict() for finding in findings]})
    else:
        console.data(f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures")
    if counts["fail"]:
        raise typer.Exit(EXIT_NO)
