"""TRL's side of the training leg, as a program of the peers' environment: the same task, the same report."""

import json
import sys
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from benchmarks.training.trl_run import FAIR, fixed_reward, prompt_names, rollouts_of, train

LOSS = {"loss_type": "dr_grpo", "scale_rewards": "group", "epsilon": 0.2}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Every step of a task on its rollouts, at `FAIR` settings or, if the task says so, at TRL's defaults."""

    def rollouts(prompts: list[str], _: GRPOTrainer) -> dict[str, Any]:
        chosen = rollouts_of(task, prompts)
        ids = {f"{name}_ids": [rollout[name] for rollout in chosen] for name in ("prompt", "completion")}
        return ids | {"logprobs": None}

    return train(
        task,
        GRPOTrainer,
        GRPOConfig,
        {} if task["defaults"] else FAIR | LOSS,
        reward_funcs=fixed_reward(task),
        train_dataset=Dataset.from_dict({"prompt": prompt_names(task)}),
        rollout_func=rollouts,
    )


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
