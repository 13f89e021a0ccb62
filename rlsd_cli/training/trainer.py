"""The loop. One step is one walk down the data path:

1. experience  problems to responses, verdicts, scores and advantages, group by group       training.experience
2. reading     what teachers make of the same responses, as they are judged                 training.reading
3. assemble    the weight of every token in every term of the loss                          training.assemble
4. learner     gradients in micro-batches, the optimiser, teacher and sampler               training.learner
5. record      one line for the step, one for every rollout                                 training.recording

The loop does not know the method: it reads what `methods.base` describes.
"""

from dataclasses import dataclass
from typing import Any

from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import Splits
from rlsd_cli.distributed.world import World
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.models import Models
from rlsd_cli.rollout.sampler import Sampler
from rlsd_cli.runs.records import RolloutRecord
from rlsd_cli.training.clock import Clock
from rlsd_cli.training.experience import Experience, make_experience
from rlsd_cli.training.judging import check_verdicts, replace_zero_variance
from rlsd_cli.training.learner import Learner
from rlsd_cli.training.reading import Reader, Taught
from rlsd_cli.training.recording import rollout_records, step_metrics
from rlsd_verifiers.pool import Pool


@dataclass(frozen=True, eq=False)
class Trainer:
    """Where responses come from, what reads them, and what learns from them; `step` does one optimisation step."""

    config: Config
    experience: Experience
    reader: Reader
    learner: Learner
    world: World

    def step(self, step: int) -> tuple[dict[str, Any], list[RolloutRecord]]:
        """Do a step (from 1): its metrics, and its rollouts.

        From the first change of weights on, interrupts are held; the caller releases them once the step is recorded.
        """
        clock, config = Clock(), self.config
        taught = self.taught(step, clock)
        with clock("update"):
            updated = self.learner.update(taught, step)
        records = rollout_records(taught, updated, config, self.learner.policy.tokenizer, step)
        return step_metrics(taught, updated, config, self.learner.learning_rate, clock, step), records

    def taught(self, step: int, clock: Clock) -> list[Taught]:
        """The groups of a step, of all processes, as teachers have read them.

        Raises:
            RlsdError: too many responses reached no verdict.
        """
        taught: list[Taught] = []
        for parts in self.experience.rounds(step, clock):
            with self.reader.ready():
                own = [each for part in parts for each in self.reader.read(part, step, clock)]
            taught += self.world.all_items(own)
        groups = replace_zero_variance([each.group for each in taught], self.config.prompts_per_step)
        check_verdicts(groups, self.config)
        return [each._replace(group=group) for each, group in zip(taught, groups, strict=True)]


def make_trainer(
    config: Config,
    models: Models,
    sampler: Sampler,
    pool: Pool,
    splits: Splits,
    interrupts: Interrupts,
    world: World | None = None,
) -> Trainer:
    """The trainer of a run, on its training problems."""
    world = world or World()
    learner = Learner(config, models, sampler, interrupts, world)
    return Trainer(
        config=config,
        experience=make_experience(config, models.policy, sampler, pool, splits.train, world),
        reader=Reader(config, models, learner.passes, splits.train),
        learner=learner,
        world=world,
    )
