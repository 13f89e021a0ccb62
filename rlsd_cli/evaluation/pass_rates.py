"""The problems of a source to a file of pass rates, which is continued where it stopped."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rlsd_cli import console
from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, merge, split_arguments
from rlsd_cli.config.schema import Config
from rlsd_cli.data.inputs import name_of
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.sources import parse_source, read_source
from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.difficulty import DifficultyFile, Measured, measure, read_all, summarise, to_line
from rlsd_cli.evaluation.subject import find_subject
from rlsd_cli.grading.jobs import check_problems, describe_faults, open_pool
from rlsd_cli.rollout.fitting import fitted, load_tried, say_forged

SAMPLES = 8
TAKEN = (
    *("model", "seed", "device", "dtype", "verifier"),
    *(f"evaluation.{name}" for name in ("samples", "temperature", "top_p", "top_k", "max_new_tokens")),
)
TAKEN_SECTIONS = ("prompt.", "rollout.", "verification.", "sandbox.")


def measure_source(
    source: str, arguments: Sequence[str], samples: int | None, out: Path | None, root: Path, *, again: bool
) -> dict[str, Any]:
    """Measure how often a model solves each problem of a source, and write it to `out`: the summary.

    Raises:
        RlsdError: a fault of source, file or model; the file was measured otherwise and `again` does not start it over.
    """
    out = out or default_out(source)
    _check_out(out, source)
    config = config_of(arguments, samples, root)
    started = time.perf_counter()
    if again or not out.exists():
        from rlsd_cli.policy.tokenizer import load_room  # loads transformers

        load_room(config.model)  # before the file is made
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
    return {"data": source, "out": str(out)} | summary


def _check_out(out: Path, source: str) -> None:
    if out.is_file() and Path(source).is_file() and out.samefile(source):
        raise RlsdError(f"`--out {out}` is {source} itself", hint="name another file")
    if out.suffix != ".jsonl" and (out.is_file() or not out.exists()):
        raise RlsdError(
            f"`--out {out}`: the file is written as lines of JSON", hint="name a file that ends in `.jsonl`"
        )


def default_out(source: str) -> Path:
    """`train.jsonl.gz` -> `train.difficulty.jsonl`, `countdown:numbers=4` -> `countdown-numbers-4.difficulty.jsonl`."""
    return Path(f"{name_of(source)}.difficulty.jsonl")


def config_of(arguments: Sequence[str], samples: int | None, root: Path) -> Config:
    """The config of what answers. Where its evaluations are greedy, it answers as it does in training."""
    targets, overrides = split_arguments(arguments)
    if len(targets) > 1:
        raise RlsdError(f"one model answers at a time, not {len(targets)}: {', '.join(targets)}")
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
    problems: list[Problem], rows: list[dict[str, Any]], config: Config
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """The problems whose prompts leave room for an answer, and their rows."""
    from rlsd_cli.policy.tokenizer import load_room

    response = config.evaluation.max_new_tokens or config.rollout.max_new_tokens
    kept, left_out = fitted(problems, "problems", config, load_room(config.model), response)
    return kept, [row for place, row in enumerate(rows) if place not in left_out]


def _measure(
    problems: list[Problem],
    rows: list[dict[str, Any]],
    measured: list[Measured],
    config: Config,
    file: DifficultyFile,
) -> None:
    """Measure what is not yet in `measured`, and add it there and to the file, batch by batch."""
    start, total = len(measured), len(problems)
    with ExitStack() as stack:
        state = f"of {total:,}\n\nhint: the same command continues"
        interrupts = stack.enter_context(console.interruptible(lambda: f"after problem {len(measured):,} {state}"))
        pool = stack.enter_context(open_pool(config))
        say_forged(problems, config, load_tried(config))

        from rlsd_cli.policy.model import load_policy  # loads torch
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
