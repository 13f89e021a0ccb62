"""`rlsd data difficulty`: how often a model solves each problem, written with the problem."""

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd_cli import console
from rlsd_cli.commands.fitting import fitted, load_tried, say_forged
from rlsd_cli.commands.interrupt import interruptible
from rlsd_cli.errors import EXIT_NO, RlsdError

if TYPE_CHECKING:
    from rlsd_cli.config.schema import Config
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.evaluation.difficulty import DifficultyFile, Measured

SAMPLES = 8
BAR_CELLS = 30
TAKEN = (
    *("model", "seed", "device", "dtype", "verifier"),
    *(f"evaluation.{name}" for name in ("samples", "temperature", "top_p", "top_k", "max_new_tokens")),
)
TAKEN_SECTIONS = ("prompt.", "rollout.", "verification.", "sandbox.")


def difficulty(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Problems: a file, a task, or any other `data`.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT|PRESET|MODEL] [KEY=VALUE]...",
            help="Who answers, as for `rlsd eval`. Without one: the newest finished run, or quickstart.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help=f"Answers per problem; {SAMPLES} without it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write here; without it FILE.difficulty.jsonl in the working directory.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Start the file of --out over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Measure how often a model solves each problem. The same command continues a file that is not complete."""
    from rlsd_cli.data.sources import parse_source, read_source

    console.quiet = quiet
    out = out or default_out(source)
    if out.is_file() and Path(source).is_file() and out.samefile(source):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")
    if out.suffix != ".jsonl" and (out.is_file() or not out.exists()):
        raise RlsdError(f"`--out {out}`: what is written are lines of JSON", hint="name a file that ends in `.jsonl`")
    config = _config(arguments or [], samples, context.obj)
    started = time.perf_counter()

    from rlsd_cli.evaluation.difficulty import DifficultyFile, read_all, summarise

    if again or not out.exists():
        from rlsd_cli.policy.tokenizer import load_room

        load_room(config.model)
    problems, rows = read_all(read_source(parse_source(source)), source)
    if config.prompt.overlong == "skip":
        problems, rows = _without_overlong(problems, rows, config)
    with DifficultyFile(out, again=again) as file:
        measured = file.match(rows, config)
        if len(measured) == len(problems):
            console.talk(f"{out} is complete: {len(problems):,} problems; `--again` starts it over")
        else:
            _measure(problems, rows, measured, config, file)
    summary = summarise(measured) | {"seconds": time.perf_counter() - started}
    _show({"data": source, "out": str(out)} | summary, as_json=as_json)
    console.talk(f"written to {out}; `data={out}` trains on it")
    if missing := summary["problems"] - summary["n"]:
        console.talk(f"{missing:,} of {summary['problems']:,} problems reached no verdict, and have no pass rate")
        raise typer.Exit(EXIT_NO)


def default_out(source: str) -> Path:
    """`train.jsonl.gz` -> `train.difficulty.jsonl`, `countdown:numbers=4` -> `countdown-numbers-4.difficulty.jsonl`."""
    from rlsd_cli.data.inputs import name_of

    return Path(f"{name_of(source)}.difficulty.jsonl")


def _config(arguments: list[str], samples: int | None, root: Path) -> "Config":
    """The config of what answers. Where its evaluations are greedy, it answers as it does in training."""
    from rlsd_cli.commands.evals import find_subject
    from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, merge, split_arguments

    targets, overrides = split_arguments(arguments)
    if len(targets) > 1:
        raise RlsdError(f"one thing answers at a time, not {len(targets)}: {', '.join(targets)}")
    for key in overrides:
        if key in FIELDS and key not in TAKEN and not key.startswith(TAKEN_SECTIONS):
            sections = ", ".join(f"`{section}*`" for section in TAKEN_SECTIONS)
            raise RlsdError(
                f"`{key}` ({COMMAND_LINE}) changes nothing here",
                hint=f"keys: {', '.join(f'`{name}`' for name in TAKEN)}, {sections}",
            )
    overrides |= {} if samples is None else {"evaluation.samples": samples}
    overrides.setdefault("evaluation.samples", SAMPLES)
    subject = find_subject(targets[0] if targets else None, root, overrides.get("model"))
    config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    if config.evaluation.temperature == 0 and "evaluation.temperature" not in overrides:
        overrides["evaluation.temperature"] = config.rollout.temperature
        config = merge(subject.layers, Layer(COMMAND_LINE, overrides)).config
    if config.evaluation.temperature == 0 and config.evaluation.samples > 1:
        raise RlsdError(
            f"at `evaluation.temperature` = 0 all {config.evaluation.samples} answers to a problem are the same",
            hint="`--samples 1`, or a temperature above 0",
        )
    return config


def _without_overlong(
    problems: "list[Problem]", rows: list[dict[str, Any]], config: "Config"
) -> "tuple[list[Problem], list[dict[str, Any]]]":
    """The problems whose prompts leave room for an answer, and their rows."""
    from rlsd_cli.policy.tokenizer import load_room

    response = config.evaluation.max_new_tokens or config.rollout.max_new_tokens
    kept, left_out = fitted(problems, "problems", config, load_room(config.model), response)
    return kept, [row for place, row in enumerate(rows) if place not in left_out]


def _measure(
    problems: "list[Problem]",
    rows: list[dict[str, Any]],
    measured: "list[Measured]",
    config: "Config",
    file: "DifficultyFile",
) -> None:
    """Measure what is not yet in `measured`, and add it there and to the file, batch by batch."""
    from rlsd_cli.evaluation.difficulty import measure, to_line
    from rlsd_cli.grading.jobs import check_problems, describe_faults, open_pool

    start, total = len(measured), len(problems)
    with ExitStack() as stack:
        state = f"of {total:,}\n\nhint: the same command continues"
        interrupts = stack.enter_context(interruptible(lambda: f"after problem {len(measured):,} {state}"))
        pool = stack.enter_context(open_pool(config))

        say_forged(problems, config, load_tried(config))

        from rlsd_cli.policy.model import load_policy
        from rlsd_cli.rollout.engine import make_sampler

        policy = load_policy(config)
        if faults := check_problems(problems[start:], config, pool):
            console.warning(f"{total - start:,} problems, of which {describe_faults(faults)}")
        sampler = stack.enter_context(closing(make_sampler(policy, config)))
        sampler.update_weights()
        where = f"continuing at problem {start + 1:,} of {total:,}" if start else f"{total:,} problems"
        console.talk(f"{config.model} answers {where} x {config.evaluation.samples}")
        meter = stack.enter_context(console.Meter("problems", total, start))
        for batch in measure(policy, sampler, problems, config, pool, start=start):
            lines = [to_line(row, found) for row, found in zip(rows[len(measured) :], batch, strict=False)]
            interrupts.hold()
            file.write("\n".join(lines))
            measured.extend(batch)
            meter.show(len(measured))
            interrupts.release()


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.data_json(summary)
        return
    problems, n = summary["problems"], summary["n"]
    rows = [
        ("pass rate", console.interval(summary)),
        ("problems", f"{problems:,} x {summary['samples']}"),
        *((f"  {name} solved", _share(summary[name], n)) for name in ("never", "sometimes", "always")),
        *([("  without a pass rate", f"{problems - n:,}")] if n < problems else []),
        ("tokens per answer", f"{summary['tokens_per_response']:.1f}"),
        ("cut at the limit", f"{summary['truncated_rate']:.1%}"),
        ("without an answer", f"{summary['no_answer_rate']:.1%}"),
        ("seconds", f"{summary['seconds']:.1f}"),
    ]
    console.table((summary["data"], summary["model"]), rows)
    console.data("")
    most = max(summary["histogram"].values()) or 1
    bars = [(name, count, "#" * round(BAR_CELLS * count / most)) for name, count in summary["histogram"].items()]
    console.table(("pass rate", "problems", ""), bars)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if total else "0"
