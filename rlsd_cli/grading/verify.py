"""What `rlsd verify` is asked to grade, and a pair of a reference and a response graded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.answer_rows import Row, record, unknown_verifier
from rlsd_cli.grading.explain import explain
from rlsd_cli.grading.jobs import is_of_grading, leniency_of, open_pool
from rlsd_cli.grading.verify_file import Verified, verify_rows
from rlsd_verifiers import AUTO, Job, Submission, UnknownVerifierError, find_verifier
from rlsd_verifiers.registry import resolve

PAIR = "rlsd verify --answer GOLD --response TEXT"


class Request(NamedTuple):
    """What is to be graded, and how.

    files: files of rows
    answer, response: a pair; None for a part that is not given
    config: limits and verifiers
    verifier: the one that wins over those that rows name; None: rows choose
    """

    files: list[str]
    answer: str | None
    response: str | None
    config: Config
    verifier: str | None

    @property
    def is_pair(self) -> bool:
        return self.answer is not None or self.response is not None


class VerifiedPair(NamedTuple):
    """A pair that was graded.

    row: as one of a file of verdicts
    line: the verdict in a line
    steps: how it came about, each step and what it made of the pair
    is_complete: True where a verdict was reached
    """

    row: dict[str, Any]
    line: str
    steps: list[tuple[str, str]]
    is_complete: bool


def read_request(
    arguments: Sequence[str],
    answer: str | None,
    response: str | None,
    verifier: str | None,
    workers: int | None,
    timeout: float | None,
) -> Request:
    """Read the command line; the verifier that it names is loaded before anything is read.

    Raises:
        RlsdError: a key means nothing to grading, or the verifier cannot be had.
    """
    files, overrides = split_arguments(arguments)
    if verifier is not None:
        overrides["verifier"] = verifier
    if workers is not None:
        overrides["verification.workers"] = workers
    if timeout is not None:
        overrides["verification.timeout_seconds"] = overrides["sandbox.timeout_seconds"] = timeout
    config = _config(overrides)
    return Request(files, answer, response, config, config.verifier if "verifier" in overrides else None)


def _config(overrides: dict[str, Any]) -> Config:
    config = merge([], Layer(COMMAND_LINE, overrides)).config
    for key in overrides:
        if not is_of_grading(key):
            raise RlsdError(
                f"`{key}` ({COMMAND_LINE}) changes nothing here",
                hint="keys: `verifier` and those of `rlsd config keys verification` and `rlsd config keys sandbox`",
            )
    name = config.verifier
    if ":" in name and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        if name != AUTO:
            find_verifier(name)
    except UnknownVerifierError as error:
        message, hint = (str(error), None) if ":" in name else unknown_verifier(name)
        raise RlsdError(message, hint=hint) from error
    return config


def check_usage(asked: Request, *, explain: bool, out: bool, again: bool) -> None:
    """Raise RlsdError where what is asked for does not go together."""
    files, answer, response, is_pair = asked.files, asked.answer, asked.response, asked.is_pair
    faults = (
        (is_pair and files, "both a FILE and a pair", f"`rlsd verify FILE`, or `{PAIR}`"),
        (len(files) > 1, f"one file is verified at a time, not {len(files)}: {', '.join(files)}", None),
        (not is_pair and explain, "`--explain` is about one pair", f"`{PAIR} --explain`"),
        (not is_pair and not files, "nothing to verify", f"`rlsd verify FILE`, or `{PAIR}`"),
        (is_pair and response is None, "`--answer` needs a response", "add `--response TEXT`"),
        (is_pair and answer is None, "`--response` needs a reference answer", "add `--answer GOLD`"),
        (is_pair and (out or again), "`--out` and `--again` need a FILE", f"`{PAIR} --json` is the row"),
        (again and not out, "`--again` starts the file of `--out` over, and there is none", "add `--out FILE`"),
    )
    for is_fault, message, hint in faults:
        if is_fault:
            raise RlsdError(message, hint=hint)


def verify_pair(asked: Request) -> VerifiedPair:
    """Grade a response, which is read from stdin if it is `-`, against an answer."""
    config, submission = asked.config, Submission(_text(asked.response or ""), asked.answer)
    name = resolve(config.verifier, submission)
    with open_pool(config) as pool:
        verdict = pool.submit(Job(submission, name, leniency_of(config))).result()
    extracted = "-" if verdict.extracted is None else verdict.extracted
    return VerifiedPair(
        row=record(Row(0, 1, asked.answer, None, submission, name), verdict),
        line=f"{verdict.outcome}   extracted {extracted}   {verdict.reason}   {1000 * verdict.seconds:.1f} ms",
        steps=[*explain(submission, name, verdict, config)],
        is_complete=verdict.is_verdict,
    )


def _text(response: str) -> str:
    if response != "-":
        return response
    if sys.stdin is None:
        raise RlsdError("stdin is closed")
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")


def verify_file(asked: Request, out: Path | None, *, again: bool) -> Verified:
    """Grade the rows of a file, or of stdin if it is `-`, to stdout or to a file that is continued (`again`: anew)."""
    return verify_rows(asked.files[0], out, asked.config, asked.verifier, again=again)
