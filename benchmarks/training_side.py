"""rlsd's side of the training legs, as a program: reads a task, takes its optimiser steps, prints what they took.

As in `rlsd train`, what the settings leave open is chosen by a measurement before the first step.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

from training_meter import Meter, Step

SETTINGS = {
    "device": "cpu",
    "dtype": "float32",
    "rollout.dtype": "float32",
    "optim.lr": 1e-4,
    "optim.weight_decay": 0.0,
    "optim.max_grad_norm": 1.0,
}
"""Where they are not the defaults they are the peer's; the leg adds its method and loss."""


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Every step of a task on its rollouts; the task's settings rank above those here."""
    import torch
    from rlsd_cli.training.rewards import assign_advantages
    from rlsd_cli.training.samples import Sample

    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data.sources import Splits
    from rlsd_cli.interrupts import Interrupts
    from rlsd_cli.policy.autotune import tune
    from rlsd_cli.policy.model import load_policy
    from rlsd_cli.rollout.hf_sampler import TransformersSampler
    from rlsd_cli.training.trainer import Trainer
    from rlsd_verifiers.pool import Pool

    batch = {
        "model": task["model"],
        "prompts_per_step": task["sequences_per_step"] // task["group"],
        "samples_per_prompt": task["group"],
        "rollout.max_new_tokens": task["max_new_tokens"],
    }
    config = merge([Layer("leg", SETTINGS | batch)], Layer("task", task["settings"])).config
    policy = load_policy(config)
    policy = replace(policy, execution=tune(policy, config))
    sampler = TransformersSampler(policy, config.rollout.batch_size)
    interrupts, meter = Interrupts(), Meter()

    def samples_of(rollouts: Sequence[dict[str, Any]]) -> list[Sample]:
        texts = policy.tokenizer.batch_decode([row["completion"] for row in rollouts], skip_special_tokens=True)
        return [
            Sample(
                problem=Problem("fixed", "0", row["question"], "", row["solution"]),
                index=index % task["group"],
                prompt=row["prompt"],
                token_ids=row["completion"],
                sampled_logp=None,
                truncated=False,
                response=text,
                leaks=False,
                score=row["reward"],
            )
            for index, (row, text) in enumerate(zip(rollouts, texts, strict=True))
        ]

    with Pool(1) as pool:
        trainer = Trainer(config, policy, sampler, pool, Splits([], []), interrupts)
        for number, rollouts in enumerate(task["steps"], start=1):
            meter.start()
            samples, mix = samples_of(rollouts), trainer.mix(number)
            assign_advantages(samples, config)
            trainer.rescore(samples, mix)
            update = trainer.update(samples, mix, number)
            meter.steps.append(Step(update.loss, update.grad_norm, *meter.stop()))
            interrupts.release()
            if any(sample.privileged != row["teacher"] for sample, row in zip(samples, rollouts, strict=True)):
                raise AssertionError("the teacher did not read the tokens that the peer's reads")
    versions = {name: metadata.version(name) for name in ("rlsd", "torch", "transformers")}
    return meter.report(versions=versions, threads=torch.get_num_threads(), plan=policy.execution._asdict())


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
