"""TRL's side of the end-to-end leg, as a program of the peers' environment: the same problems, graded the same way.

The reward is rlsd's own `exact` verifier, which is pure Python; a response cut at the limit scores 0, as in rlsd.
"""

import json
import sys
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from benchmarks.training.trl_run import FAIR, train
from rlsd_verifiers import Leniency, Submission
from rlsd_verifiers.exact import grade_exact


def run(task: dict[str, Any]) -> dict[str, Any]:
    """The steps of a task, with the mean score and the sampled tokens of each."""
    end = AutoTokenizer.from_pretrained(task["model"]).eos_token_id
    rewards, tokens = [], []

    def reward(
        completions: list[list[dict[str, str]]], completion_ids: list[list[int]], answer: list[str], **_: Any
    ) -> list[float]:
        scores = [
            grade_exact(Submission(completion[0]["content"], right), Leniency()).score if ids[-1] == end else 0.0
            for completion, ids, right in zip(completions, completion_ids, answer, strict=True)
        ]
        rewards.append(sum(scores) / len(scores))
        tokens.append(sum(map(len, completion_ids)))
        return scores

    problems = [problem for step in task["problems"] for problem in step]
    prompts = [[{"role": "user", "content": question}] for question, _ in problems]
    report = train(
        task,
        GRPOTrainer,
        GRPOConfig,
        FAIR | task["peer"],
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"prompt": prompts, "answer": [answer for _, answer in problems]}),
    )
    return report | {"rewards": rewards, "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
