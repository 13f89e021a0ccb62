"""TRL's side of the distillation leg: `SDPOTrainer` in the peers' environment, on given prompts and completions.

The trainer has no `rollout_func`. Two of its methods are replaced, and only where they would make tokens: the one that
tokenises prompts, the student's and the teacher's, and the one that generates.
"""

import json
import sys
from typing import Any

from datasets import Dataset
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

from benchmarks.training.trl_run import FAIR, fixed_reward, prompt_names, rollouts_of, train

FEEDBACK = " teacher"
"""What makes the name of a prompt that of the teacher's."""
LOSS = {
    "distillation_weight": 1.0,
    "distillation_alpha": 1.0,
    "use_successful_as_teacher": False,
    "include_environment_feedback": True,
    "reprompt_template": "{prompt}{solution}{feedback}",
    "feedback_template": "{feedback_raw}",
}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Every step of a task on its rollouts, with the teacher and the divergence that its `peer` settings name."""

    class FixedTokens(SDPOTrainer):  # type: ignore[misc]
        rollouts: list[dict[str, Any]]

        def _tokenize_prompts_untruncated(self, prompts: list[str]) -> list[list[int]]:
            view = "teacher" if prompts[0].endswith(FEEDBACK) else "prompt"
            self.rollouts = rollouts_of(task, [prompt.removesuffix(FEEDBACK) for prompt in prompts])
            return [rollout[view] for rollout in self.rollouts]

        def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
            return prompt_ids, [rollout["completion"] for rollout in self.rollouts]

    names = prompt_names(task)
    return train(
        task,
        FixedTokens,
        SDPOConfig,
        FAIR | LOSS | task["peer"],
        reward_funcs=fixed_reward(task),
        train_dataset=Dataset.from_dict({"prompt": names, "privileged_context": [FEEDBACK] * len(names)}),
    )


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
