"""The rollouts of a step as they are looked at: what each token was told, and what one can ask for."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.report.filters import parse
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.runs.rundir import RunDir

RECORDED = "recorded"
"""The name of what the run's own method said."""
Direction = Literal["up", "down", "neutral"]


class Signal(NamedTuple):
    """What a method told the tokens of a rollout [n]; None where it has no such term.

    credit: what a policy-gradient term multiplies the ratio with
    pull: the gap to the teacher, where a distillation trains on it
    """

    credit: Sequence[float] | None
    pull: Sequence[float] | None

    def push(self, place: int) -> float:
        """Both together: above 0 the token is made likelier, below 0 less likely."""
        return sum(values[place] for values in self if values is not None)


class Token(NamedTuple):
    """A token of a response, and all that is known of it.

    gap: the teacher's log-probability less the student's (nats)
    weight: its credit as a multiple of the rollout's advantage
    push: credit and pull together
    """

    place: int
    text: str
    direction: Direction
    push: float
    credit: float | None
    pull: float | None
    weight: float | None
    logp: float | None
    teacher_logp: float | None
    gap: float | None
    entropy: float | None
    clipped: bool | None


class Shown(NamedTuple):
    """A rollout with the signals of methods, its own first.

    texts: of each token
    alternatives: the likeliest tokens at each place with their log-probabilities; empty where nobody asked
    """

    record: RolloutRecord
    signals: Mapping[str, Signal]
    texts: Sequence[str]
    alternatives: Sequence[Sequence[tuple[str, float]]] = ()

    def tokens(self, method: str) -> list[Token]:
        """Its tokens as a method sees them; without a signal all are neutral."""
        signal = self.signals.get(method, Signal(None, None))
        return [self._token(place, text, signal) for place, text in enumerate(self.texts)]

    def _token(self, place: int, text: str, signal: Signal) -> Token:
        record = self.record

        def at(values: Sequence[float] | None) -> float | None:
            return None if values is None else values[place]

        logp, teacher = at(record.student_logp), at(record.teacher_logp)
        credit, push = at(signal.credit), signal.push(place)
        return Token(
            place=place,
            text=text,
            direction="up" if push > 0 else "down" if push < 0 else "neutral",
            push=push,
            credit=credit,
            pull=at(signal.pull),
            weight=None if credit is None or not record.advantage else credit / record.advantage,
            logp=logp,
            teacher_logp=teacher,
            gap=None if teacher is None or logp is None else teacher - logp,
            entropy=at(record.entropy),
            clipped=None if record.clipped is None else bool(record.clipped[place]),
        )

    def fields(self) -> dict[str, Any]:
        """What conditions and orders may name."""
        record = self.record
        known = zip(record.student_logp or (), record.teacher_logp or (), strict=False)
        gaps = [abs(teacher - student) for student, teacher in known]
        own = next(iter(self.signals.values()), Signal(None, None))
        pushes = [abs(own.push(place)) for place in range(len(self.texts))]
        return {
            "step": record.step,
            "group": record.group,
            "sample": record.sample,
            "problem_id": record.problem_id,
            "outcome": record.outcome,
            "correct": record.correct,
            "score": record.score,
            "advantage": record.advantage,
            "tokens": len(record.token_ids),
            "truncated": record.truncated,
            "left_out": record.left_out,
            "leaks": record.leaks,
            "extracted": record.extracted,
            "response": record.response,
            "credit": sum(pushes) / len(pushes) if pushes else 0.0,
            "gap": sum(gaps) / len(gaps) if gaps else None,
        }


FIELDS = dict.fromkeys(
    "step group sample problem_id outcome correct score advantage tokens truncated left_out leaks extracted response "
    "credit gap".split()
)


def steps_of(run: RunDir) -> list[int]:
    """The steps whose rollouts a run has kept; raises RlsdError where it has none."""
    found = sorted(int(path.name.partition(".")[0]) for path in run.path.glob("rollouts/*.jsonl.gz"))
    if not found:
        raise RlsdError(f"{run.path} has no rollouts yet", hint="they are written after its first step")
    return found


def shown_of(run: RunDir, step: int | None) -> list[Shown]:
    """The rollouts of a step, by default the last, with what the run's own method said.

    Raises:
        RlsdError: there are none.
    """
    steps = steps_of(run)
    if step is not None and step not in steps:
        raise RlsdError(f"{run.path} has no rollouts of step {step}", hint=f"it has those of {steps[0]} to {steps[-1]}")
    records = run.rollouts(steps[-1] if step is None else step)
    return [Shown(record, {RECORDED: Signal(record.credit, record.pull)}, texts_of(record)) for record in records]


def texts_of(record: RolloutRecord) -> list[str]:
    """The text of each token; of a run that did not keep where they begin, its number in the vocabulary."""
    if record.starts is None:
        return [f"<{token}>" for token in record.token_ids]
    return [record.response[begin:end] for begin, end in pairwise(record.starts)]


def choose(shown: Sequence[Shown], where: str | None, sort: str | None, *, reverse: bool = False) -> list[Shown]:
    """Those that a condition holds for, in an order: by a field, the largest first.

    Raises:
        RlsdError: the condition is none, or there is no such field.
    """
    chosen = [*shown]
    if where:
        holds = parse(where, FIELDS)
        chosen = [each for each in chosen if holds(each.fields())]
    if sort:
        if sort not in FIELDS:
            raise RlsdError(f"rollouts have no field `{sort}`", hint=did_you_mean(sort, FIELDS) or ", ".join(FIELDS))
        known = [each for each in chosen if each.fields()[sort] is not None]
        known.sort(key=lambda each: each.fields()[sort], reverse=not reverse)
        chosen = known + [each for each in chosen if each.fields()[sort] is None]
    return chosen


def with_methods(
    shown: Sequence[Shown], run: RunDir, methods: Sequence[str], alternatives: int
) -> tuple[list[Shown], dict[str, str]]:
    """The same with what other methods would have said, through a replay; and why a method says nothing.

    Raises:
        RlsdError: no method has such a name, or the step cannot be replayed.
    """
    if not shown or not (methods or alternatives):
        return [*shown], {}
    from rlsd_cli.training.opinions import ask  # loads torch

    found = ask(run, shown[0].record.step, methods, alternatives)
    filled = []
    for each in shown:
        key = (each.record.group, each.record.sample)
        others = {name: opinions[key] for name, opinions in found.by_method.items() if key in opinions}
        signals = {**each.signals, **{name: Signal(*opinion) for name, opinion in others.items()}}
        filled.append(each._replace(signals=signals, alternatives=found.alternatives.get(key, ())))
    return filled, dict(found.skipped)
