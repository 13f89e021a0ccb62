"""What teachers make of responses: the same tokens, read after a view that shows more than the student saw."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import informed_text, prompt_ids
from rlsd_cli.data.room import teacher_limit
from rlsd_cli.data.views import Strangers, shown
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods.base import Attempt, View
from rlsd_cli.policy.batch import TokenIds
from rlsd_cli.policy.models import Models
from rlsd_cli.policy.teacher import visiting
from rlsd_cli.rollout.records import Group, Rollout
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.passes import Passes, Scored
from rlsd_cli.training.thoughts import thought_length


class Read(NamedTuple):
    """A rollout after one view.

    prompts: what the teacher read before the response, one for each text it was shown; none where it was shown nothing
    tokens: how many tokens of the response, from its first, the reading is about
    scored: the response after each prompt; none where whole distributions are compared later
    skipped: True where a prompt did not fit
    """

    prompts: tuple[tuple[int, ...], ...]
    tokens: int
    scored: tuple[Scored, ...] = ()
    skipped: bool = False


Readings = Mapping[str, Read]
"""By the name of the view."""


class Taught(NamedTuple):
    """A group, and what teachers read of each of its members."""

    group: Group
    readings: tuple[Readings, ...]


class Reader:
    """Reads groups after the views of the method, with the teacher's weights or the initial ones."""

    def __init__(self, config: Config, models: Models, passes: Passes, problems: Sequence[Problem]) -> None:
        self.config = config
        self.policy = models.policy
        self.models = {"teacher": models.teacher_model, "initial": models.reference}
        self.passes = passes
        self.strangers = Strangers(problems)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Within it the teacher's weights are where the policy computes, so that each reading does not fetch them."""
        with visiting(self.models["teacher"] or self.policy.model, self.policy.device):
            yield

    def read(self, groups: Sequence[Group], step: int, clock: Clock) -> list[Taught]:
        """Show the teacher the rollouts of groups, and let it read where the method asks for it at this step."""
        method = self.config.recipe
        with clock("teacher"):
            readings: list[dict[str, Read]] = [{} for group in groups for _ in group.members]
            for name, view in method.views.items():
                if view.when(self.config.credit, step):
                    for place, read in self._read(groups, view, scores=name in method.read).items():
                        readings[place][name] = read
        ends = iter(readings)
        return [Taught(group, tuple(next(ends) for _ in group.members)) for group in groups]

    def _read(self, groups: Sequence[Group], view: View, *, scores: bool) -> dict[int, Read]:
        """What is read after a view, by the place of the rollout among all of the groups."""
        reads: dict[int, Read] = {}
        rollouts: list[Rollout] = []
        for group in groups:
            attempts = group.attempts()
            for member, attempt in zip(group.members, attempts, strict=True):
                if member.left_out is None and view.where(attempt, attempts, self.config.credit):
                    reads[len(rollouts)] = self._show(member.rollout, view, attempt, attempts)
                rollouts.append(member.rollout)
        if not scores:
            return reads
        owners = [place for place, read in reads.items() for _ in read.prompts]
        prompts = [prompt for read in reads.values() for prompt in read.prompts]
        responses = [rollouts[place].token_ids for place in owners]
        found = self.passes.score(prompts, responses, self.passes.cut(prompts, responses), self.models[view.by])
        scored = {place: list[Scored]() for place in reads}
        for at, place in enumerate(owners):
            scored[place].append(found[at])
        return {place: read._replace(scored=tuple(scored[place])) for place, read in reads.items()}

    def _show(self, rollout: Rollout, view: View, attempt: Attempt, group: Sequence[Attempt]) -> Read:
        """The prompts of a view that fit.

        Raises:
            RlsdError: one does not fit, and `teacher.overlong` does not say to skip it.
        """
        settings, tokenizer = self.config.teacher, self.policy.tokenizer
        texts = shown(view, rollout.problem, attempt, group, self.strangers, self.config)
        limit = teacher_limit(self.config, self.policy.context_length - len(rollout.token_ids))
        prompts: list[TokenIds] = []
        for text in texts:
            prompt = prompt_ids(informed_text(rollout.problem, text, self.config), self.config, tokenizer)
            if len(prompt) <= limit:
                prompts.append(prompt)
            elif settings.overlong == "error":
                raise RlsdError(
                    f"problem `{rollout.problem.id}`: the teacher's prompt has {len(prompt)} tokens and {limit} fit",
                    hint="set `teacher.overlong=skip`, raise `teacher.max_prompt_tokens`, or choose a shorter view",
                )
        tokens = len(rollout.token_ids)
        if view.tokens(self.config.credit) == "thought":
            tokens = thought_length(rollout.token_ids, tokenizer.decode)
        return Read(tuple(map(tuple, prompts)), tokens, skipped=len(prompts) < len(texts))
