"""What each process of a test does: two steps of every method, and what they came to, as JSON from the first."""

import json
import sys
from typing import Any

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, target_layer
from rlsd_cli.data.problems import select
from rlsd_cli.distributed.world import World, process_group
from rlsd_cli.evaluation.evaluate import evaluate_together
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.model import load_trainable
from rlsd_cli.policy.models import make_models
from rlsd_cli.policy.sharding import full_tensor
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.training.trainer import make_trainer
from tests.training.steps import splits_of


def two_steps(small: dict[str, Any], settings: dict[str, Any], world: World) -> dict[str, Any]:
    """Metrics of both steps, the rows of all rollouts, an evaluation, and a sum that tells weights apart."""
    config = merge([target_layer("quickstart")[1], Layer("small", small)], Layer(COMMAND_LINE, settings)).config
    policy = load_trainable(config)
    sampler = make_sampler(policy, config)
    with open_pool(config) as pool:
        splits = splits_of(config)
        trainer = make_trainer(config, make_models(policy, config), sampler, pool, splits, Interrupts(), world)
        sampler.update_weights()
        steps = [trainer.step(number) for number in (1, 2)]
        held_out = select(splits.held_out, config.evaluation.problems)
        evaluation = evaluate_together(policy, sampler, held_out, config, pool, world)
    weights = sum(
        full_tensor(parameter.detach()).double().abs().sum().item() for parameter in policy.model.parameters()
    )
    return {
        "metrics": [metrics for metrics, _ in steps],
        "rollouts": [record.row() for _, records in steps for record in records],
        "evaluation": evaluation.summary,
        "weights": world.all_gather(weights),
    }


def main() -> None:
    with process_group() as world:
        results = [two_steps(*settings, world) for settings in json.loads(sys.argv[1])]
        if world.is_leader:
            print(json.dumps(results))
