"""The work of the training legs: models of three shapes, and rollouts that are drawn once and given to both sides."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

SEED = 0
GROUP = 8
PROMPT_TOKENS = (60, 120)
QUESTION_TOKENS = (20, 60)
SOLUTION_TOKENS = (40, 160)
FIRST_ID = 3
"""Ids below are padding, end and unknown."""


class Completions(NamedTuple):
    """Lengths of completions, tokens: log-normal with these mean and deviation of the logarithm, cut to a range."""

    log_mean: float
    log_deviation: float
    low: int
    high: int
    max_new_tokens: int


EVEN = Completions(4.6, 0.4, 40, 200, max_new_tokens=256)
HEAVY_TAIL = Completions(5.0, 1.0, 40, 1024, max_new_tokens=1024)
"""Medians 99 and 148 tokens; the longest of 8 is about 1.8 and 4 times as long as the median."""


class Shape(NamedTuple):
    """A Llama, and how many groups of `GROUP` sequences a step has. `model`: a catalogue name instead of a config."""

    num_groups: int
    config: dict[str, int] | None
    model: str | None = None


def _llama(vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


SHAPES = {
    "tiny": Shape(4, _llama(32_000, 128, 384, layers=4, heads=4, kv_heads=4)),
    "mid": Shape(4, _llama(49_152, 576, 1536, layers=10, heads=9, kv_heads=3)),
    "smollm2": Shape(2, None, "smollm2-135m-instruct"),
}


class Completion(NamedTuple):
    """One sequence of a step, in token ids, and the score of its completion.

    Where a teacher reads more than the student does: `teacher` is its prompt, and `question` and `solution` are the
    texts that both prompts come from.
    """

    prompt: list[int]
    completion: Sequence[int] = ()
    reward: float = 0.0
    question: str = ""
    solution: str | None = None
    teacher: list[int] | None = None


class Lengths(NamedTuple):
    """Mean tokens of a sequence's parts, over all steps."""

    prompt: float
    completion: float
    teacher: float


Steps = list[list[dict[str, Any]]]
"""The rollouts of every step, group by group, as objects of JSON."""


def make_model(shape: Shape, folder: Path) -> Path:
    """The directory of a shape's model: with tied, random weights and a tokenizer of one word a token, or fetched."""
    if shape.config is None:
        from rlsd_cli.policy.catalog import fetch

        assert shape.model is not None
        return fetch(shape.model, progress=partial(print, file=sys.stderr))

    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = ["<pad>", "<eos>", "<unk>", *(f"t{number}" for number in range(FIRST_ID, shape.config["vocab_size"]))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape.config,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    ).save_pretrained(folder)
    return folder


def draw_steps(
    model: Path,
    num_groups: int,
    num_steps: int,
    dead_share: float,
    completions: Completions,
    prompt_of: Callable[[Random, int], Completion],
) -> Steps:
    """Rollouts of every step. In the first `dead_share` of a step's groups all rewards are the same.

    `prompt_of` draws what a group has in common, given the size of the vocabulary. Completions end with the end token.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    vocabulary, end = config["vocab_size"], config["eos_token_id"]
    draw = Random(SEED)
    num_dead = round(dead_share * num_groups)

    def completion() -> list[int]:
        drawn = round(draw.lognormvariate(completions.log_mean, completions.log_deviation))
        length = min(completions.high, max(completions.low, drawn))
        return [*ids(draw, length - 1, vocabulary), end]

    def group(dead: bool) -> list[dict[str, Any]]:
        common = prompt_of(draw, vocabulary)
        solved = draw.choice((0, GROUP)) if dead else draw.randint(1, GROUP - 1)
        rewards = [float(index < solved) for index in range(GROUP)]
        draw.shuffle(rewards)
        return [common._replace(completion=completion(), reward=reward)._asdict() for reward in rewards]

    return [[rollout for index in range(num_groups) for rollout in group(index < num_dead)] for _ in range(num_steps)]


def plain_prompt(draw: Random, vocabulary: int) -> Completion:
    """A prompt of tokens, uniform in length within `PROMPT_TOKENS`."""
    return Completion(ids(draw, draw.randint(*PROMPT_TOKENS), vocabulary))


def two_views(settings: dict[str, Any], model: Path) -> Callable[[Random, int], Completion]:
    """Draws a question and its solution, and their two prompts: the tokens that rlsd makes of them."""
    from transformers import AutoTokenizer

    from rlsd_cli.config.resolve import Layer, merge
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text

    config = merge([Layer("leg", settings)], Layer("task", {})).config
    tokenizer = AutoTokenizer.from_pretrained(model)

    def prompt_of(draw: Random, vocabulary: int) -> Completion:
        lengths = (draw.randint(*QUESTION_TOKENS), draw.randint(*SOLUTION_TOKENS))
        question, solution = (tokenizer.decode(ids(draw, length, vocabulary)) for length in lengths)
        problem = Problem("fixed", "0", question, "", solution)
        prompt, teacher = (
            prompt_ids(text(problem, config), config, tokenizer) for text in (student_text, teacher_text)
        )
        return Completion(prompt, question=question, solution=solution, teacher=teacher)

    return prompt_of


def ids(draw: Random, length: int, vocabulary: int) -> list[int]:
    return [draw.randrange(FIRST_ID, vocabulary) for _ in range(length)]


def mean_lengths(steps: Steps) -> Lengths:
    rows = [row for step in steps for row in step]
    return Lengths(*(sum(len(row[name] or []) for row in rows) / len(rows) for name in Lengths._fields))
