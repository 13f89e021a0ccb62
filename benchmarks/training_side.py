"""rlsd's side of the training legs, as a program: reads a task, takes its optimiser steps, prints what they took.

As in `rlsd train`, what the settings leave open is chosen by a measurement before the first step.
"""

import json
import sys
from collections.abc import Mapping, Sequence
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

    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data.sources import Splits
    from rlsd_cli.interrupts import Interrupts
    from rlsd_cli.policy.autotune import tune
    from rlsd_cli.policy.model import load_policy
    from rlsd_cli.policy.models import place
    from rlsd_cli.rollout.hf_sampler import TransformersSampler
    from rlsd_cli.rollout.records import Group, Judged, Prompt, Rollout
    from rlsd_cli.training.clock import Clock
    from rlsd_cli.training.judging import advantages_of
    from rlsd_cli.training.reading import Taught
    from rlsd_cli.training.trainer import make_trainer
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

    def group_of(at: int, rows: Sequence[Mapping[str, Any]]) -> Group:
        texts = policy.tokenizer.batch_decode([row["completion"] for row in rows], skip_special_tokens=True)
        members = tuple(
            Judged(
                Rollout(
                    problem=Problem("fixed", "0", row["question"], "", row["solution"]),
                    number=number,
                    prompt=Prompt(tuple(row["prompt"])),
                    token_ids=tuple(row["completion"]),
                    sampled_logp=None,
                    truncated=False,
                    text=text,
                ),
                score=row["reward"],
            )
            for number, (row, text) in enumerate(zip(rows, texts, strict=True))
        )
        (advantages,) = advantages_of([members], config)
        return Group(at, members, advantages)

    def told(taught: Sequence[Taught]) -> list[list[int] | None]:
        """What the teacher reads before each response."""
        readings = [reads for each in taught for reads in each.readings]
        return [next(([*read.prompts[0]] for read in reads.values()), None) for reads in readings]

    with Pool(1) as pool:
        trainer = make_trainer(config, place(policy, config), sampler, pool, Splits([], []), interrupts)
        for number, rows in enumerate(task["steps"], start=1):
            meter.start()
            starts = range(0, len(rows), task["group"])
            groups = [group_of(at, rows[start : start + task["group"]]) for at, start in enumerate(starts)]
            with trainer.reader.ready():
                taught = trainer.reader.read(groups, number, Clock())
            figures = trainer.learner.update(taught, number).figures
            meter.steps.append(Step(figures.loss, figures.grad_norm, *meter.stop()))
            interrupts.release()
            if told(taught) != [row["teacher"] for row in rows]:
                raise AssertionError("the teacher did not read the tokens that the peer's reads")
    versions = {name: metadata.version(name) for name in ("rlsd", "torch", "transformers")}
    return meter.report(versions=versions, threads=torch.get_num_threads(), plan=policy.execution._asdict())


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
