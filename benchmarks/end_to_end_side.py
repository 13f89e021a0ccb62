"""rlsd's side of the end-to-end leg, as a program: whole steps of `Trainer`, from problems to updated weights."""

import json
import sys
from dataclasses import replace
from importlib import metadata
from typing import Any

from training_meter import Meter, Step


def run(task: dict[str, Any]) -> dict[str, Any]:
    """The steps of the task's config, with the mean score and the sampled tokens of each."""
    import torch

    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.data.sources import load_splits
    from rlsd_cli.grading.jobs import open_pool
    from rlsd_cli.interrupts import Interrupts
    from rlsd_cli.policy.autotune import tune
    from rlsd_cli.policy.model import load_policy
    from rlsd_cli.policy.models import place
    from rlsd_cli.rollout.hf_sampler import TransformersSampler
    from rlsd_cli.training.trainer import make_trainer

    config = merge([Layer("leg", task["settings"])], Layer("task", {})).config
    policy = load_policy(config)
    policy = replace(policy, execution=tune(policy, config))
    sampler = TransformersSampler(policy, config.rollout.batch_size)
    interrupts, meter = Interrupts(), Meter()
    rewards, tokens = [], []
    with open_pool(config) as pool:
        trainer = make_trainer(config, place(policy, config), sampler, pool, load_splits(config), interrupts)
        for number in range(1, config.steps + 1):
            meter.start()
            metrics, records = trainer.step(number)
            meter.steps.append(Step(metrics["loss"], metrics["grad_norm"], *meter.stop()))
            interrupts.release()
            rewards.append(metrics["reward_mean"])
            tokens.append(sum(len(record.token_ids) for record in records))
    versions = {name: metadata.version(name) for name in ("rlsd", "torch", "transformers")}
    return meter.report(
        versions=versions,
        threads=torch.get_num_threads(),
        plan=policy.execution._asdict(),
        rewards=rewards,
        tokens=tokens,
    )


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
