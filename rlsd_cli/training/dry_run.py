"""What a run would be, without one: its config and name, the memory that it takes, and a step in words."""

from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli.config.resolve import Resolved
from rlsd_cli.config.schema import Config
from rlsd_cli.data.sources import check_task
from rlsd_cli.runs.rundir import run_name
from rlsd_cli.training.forecast import Forecast, forecast


class Outline(NamedTuple):
    """A run before it begins."""

    resolved: Resolved
    memory: Forecast

    def as_json(self) -> dict[str, Any]:
        return self.resolved.as_json() | {"memory": self.memory.as_json()}

    def in_lines(self) -> list[str]:
        config = self.resolved.config
        return [f"\nrun      {run_name(self.resolved)}", *algebra(config), *self.memory.in_lines()]


def outline(resolved: Resolved, root: Path) -> Outline:
    """Work out what a run would be.

    Raises:
        RlsdError: its data name a task that cannot be drawn.
    """
    for data in filter(None, (resolved.config.data, resolved.config.eval_data)):
        check_task(data)
    return Outline(resolved, forecast(resolved, root))


def algebra(config: Config) -> list[str]:
    """What one step is, in words."""
    method, rollouts = config.recipe, config.rollouts_per_step
    updates = config.optim.updates_per_batch
    most = rollouts * config.rollout.max_new_tokens
    budget = config.optim.tokens_per_microbatch
    tokens = f"at most {budget:,} tokens" if budget else "as many tokens as are measured to be fast"
    if method.responses == "solution":
        lines = [f"a step   {config.prompts_per_step} problems with their worked solutions"]
    else:
        lines = [
            f"a step   {config.prompts_per_step} problems x {config.group_size} responses = {rollouts} "
            f"rollouts of at most {config.rollout.max_new_tokens} tokens ({most:,} in all)"
        ]
    lines.append(
        f"update   {updates} optimiser step{'s' if updates > 1 else ''} of {rollouts // updates} rollouts, cut into "
        f"micro-batches of {tokens} (the split does not change the loss)"
    )
    lines.append(f"method   {method.name}: {method.summary}")
    if not config.reward.is_plain:
        terms = (f"{weight:g} x {name}" for name, weight in config.reward.parts.items())
        lines.append(f"score    {' + '.join(terms)}")
    for name, schedule in method.schedules.items():
        first, last = schedule(config.credit, 1), schedule(config.credit, config.steps)
        lines.append(f"{name:<8} {first:g} in step 1, {last:g} in step {config.steps}")
    if method.views:
        sync = f", synced every {config.teacher.sync_every} steps" if config.teacher.weights == "snapshot" else ""
        shown = ", ".join(dict.fromkeys(view.shows or config.teacher.view for view in method.views.values()))
        lines.append(f"teacher  {config.teacher.weights} weights{sync}, reads the {shown}")
    seen = config.steps * config.prompts_per_step
    lines.append(
        f"run      {config.steps} steps use {seen:,} problems and sample {seen * config.group_size:,} responses"
    )
    return lines
