"""The command tree, and the one place where errors become messages and exit codes."""

import atexit
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlsd_cli import __version__, console
from rlsd_cli.commands import (
    compare,
    configs,
    credit,
    data,
    doctor,
    evals,
    models,
    presets,
    replay,
    report,
    runs,
    sweep,
    trace,
    training,
    verify,
    view,
)
from rlsd_cli.errors import RlsdError, of_the_machine
from rlsd_cli.interrupts import INTERRUPTED, die_of

EPILOG = (
    "Exit codes: 0 done or already done; 1 it ran and the answer is no; 2 you asked for something impossible; "
    "3 the machine cannot; 4 the run directory is in use or belongs to another config; "
    "130/143 interrupted, state saved, the same command continues."
)

app = typer.Typer(
    name="rlsd",
    help="Train reasoning models with verifiable rewards: RLVR, OPSD and RLSD on one bench.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", epilog=EPILOG)(training.train)
app.command("eval", epilog=EPILOG)(evals.evaluate)
app.command("verify", epilog=EPILOG)(verify.verify)
app.command("compare", epilog=EPILOG)(compare.compare)
app.command("replay", epilog=EPILOG)(replay.replay)
app.command("report", epilog=EPILOG)(report.report)
app.command("trace", epilog=EPILOG)(trace.trace)
app.command("view", epilog=EPILOG)(view.view)
app.command("credit", epilog=EPILOG)(credit.credit)
app.command("doctor", epilog=EPILOG)(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(presets.app, name="presets")
app.add_typer(configs.app, name="config")
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(sweep.app, name="sweep")


def _version(wanted: bool) -> None:
    if wanted:
        console.data(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    root_dir: Annotated[Path, typer.Option("--root", envvar="RLSD_ROOT", help="Where runs live.")] = Path("runs"),
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    del version
    context.obj = root_dir


def main() -> None:
    """Run the tool and exit with its code. Usage errors and Ctrl-C are typer's to tell: it exits with 2 and 130."""
    # OpenMP threads that spin for long while they wait slow everything down on shared cores; read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except RlsdError as failure:
        console.error(failure)
        sys.exit(failure.exit_code)
    except Exception as failure:
        if known := of_the_machine(failure):
            console.error(known)
            sys.exit(known.exit_code)
        console.fault(failure)
        sys.exit(1)


def entry() -> None:
    """`rlsd` as a shell starts it. What a signal has ended dies of that signal, so that a loop around it ends, too."""
    ended_by: list[int] = []
    atexit.register(_die, ended_by)  # registered first, and so called last
    try:
        main()
    except SystemExit as ending:
        if ending.code in INTERRUPTED:
            ended_by.append(int(ending.code) - 128)
        raise


def _die(ended_by: list[int]) -> None:
    for number in ended_by:
        die_of(number)


if __name__ == "__main__":
    entry()
