"""How often a model solves each problem: its pass rate, which is kept with the problem.

Problems are sampled and graded in batches that lie where they lie in the source, and draws depend on the problem alone.
So what is drawn does not depend on where the work was interrupted: finished rows are kept, an unfinished batch is done
again.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.jsons import plain
from rlsd_cli.data.problems import Found, Problem, strictly, to_row
from rlsd_cli.grading.jobs import stop_on_sandbox_error, verdict_settings
from rlsd_cli.grading.verdict_file import LineFile
from rlsd_cli.rollout.sampler import Sampler, Sampling
from rlsd_cli.statistics.rates import clustered
from rlsd_verifiers import Outcome
from rlsd_verifiers.pool import Pool
from rlsd_verifiers.verdict import shorten

if TYPE_CHECKING:
    from rlsd_cli.policy.model import Policy
    from rlsd_cli.rollout.records import Pending

BINS = (0.25, 0.5, 0.75)
"""Edges of the histogram bins between the pass rates 0 and 1."""


class Measured(NamedTuple):
    """The field `difficulty` of a row: counts of answers, their mean length, and what they were drawn with.

    Of `samples` answers `solved` are right; `no_verdict` could not be judged, because of us or of the reference.
    `config` is the `digest` of everything that decides what is drawn and how it is judged.
    """

    samples: int
    solved: int
    no_verdict: int
    no_answer: int
    tokens_mean: float
    truncated: int
    model: str
    config: str

    @property
    def judged(self) -> int:
        return self.samples - self.no_verdict

    @property
    def pass_rate(self) -> float | None:
        """Right answers over judged ones; None where none was judged."""
        return self.solved / self.judged if self.judged else None


def sampling_of(config: Config) -> Sampling:
    settings = config.evaluation
    return Sampling(
        max_new_tokens=settings.max_new_tokens or config.rollout.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
    )


def digest(config: Config) -> str:
    """Eight hex digits that differ where model, prompt, sampling, verification or the number of samples do."""
    what = [
        config.model,
        config.seed,
        config.dtype,
        config.prompt.model_dump(),
        config.rollout.dtype,
        batch_size(config),
        config.evaluation.samples,
        sampling_of(config),
        *(part for part in verdict_settings(config) if part is not None),  # what is absent is in no older digest
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:8]


def batch_size(config: Config) -> int:
    """Problems in a batch: as many as are decoded at a time."""
    return max(1, config.rollout.batch_size // config.evaluation.samples)


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(
    policy: "Policy", sampler: Sampler, problems: Sequence[Problem], config: Config, pool: Pool, *, start: int = 0
) -> Iterator[list[Measured]]:
    """What is found on each batch of problems, from the batch that begins at `start`.

    Raises:
        RlsdError: before anything is sampled, if a prompt leaves no room for its answer; if the sandbox failed.
    """
    from rlsd_cli.rollout.respond import draw_keys, respond, student_prompts  # loads torch

    sampling, samples, mark = sampling_of(config), config.evaluation.samples, digest(config)
    batches = range(start, len(problems), batch_size(config))
    keys = draw_keys(problems)
    for begin in batches:
        student_prompts(problems[begin : begin + batches.step], policy, config, sampling.max_new_tokens)
    for begin in batches:
        responses = respond(
            policy,
            sampler,
            problems[begin : begin + batches.step],
            config,
            pool,
            samples=samples,
            sampling=sampling,
            seed=f"{config.seed}/difficulty",
            keys=keys[begin : begin + batches.step],
        )
        stop_on_sandbox_error(response.verdict.result() for response in responses)
        firsts = range(0, len(responses), samples)
        yield [_measured(responses[first : first + samples], config.model, mark) for first in firsts]


def _measured(group: Sequence["Pending"], model: str, mark: str) -> Measured:
    verdicts = [response.verdict.result() for response in group]
    return Measured(
        samples=len(group),
        solved=sum(verdict.correct is True for verdict in verdicts),
        no_verdict=sum(not verdict.is_verdict for verdict in verdicts),
        no_answer=sum(verdict.outcome is Outcome.NO_ANSWER for verdict in verdicts),
        tokens_mean=sum(len(response.rollout.token_ids) for response in group) / len(group),
        truncated=sum(response.rollout.truncated for response in group),
        model=model,
        config=mark,
    )


# -- rows ----------------------------------------------------------------------------------------------------------


def read_all(found: Iterable[Found], source: str) -> tuple[list[Problem], list[dict[str, Any]]]:
    """All problems, and all that their rows hold besides what is measured here.

    Raises:
        RlsdError: as `strictly` does.
    """
    rows: list[dict[str, Any]] = []

    def kept() -> Iterator[Found]:
        for item in found:
            if item.problem:
                row = to_row(item.problem) | dict(item.rest)
                rows.append({name: plain(value) for name, value in row.items() if name not in ADDED})
            yield item

    return strictly(kept(), source), rows


ADDED = ("pass_rate", "difficulty")


def to_line(row: Mapping[str, Any], measured: Measured) -> str:
    return json.dumps({**row, "pass_rate": measured.pass_rate, "difficulty": measured._asdict()})


class DifficultyFile(LineFile):
    """Rows with what was measured on them, in the order of their source."""

    content = "measured problem"

    def match(self, rows: Sequence[Mapping[str, Any]], config: Config) -> list[Measured]:
        """What has been measured already, in whole batches; the file goes on behind them.

        Raises:
            RlsdError: a row in it is not that of the source, or was measured with other settings.
        """
        earlier: list[Measured] = []
        ends, mark = [0], digest(config)
        for number, line in enumerate(self.lines()):
            values, measured = self._taken_apart(line)
            if number == len(rows):
                raise self.mismatch(f"it holds more than the {len(rows)} problems there are")
            if why := _other_row(values, rows[number]) or _other_settings(measured, config, mark):
                raise self.mismatch(f"in row {number + 1}, {why}")
            earlier.append(measured)
            ends.append(ends[-1] + len(line))
        kept = len(earlier) if len(earlier) == len(rows) else len(earlier) // batch_size(config) * batch_size(config)
        self.go_on_at(ends[kept])
        return earlier[:kept]

    def _taken_apart(self, line: bytes) -> tuple[dict[str, Any], Measured]:
        """Split a row into the problem's own fields and what was measured."""
        try:
            values = json.loads(line)
            pass_rate, measured = values.pop("pass_rate"), Measured(**values.pop("difficulty"))
            counts = measured.samples, measured.solved, measured.no_verdict, measured.no_answer, measured.truncated
            if not all(isinstance(count, int) for count in counts) or pass_rate != measured.pass_rate:
                raise ValueError
            return values, measured._replace(tokens_mean=float(measured.tokens_mean))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ZeroDivisionError):
            raise self.mismatch("it holds lines that are no measured problems") from None


def _other_row(values: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    for name in {**row, **values}:
        if values.get(name) != row.get(name):
            was, here = (shorten(str(given.get(name))) for given in (values, row))
            return f"`{name}` was `{was}` and is `{here}`"
    return None


def _other_settings(measured: Measured, config: Config, mark: str) -> str | None:
    for name, was, here in (
        ("model", measured.model, config.model),
        ("number of samples", measured.samples, config.evaluation.samples),
    ):
        if was != here:
            return f"the {name} was {was} and is {here}"
    if measured.config != mark:
        return "a setting of the prompt, the sampling or the verification was another, or the seed"
    return None


# -- what it adds up to --------------------------------------------------------------------------------------------


def summarise(measured: Sequence[Measured]) -> dict[str, Any]:
    """The summary of all problems; a mean over nothing is None.

    `n` of the problems have a pass rate. Their mean has a 95 % interval with problems as the sampling unit.
    """
    judged = [each for each in measured if each.judged]
    interval = clustered([[1.0] * m.solved + [0.0] * (m.judged - m.solved) for m in judged]) if judged else None
    histogram = histogram_of([each.solved / each.judged for each in judged])
    answers = sum(each.samples for each in measured)
    return {
        "problems": len(measured),
        "n": len(judged),
        "samples": measured[0].samples,
        "mean": interval.mean if interval else None,
        "ci95": [interval.low, interval.high] if interval else None,
        "never": histogram["0"],
        "sometimes": len(judged) - histogram["0"] - histogram["1"],
        "always": histogram["1"],
        "histogram": histogram,
        "tokens_per_response": math.fsum(each.tokens_mean for each in measured) / len(measured),
        "truncated_rate": sum(each.truncated for each in measured) / answers,
        "no_answer_rate": sum(each.no_answer for each in measured) / answers,
        "no_verdict_rate": sum(each.no_verdict for each in measured) / answers,
        "model": measured[0].model,
        "config": measured[0].config,
    }


def histogram_of(rates: Sequence[float]) -> dict[str, int]:
    """How many pass rates are 0, lie in each part between, and are 1. A part holds its upper end."""
    edges = (0.0, *BINS, 1.0)
    counts = {"0": sum(rate == 0 for rate in rates)}
    for low, high in pairwise(edges):
        closing = ")" if high == 1 else "]"
        inside = [rate for rate in rates if low < rate <= high and rate < 1]
        counts[f"({low:g}, {high:g}{closing}"] = len(inside)
    return counts | {"1": sum(rate == 1 for rate in rates)}
