"""A study: responses of a policy, what hints and methods make of them, and the figures."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli import console
from rlsd_cli.config.resolve import COMMAND_LINE, Layer, known_method, merge, split_arguments
from rlsd_cli.config.schema import DEFAULT_METHOD, Config
from rlsd_cli.data.pieces import Pieces
from rlsd_cli.data.problems import Problem, select
from rlsd_cli.data.sources import load_held_out, parse_source
from rlsd_cli.data.tasks import TASKS, Task
from rlsd_cli.data.views import Strangers
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.evaluation.subject import find_subject
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.lab.cases import Case, choose
from rlsd_cli.lab.figures import Looked
from rlsd_cli.lab.hints import DEFAULT, Reads, known_hints, read
from rlsd_cli.methods.table import METHODS
from rlsd_cli.policy.model import ROUNDING_GAP, Policy, load_trainable
from rlsd_cli.policy.models import make_models
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.records import Group, Judged
from rlsd_cli.rollout.sampler import Sampler
from rlsd_cli.rollout.values import prefix_values
from rlsd_cli.runs.rundir import RunDir
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.experience import FromPolicy, Parts, Rollouts
from rlsd_cli.training.learner import Learner
from rlsd_cli.training.reading import Reader
from rlsd_cli.training.replay import before_step
from rlsd_verifiers.pool import Pool

SAMPLED_BY = "rlvr"
"""The method whose config the responses are sampled and compared with."""
READ_BY = "rlsd"
"""The method whose config the teacher reads with: it reads every key of the teacher."""


class Asked(NamedTuple):
    """What a study is asked for.

    layers: where its config comes from
    hints: what the teacher is shown
    methods: whose credit is looked at
    value: continuations of each prefix; 0: none
    valued: responses of each kind that get values
    recorded: a run and a step whose responses are looked at; None for new ones
    """

    layers: Sequence[Layer]
    overrides: Mapping[str, Any]
    hints: Sequence[str]
    methods: Sequence[str]
    num_problems: int
    value: int
    valued: int
    recorded: tuple[RunDir, int] | None = None

    @property
    def method(self) -> str:
        """The method that the layers name."""
        layers = [Layer("default", {"method": DEFAULT_METHOD}), *self.layers, Layer(COMMAND_LINE, self.overrides)]
        return known_method(
            str(next(each.values["method"] for each in reversed(layers) if "method" in each.values))
        ).name

    def config(self, method: str) -> Config:
        """The config of the study, with a method of the table; its teacher is the policy as it is.

        Keys that the method does not read are left out of it.
        """
        layers = [*self.layers, Layer(COMMAND_LINE, self.overrides)]
        named = {"method": method}
        fixed = {
            "teacher.weights": "live",
            "optim.updates_per_batch": 1,
            "prompts_per_step": self.num_problems,
            "rollout.refill": 0,
        }
        found = merge(layers, Layer("the laboratory", named)).config
        read = {key: value for key, value in fixed.items() if key in found.identity()}
        return merge(layers, Layer("the laboratory", named | read)).config


class Study(NamedTuple):
    """What was looked at.

    left_out: responses that are in no figure, by the reason
    skipped: why methods that were asked for have no credit here
    """

    config: Config
    looked: Sequence[Looked]
    num_responses: int
    left_out: Mapping[str, int]
    skipped: Mapping[str, str]


def ask(
    arguments: Sequence[str],
    root: Path,
    *,
    hints: str | None,
    methods: str | None,
    problems: int,
    samples: int | None,
    value: int,
    valued: int,
    step: int | None = None,
) -> Asked:
    """What `rlsd credit [MODEL|RUN] [TASK] [key=value]...` asks for.

    Raises:
        RlsdError: (exit 2) a view or a method of that name does not exist, or `step` is asked of what is no run.
    """
    targets, overrides = split_arguments(arguments)
    if targets and parse_source(targets[-1]).name in TASKS:
        overrides["eval_data"] = targets.pop()
    if len(targets) > 1:
        raise RlsdError(f"one policy is studied at a time, not {len(targets)}: {', '.join(targets)}")
    subject = find_subject(targets[0] if targets else None, root, overrides.get("model"))
    if samples is not None:
        overrides["samples_per_prompt"] = samples
    named = list(DEFAULT) if hints is None else [name.strip() for name in hints.split(",")]
    known = known_hints(named)
    asked = Asked(subject.layers, overrides, known, _methods(methods), problems, value, valued)
    if step is None:
        return asked
    if subject.run is None or {"eval_data", "model", "samples_per_prompt"} & overrides.keys():
        raise RlsdError(
            "`--step` is of the responses that a run has recorded: name a run, and no task, model or `--samples`"
        )
    return asked._replace(recorded=(subject.run, step))


def _methods(names: str | None) -> list[str]:
    """Methods by name; `all` for all that learn from the policy's own responses; none: that of the config."""
    if names is None:
        return []
    if names == "all":
        return [name for name, method in METHODS.items() if method.responses == "policy"]
    return [known_method(name.strip()).name for name in names.split(",")]


def study(asked: Asked) -> Study:
    """Sample responses to held-out problems, choose among them, and look at them.

    Raises:
        RlsdError: (exit 1) there is nothing to look at; a live teacher that was shown nothing differs from the student.
    """
    if asked.recorded:
        run, step = asked.recorded
        policy, trainer, _ = before_step(run, step)
        problems, known = trainer.reader.strangers.problems, _groups(trainer.experience.rounds(step, Clock()))
        config = asked.config(SAMPLED_BY)
    else:
        config = asked.config(SAMPLED_BY)
        problems, known = select(load_held_out(config), asked.num_problems), None
        asked = asked._replace(num_problems=len(problems))
        config = asked.config(SAMPLED_BY)
        policy = load_trainable(config)
    with open_pool(config) as pool, contextlib.closing(make_sampler(policy, config)) as sampler:
        sampler.update_weights()
        return Laboratory(asked, config, policy, sampler, pool, list(problems)).study(known)


def _groups(rounds: Iterator[Parts]) -> list[Group]:
    return [group for parts in rounds for part in parts for group in part]


class Laboratory:
    """A policy, its sampler, verifiers, and the problems of a study."""

    def __init__(
        self, asked: Asked, config: Config, policy: Policy, sampler: Sampler, pool: Pool, problems: list[Problem]
    ) -> None:
        self.asked = asked
        self.config = config
        self.policy = policy
        self.sampler = sampler
        self.pool = pool
        self.problems = problems
        self.task: Task | None = TASKS.get(parse_source(config.eval_data or config.data).name)

    def study(self, known: list[Group] | None = None) -> Study:
        """Look at groups that are known, or at new ones."""
        groups = self._drawn() if known is None else known
        cases = choose(groups, self.task, Pieces(self.policy.tokenizer))
        if not cases:
            raise RlsdError("no response has a verdict: there is nothing to look at", exit_code=EXIT_NO)
        learner = self._learner(self.config)
        told = self.asked.config(READ_BY)
        reads = read(cases, self.asked.hints, self.policy, learner.passes, Strangers(self.problems), told)
        self._check_blind(reads)
        values = self._values(cases)
        credit, skipped = self._credit(groups, cases)
        looked = [
            Looked(case, each, values.get(case.key), credit.get(case.key, {}))
            for case, each in zip(cases, reads, strict=True)
        ]
        members = [member for group in groups for member in group.members]
        left_out: dict[str, int] = {}
        for member in members:
            reason = member.left_out or ("truncated" if member.rollout.truncated else None)
            if reason:
                left_out[reason] = left_out.get(reason, 0) + 1
        left_out["not the first of its kind"] = len(members) - len(cases) - sum(left_out.values())
        return Study(self.config, looked, len(members), left_out, skipped)

    def _drawn(self) -> list[Group]:
        """New responses to the problems, judged and compared."""
        source = FromPolicy(self.config, self.policy, self.sampler, self.pool, World())
        return _groups(Rollouts(self.config, source, self.problems, World()).rounds(1, Clock()))

    def _learner(self, config: Config) -> Learner:
        return Learner(config, make_models(self.policy, config), self.sampler, Interrupts(), World())

    def _check_blind(self, reads: Sequence[Reads]) -> None:
        """A teacher that is shown nothing is the student."""
        gaps = [gap.abs().max() for each in reads if (gap := each.gap("none")) is not None]
        worst = max((float(gap) for gap in gaps), default=0.0)
        if worst > ROUNDING_GAP[self.policy.compute_dtype]:
            raise RlsdError(
                f"a teacher that is shown nothing differs from the student by {worst:.2g} nats: no gap can be trusted",
                hint="try `dtype=float32`, or `attention=padded`",
                exit_code=EXIT_NO,
            )

    def _values(self, cases: Sequence[Case]) -> dict[tuple[int, int], Tensor]:
        """The chance of a right answer before each token of the first cases of each kind, and after the last."""
        if not self.asked.value:
            return {}
        taken: dict[str, int] = {}
        chosen = []
        for case in cases:
            if taken.setdefault(case.kind, 0) < self.asked.valued:
                taken[case.kind] += 1
                chosen.append(case)
        found = prefix_values(
            self.policy,
            self.sampler,
            self.pool,
            self.config,
            [case.member.rollout for case in chosen],
            [range(case.num_tokens) for case in chosen],
            self.asked.value,
            seed=f"{self.config.seed}/values",
            keys=[f"{case.member.rollout.problem.id}/{'/'.join(map(str, case.key))}" for case in chosen],
        )
        whole = ((case, each) for case, each in zip(chosen, found, strict=True) if len(each) == case.num_tokens)
        return {
            case.key: torch.tensor([*(value.score for value in each), case.member.score or 0.0]) for case, each in whole
        }

    # -- methods ------------------------------------------------------------------------------------------------------

    def _credit(
        self, groups: Sequence[Group], cases: Sequence[Case]
    ) -> tuple[dict[tuple[int, int], dict[str, Tensor]], dict[str, str]]:
        """The credit of each token of the cases, by method, and why some methods have none."""
        keys = {case.key for case in cases}
        asked = self.asked.methods or [self.asked.method]
        found: dict[tuple[int, int], dict[str, Tensor]] = {key: {} for key in keys}
        skipped = {}
        for name in asked:
            try:
                config = self.asked.config(name)
            except RlsdError as error:
                skipped[name] = error.message
                continue
            if why := _no_credit(config):
                skipped[name] = why
                continue
            for key, credit in self._credit_of(config, [_only(group, keys) for group in groups]).items():
                found[key][name] = credit
            console.talk(f"{name}: its credit")
        return found, skipped

    def _credit_of(self, config: Config, groups: Sequence[Group]) -> dict[tuple[int, int], Tensor]:
        """The credit that a method gives to the members that are not left out."""
        learner = self._learner(config)
        reader = Reader(config, learner.models, learner.passes, self.problems)
        with reader.ready():
            taught = reader.read(groups, 1, Clock())
        traces = learner.look(taught, 1)
        return {key: trace.credit for key, trace in traces.items() if trace.credit is not None}


def _no_credit(config: Config) -> str | None:
    """Why a method gives no credit to the policy's own responses here; None where it does."""
    from rlsd_cli.methods.base import PolicyGradient

    method = config.recipe
    if method.responses != "policy":
        return "it learns from the solutions of the data"
    if not method.has(PolicyGradient):
        return "it gives tokens no credit: its signal is the gap of what its teacher is shown"
    if method.continuations:
        return "its credit is what a token did to the chance of a right answer: the costly tokens themselves"
    return None


def _only(group: Group, keys: set[tuple[int, int]]) -> Group:
    """A group in which all but the cases are left out; the advantages are those of the whole group."""

    def kept(place: int, member: Judged) -> Judged:
        return member if (group.place, place) in keys else member._replace(left_out=member.left_out or "not_kept")

    return group._replace(members=tuple(kept(place, member) for place, member in enumerate(group.members)))
