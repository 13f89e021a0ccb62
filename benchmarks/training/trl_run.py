"""What the peers' programs share: a TRL trainer whose steps are measured, and settings that both sides have alike."""

import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from benchmarks.training.meter import Meter, Step

FAIR = {
    "bf16": False,
    "fp16": False,
    "gradient_checkpointing": False,
    "num_iterations": 1,
    "beta": 0.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch",
}
"""Same precision, checkpointing and optimiser as the other side."""
MICROBATCH = 8
"""TRL's default `per_device_train_batch_size`."""


class Stopwatch(TrainerCallback):
    """A step lasts from its first micro-batch to the end of the optimiser's step; logging is not in it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.loss = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.meter.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.meter.steps.append(Step(self.loss, 0.0, *self.meter.stop()))
        self.loss = 0.0

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "grad_norm" in logs:
            self.meter.steps[-1] = self.meter.steps[-1]._replace(grad_norm=logs["grad_norm"])


def train(
    task: dict[str, Any], trainer_class: Any, config_class: Any, settings: dict[str, Any], **parts: Any
) -> dict[str, Any]:
    """Every step of a task with a trainer of TRL's; the report of its steps.

    `parts` are arguments of the trainer beside model, config and tokenizer. With `task["defaults"]` the model is loaded
    by the trainer itself, else in float32.
    """
    meter = Meter()
    stopwatch = Stopwatch(meter)

    class Measured(trainer_class):  # type: ignore[misc]
        """Keeps the loss of a step, which the log rounds."""

        def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*arguments, **named)
            stopwatch.loss += loss.item()
            return loss

    model: Any = task["model"]
    if not task["defaults"]:
        model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    with tempfile.TemporaryDirectory() as folder:
        config = config_class(
            output_dir=folder,
            use_cpu=True,
            max_steps=task["num_steps"],
            num_generations=task["group"],
            max_completion_length=task["max_new_tokens"],
            per_device_train_batch_size=MICROBATCH,
            gradient_accumulation_steps=task["sequences_per_step"] // MICROBATCH,
            shuffle_dataset=False,
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
            **settings,
        )
        tokenizer = AutoTokenizer.from_pretrained(task["model"], padding_side="left")
        trainer = Measured(model=model, args=config, processing_class=tokenizer, callbacks=[stopwatch], **parts)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    versions = {name: metadata.version(name) for name in ("trl", "accelerate", "torch", "transformers")}
    dtype = str(next(trainer.model.parameters()).dtype)
    return meter.report(versions=versions, threads=torch.get_num_threads(), dtype=dtype)


def prompt_names(task: dict[str, Any]) -> list[str]:
    """One prompt a group, in order, that says which: `STEP GROUP`."""
    num_groups = task["sequences_per_step"] // task["group"]
    return [f"{step} {group}" for step in range(task["num_steps"]) for group in range(num_groups)]


def rollouts_of(task: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rollouts to prompts of `prompt_names`, each given once a sequence of its group."""
    rollouts: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        step, group = map(int, name.split())
        rollouts.append(task["steps"][step][group * task["group"] + place % task["group"]])
    return rollouts


def fixed_reward(task: dict[str, Any]) -> Callable[..., list[float]]:
    """A reward function that knows every rollout's reward beforehand."""

    def reward(prompts: Sequence[str], **_: Any) -> list[float]:
        return [rollout["reward"] for rollout in rollouts_of(task, prompts)]

    return reward
