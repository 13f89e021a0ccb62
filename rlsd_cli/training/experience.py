"""From problems to judged groups. Every kind of experience gives the same groups for the same step."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from itertools import count
from typing import Any, Protocol

from rlsd_cli.config.schema import Config
from rlsd_cli.data.curriculum import refill_problems, step_problems
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, solution_ids, teacher_text
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.rewards import submit_parts
from rlsd_cli.methods.base import Continuations, Draw
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.records import Group, Judged, Pending, Prompt, Rollout, Value
from rlsd_cli.rollout.respond import Told, draw_keys, respond, student_prompts
from rlsd_cli.rollout.sampler import Sampler, Sampling
from rlsd_cli.rollout.values import prefix_values, step_ends
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.judging import advantages_of, judge, shares, zero_variance
from rlsd_verifiers.pool import Pool

PARTS = 4
"""In how many parts the groups of a round are judged."""

Parts = Iterator[list[Group]]
"""Groups of this process, part by part, some maybe empty; every process has as many parts."""


class Experience(Protocol):
    """Where the groups of a step come from."""

    def rounds(self, step: int, clock: Clock) -> Iterator[Parts]:
        """The groups of a step (from 1), round by round; each is to be exhausted before the next."""


class Source(Protocol):
    """Where responses to problems come from."""

    def draw(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Pending]]:
        """Responses to this process's part of problems, group by group, being verified.

        first: the place of the first problem among the groups of the step
        """

    def draw_told(self, groups: Sequence[Group], draw: Draw, step: int) -> list[list[Pending]]:
        """Responses to the problems of groups that are sampled after a view, group by group, being verified."""

    def valued(self, groups: Sequence[Group], continuations: Continuations, step: int) -> list[Group]:
        """Groups with the values of the prefixes of their members."""

    def sleep(self) -> None:
        """Nothing is drawn until the next step."""


class FromPolicy:
    """The policy's own responses."""

    def __init__(self, config: Config, policy: Policy, sampler: Sampler, pool: Pool, world: World) -> None:
        self.config = config
        self.policy = policy
        self.sampler = sampler
        self.pool = pool
        self.world = world

    def draw(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Pending]]:
        del first
        config, size = self.config, self.config.group_size
        pending = respond(
            self.policy,
            self.sampler,
            self.world.local(problems),
            config,
            self.pool,
            samples=size,
            sampling=Sampling(config.rollout.max_new_tokens, temperature=config.rollout.temperature),
            seed=f"{config.seed}/rollouts/{step}",
            keys=self.world.local(draw_keys(problems)),
            version=step - 1,
        )
        return self._with_parts(pending, size)

    def draw_told(self, groups: Sequence[Group], draw: Draw, step: int) -> list[list[Pending]]:
        config, tokenizer = self.config, self.policy.tokenizer
        problems, size = [group.members[0].rollout.problem for group in groups], draw.num(self.config.credit)
        view = config.recipe.views[draw.under].shows or config.teacher.view
        prompts = [prompt_ids(teacher_text(problem, config, view), config, tokenizer) for problem in problems]
        pending = respond(
            self.policy,
            self.sampler,
            problems,
            config,
            self.pool,
            samples=size,
            sampling=Sampling(config.rollout.max_new_tokens, temperature=config.rollout.temperature),
            seed=f"{config.seed}/rollouts/{step}/{draw.under}",
            keys=[f"{problem.id}/{group.place}" for problem, group in zip(problems, groups, strict=True)],
            version=step - 1,
            told=Told(draw.under, prompts),
        )
        return self._with_parts(pending, size)

    def _with_parts(self, pending: Sequence[Pending], size: int) -> list[list[Pending]]:
        """Responses group by group, `size` to a problem, with the parts of their scores being worked out."""
        groups = [pending[start : start + size] for start in range(0, len(pending), size)]
        found = []
        for group in groups:
            responses = [each.rollout.text for each in group]
            parts = submit_parts(group[0].rollout.problem, responses, self.config, self.pool)
            found.append([each._replace(parts=own) for each, own in zip(group, parts, strict=True)])
        return found

    def valued(self, groups: Sequence[Group], continuations: Continuations, step: int) -> list[Group]:
        settings, decode = self.config.credit, self.policy.tokenizer.decode
        ends, most = continuations.ends(settings), continuations.most(settings)
        chosen = {
            (group.place, place): member.rollout
            for group in groups
            for place, (member, attempt) in enumerate(zip(group.members, group.attempts(), strict=True))
            if member.left_out is None and continuations.where(attempt, group.attempts(), settings)
        }
        found = prefix_values(
            self.policy,
            self.sampler,
            self.pool,
            self.config,
            list(chosen.values()),
            [step_ends(rollout.token_ids, decode, ends, most) for rollout in chosen.values()],
            continuations.num(settings),
            seed=f"{self.config.seed}/values/{step}",
            keys=[f"{rollout.problem.id}/{at}/{place}" for (at, place), rollout in chosen.items()],
        )
        return with_values(groups, dict(zip(chosen, found, strict=True)))

    def sleep(self) -> None:
        self.sampler.sleep()


def with_values(groups: Sequence[Group], values: Mapping[tuple[int, int], tuple[Value, ...]]) -> list[Group]:
    """Groups whose members have values, by the place of the group and of the member in it."""
    return [
        group._replace(
            members=tuple(
                member._replace(values=values.get((group.place, place), ()))
                for place, member in enumerate(group.members)
            )
        )
        for group in groups
    ]


class Rollouts:
    """Responses to the problems of a step, judged in rounds.

    A round is judged in `PARTS` parts of whole groups, each given as soon as it is judged, so that the teacher reads
    the first while verifiers work on the last. What is in a part does not depend on how fast verifiers are, or a run
    would not repeat to the last bit. It is one part where advantages depend on all scores.
    """

    def __init__(self, config: Config, source: Source, problems: list[Problem], world: World) -> None:
        self.config = config
        self.source = source
        self.problems = problems
        self.world = world

    def rounds(self, step: int, clock: Clock) -> Iterator[Parts]:
        """A round of the step's problems, and while `rollout.refill` lasts one in place of groups without signal."""
        problems = step_problems(self.problems, self.config, step)
        num_groups = num_flat = 0
        while problems:
            with clock("rollout"):
                drawn = self.source.draw(problems, step, num_groups)
            flat: list[Group] = []
            yield self._judged(drawn, step, num_groups, flat, clock)
            num_groups += len(problems)
            num_flat += sum(self.world.all_gather(len(flat)))
            problems = self._replacements(step, num_groups, num_flat)
        self.source.sleep()

    def _judged(self, drawn: list[list[Pending]], step: int, first: int, flat: list[Group], clock: Clock) -> Parts:
        """Groups as their verdicts arrive, the `first` of all processes at that place; those without signal go to
        `flat`, too. Those for which more is sampled are a last part."""
        method, held = self.config.recipe, list[Group]()
        places = count(first + self.world.rank, self.world.size)
        num_parts = 1 if self.config.advantage.by_batch else PARTS
        for part in shares(list(zip(places, drawn, strict=False)), num_parts):
            with clock("verify"):
                wait([future for _, group in part for pending in group for future in pending.awaited])
            members = [tuple(judge(pending, self.config) for pending in group) for _, group in part]
            advantages = self._advantages(members)
            groups = [Group(*each) for each in zip((place for place, _ in part), members, advantages, strict=True)]
            flat += [group for group in groups if zero_variance(group)]
            wanting = {group.place for group in groups if self._wants(group)}
            held += [group for group in groups if group.place in wanting]
            yield [group for group in groups if group.place not in wanting]
        if method.draws or method.continuations:
            yield self._with_values(self._with_draws(held, step, clock), step, clock)

    def _wants(self, group: Group) -> bool:
        """True where a draw of the method is made to the problem of a group, or prefixes of it are continued."""
        method, settings, attempts = self.config.recipe, self.config.credit, group.attempts()
        return any(draw.where(attempts, settings) for draw in method.draws) or (
            method.continuations is not None
            and any(method.continuations.where(attempt, attempts, settings) for attempt in attempts)
        )

    def _with_values(self, groups: list[Group], step: int, clock: Clock) -> list[Group]:
        """Groups with the values of prefixes, where the method wants them."""
        if (continuations := self.config.recipe.continuations) is None or not groups:
            return groups
        with clock("rollout"):
            return self.source.valued(groups, continuations, step)

    def _with_draws(self, groups: list[Group], step: int, clock: Clock) -> list[Group]:
        """Groups with the responses that the draws of the method add to them, each judged."""
        settings = self.config.credit
        for draw in self.config.recipe.draws:
            chosen = [group for group in groups if draw.where(group.attempts(), settings)]
            with clock("rollout"):
                drawn = self.source.draw_told(chosen, draw, step) if chosen else []
            with clock("verify"):
                told = {
                    group.place: [judge(pending, self.config) for pending in responses]
                    for group, responses in zip(chosen, drawn, strict=True)
                }
            groups = [_extended(group, told.get(group.place, []), draw, settings) for group in groups]
        return groups

    def _advantages(self, members: list[tuple[Judged, ...]]) -> Sequence[tuple[float, ...]]:
        """From the scores of each group, or where they are scaled by the batch from those of all processes."""
        if not self.config.advantage.by_batch:
            return advantages_of(members, self.config)
        return self.world.local(advantages_of(self.world.all_items(members), self.config))

    def _replacements(self, step: int, num_groups: int, num_flat: int) -> list[Problem]:
        """What to draw in place of groups without signal that none stands for yet."""
        left = self.config.rollout.refill
        if not left or not self.config.recipe.scored:
            return []
        num_drawn = num_groups - self.config.prompts_per_step
        num_replaced = min(num_flat, num_drawn)
        count = min(num_flat - num_replaced, left - num_drawn)
        return refill_problems(self.problems, self.config, step, num_drawn, count)


def _extended(group: Group, told: Sequence[Judged], draw: Draw, settings: Any) -> Group:
    """A group with further members, numbered after its own; those that the draw does not keep are left out."""
    numbers = count(len(group.members))
    members = [
        member._replace(rollout=member.rollout._replace(number=number))
        for number, member in zip(numbers, told, strict=False)
    ]
    whole = Group(group.place, (*group.members, *members), (*group.advantages, *[0.0] * len(members)))
    attempts = whole.attempts()
    kept = [
        member
        if index < len(group.members) or draw.keep(attempts[index], attempts, settings)
        else member._replace(left_out=member.left_out or "not_kept")
        for index, member in enumerate(whole.members)
    ]
    return whole._replace(members=tuple(kept))


class Solutions:
    """The worked solutions of the data, one to a problem; there is nothing to judge."""

    def __init__(self, config: Config, policy: Policy, sampler: Sampler, problems: list[Problem], world: World) -> None:
        self.config = config
        self.policy = policy
        self.sampler = sampler
        self.problems = problems
        self.world = world

    def rounds(self, step: int, clock: Clock) -> Iterator[Parts]:
        """One round of one part."""
        with clock("rollout"):
            places = range(self.config.prompts_per_step)
            problems = self.world.local(step_problems(self.problems, self.config, step))
            prompts = student_prompts(problems, self.policy, self.config, self.config.rollout.max_new_tokens)
            solutions = map(self._solution, problems, prompts)
        groups = zip(self.world.local(places), solutions, strict=True)
        yield iter([[Group(place, (solution,), (0.0,)) for place, solution in groups]])
        self.sampler.sleep()

    def _solution(self, problem: Problem, prompt: list[int]) -> Judged:
        if not problem.solution:
            raise RlsdError(
                f"problem `{problem.id}` has no `solution` to learn from", hint="`sft` needs worked solutions"
            )
        ids = (*solution_ids(problem.solution, self.policy.tokenizer), self.policy.eos_id)
        too_long = len(ids) > self.config.rollout.max_new_tokens
        rollout = Rollout(problem, 0, Prompt(tuple(prompt)), ids, None, too_long, problem.solution)
        return Judged(rollout, left_out="too_long" if too_long else None)


def make_experience(
    config: Config, policy: Policy, sampler: Sampler, pool: Pool, problems: list[Problem], world: World
) -> Experience:
    """What the responses of the method are: the policy's own, or solutions of the data."""
    if config.recipe.responses == "solution":
        return Solutions(config, policy, sampler, problems, world)
    return Rollouts(config, FromPolicy(config, policy, sampler, pool, world), problems, world)
