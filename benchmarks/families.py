"""Toy models of many architectures, and what is compared with a plain forward pass of each sequence alone.

Weights are random, and large enough for caps, windows and scales to show. The configurations are those of a file beside
the repository, `../shared/model_families.json`, and any that a caller makes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge
from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import select
from rlsd_cli.data.sources import Splits
from rlsd_cli.distributed.world import World
from rlsd_cli.evaluation.evaluate import evaluate_together
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.autotune import tune
from rlsd_cli.policy.batch import micro_batches
from rlsd_cli.policy.model import Policy, load_policy, load_trainable
from rlsd_cli.policy.models import place
from rlsd_cli.policy.quickstart import tokenizer
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampling
from rlsd_cli.training.trainer import make_trainer
from rlsd_verifiers.pool import Pool

FILE = Path(__file__).parents[2] / "shared" / "model_families.json"
TEMPERATURE = 0.7
LENGTHS = ((7, (5, 33, 70)), (23, (12, 61)), (40, (9, 26, 48, 70)))
"""Tokens of each prompt, and of the responses to it."""
NEW_TOKENS = 24
"""Tokens that are sampled."""
BOUND = 1e-4
"""Nats, and share of a gradient's norm: what float32 may differ by."""


class Toy(NamedTuple):
    """Arguments of `AutoConfig.for_model`."""

    model_type: str
    config: Mapping[str, Any]


def toys(file: Path = FILE) -> dict[str, Toy]:
    """The toy models of a file, by name; none where it is missing."""
    if not file.is_file():
        return {}
    families = json.loads(file.read_text(encoding="utf-8"))["families"]
    return {name: Toy(family["model_type"], family["config"]) for name, family in families.items()}


def build(toy: Toy, seed: int = 0) -> Any:
    """A model in float32: matrices three times what they are initialised to, and logits of a deviation of 4 where the
    head is its own."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(toy), dtype=torch.float32).eval()
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "conv" not in name and "A_log" not in name:
                weight.mul_(3.0)
        if head is not model.get_input_embeddings().weight:
            ids = torch.randint(0, len(head), (2, 12), generator=torch.Generator().manual_seed(seed))
            mask = torch.ones_like(ids)
            head.mul_(4.0 / model(input_ids=ids, attention_mask=mask, use_cache=False).logits.std())
    return model


def _config(toy: Toy) -> Any:
    arguments = {key: value for key, value in toy.config.items() if value is not None}
    if toy.model_type != "gemma3":
        return AutoConfig.for_model(toy.model_type, **arguments)
    text = arguments.pop("text_config", arguments)
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 16, "patch_size": 8}
    ids = {key: text[key] for key in ("pad_token_id", "bos_token_id", "eos_token_id") if key in text}
    return AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4, **ids)


def save(model: Any, folder: Path) -> Path:
    """A model directory with a tokenizer of printable ASCII."""
    model.save_pretrained(folder)
    tokenizer("tiny-untrained").save_pretrained(folder)
    return folder


def configured(folder: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config of a short run of a model directory on a CPU, in float32."""
    values = {
        "model": str(folder),
        "data": "arithmetic",
        "prompt.template": "{question}",
        "teacher.template": "H{reference}|{prompt}",
        "verification.workers": 1,
        "device": "cpu",
        "dtype": "float32",
        "rollout.dtype": "float32",
        "rollout.max_new_tokens": 8,
        "optim.tokens_per_microbatch": 512,
        "prompts_per_step": 2,
        "samples_per_prompt": 2,
        "steps": 2,
        "evaluation.problems": 4,
    }
    return merge([], Layer(COMMAND_LINE, values | dict(overrides or {}))).config


def load(folder: Path, overrides: Mapping[str, Any] | None = None) -> Policy:
    """What `rlsd` loads from a model directory."""
    return load_policy(configured(folder, overrides))


def train(config: Config, splits: Splits, pool: Pool) -> dict[str, Any]:
    """Two steps and an evaluation as `rlsd train` makes them; the metrics of the last step."""
    policy = load_trainable(config)
    policy = replace(policy, execution=tune(policy, config))
    sampler = make_sampler(policy, config)
    trainer = make_trainer(config, place(policy, config), sampler, pool, splits, Interrupts())
    sampler.update_weights()
    metrics: dict[str, Any] = {}
    for step in (1, 2):
        metrics, _ = trainer.step(step)
    held_out = select(splits.held_out, config.evaluation.problems)
    evaluate_together(policy, sampler, held_out, config, pool, World())
    return metrics


class Rows(NamedTuple):
    """Responses and the prompts they answer."""

    prompts: list[list[int]]
    responses: list[list[int]]


def rows(vocabulary: int, room: int) -> Rows:
    """Random ones, of `LENGTHS` as far as a model of so many tokens has room."""
    draw = Random(0)
    prompts, responses = [], []
    for length, members in LENGTHS:
        prompt = [draw.randrange(5, vocabulary) for _ in range(min(length, room - NEW_TOKENS))]
        for member in members:
            prompts.append(prompt)
            responses.append([draw.randrange(5, vocabulary) for _ in range(min(member, room - len(prompt)))])
    return Rows(prompts, responses)


def plain_logits(model: Any, ids: Sequence[int]) -> Tensor:
    """Logits behind every token of one sequence, from the model's own forward pass."""
    tokens = torch.tensor([list(ids)])
    logits: Tensor = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits[0]
    return logits


def plain_logp(model: Any, prompt: Sequence[int], response: Sequence[int], temperature: float) -> Tensor:
    """Log-probability of every token of a response."""
    logits = plain_logits(model, [*prompt, *response])[len(prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, -1).gather(-1, torch.tensor(response)[:, None])[:, 0]


class Gaps(NamedTuple):
    """Largest gap of log-probabilities (nats), and the distance of gradients relative to their norm."""

    logp: float
    gradient: float


def scoring_gaps(policy: Policy, plain: Any, given: Rows, budget: int = 300) -> Gaps:
    """The scorer, in micro-batches, against plain forward passes of a model with the same weights."""
    draw = torch.Generator().manual_seed(1)
    weights = [torch.randn(len(response), generator=draw) for response in given.responses]
    policy.model.zero_grad(set_to_none=True)
    plain.zero_grad(set_to_none=True)
    gap = 0.0
    expected = []
    for prompt, response, weight in zip(*given, weights, strict=True):
        logp = plain_logp(plain, prompt, response, TEMPERATURE)
        (logp * weight).sum().backward()
        expected.append(logp.detach())
    for cut in micro_batches(given.prompts, given.responses, budget, packed=policy.execution.packed):
        batch = policy.batch([given.prompts[at] for at in cut], [given.responses[at] for at in cut])
        logp = score_tokens(policy, batch, batch.mask, TEMPERATURE).logp
        row_weights = torch.nn.utils.rnn.pad_sequence([weights[at] for at in cut], batch_first=True)
        (logp * row_weights).sum().backward()
        for row, at in enumerate(cut):
            gap = max(gap, (logp[row, : len(expected[at])] - expected[at]).abs().max().item())
    pairs = list(zip(policy.model.parameters(), plain.parameters(), strict=True))
    ours, theirs = (
        torch.cat([(part.grad if part.grad is not None else torch.zeros_like(part)).flatten() for part in side])
        for side in zip(*pairs, strict=True)
    )
    policy.model.zero_grad(set_to_none=True)
    plain.zero_grad(set_to_none=True)
    return Gaps(gap, ((ours - theirs).norm() / theirs.norm()).item())


class Sampled(NamedTuple):
    """Greedy responses that differ from argmax, of how many; and the largest gap of reported log-probabilities."""

    wrong: int
    greedy: int
    drawn: float


@torch.no_grad()
def sampling_gaps(policy: Policy, plain: Any, given: Rows) -> Sampled:
    """The sampler against plain forward passes: greedy responses, and the log-probabilities of drawn ones."""
    prompts = [list(prompt) for prompt in dict.fromkeys(map(tuple, given.prompts))]
    keys = [str(number) for number in range(len(prompts))]
    sampler = TransformersSampler(policy, 4)
    sampler.update_weights()
    greedy = sampler.sample(prompts, keys, 2, Sampling(NEW_TOKENS, temperature=0.0), "greedy")
    wrong = 0
    for number, prompt in enumerate(prompts):
        best = _argmax_loop(plain, prompt, policy.eos_ids)
        wrong += sum(rollout.token_ids != best for rollout in greedy[2 * number : 2 * number + 2])
    gap = 0.0
    for number, rollout in enumerate(sampler.sample(prompts, keys, 4, Sampling(NEW_TOKENS, temperature=1.0), "drawn")):
        expected = plain_logp(plain, prompts[number // 4], rollout.token_ids, 1.0)
        gap = max(gap, (torch.tensor(rollout.sampled_logp) - expected).abs().max().item())
    return Sampled(wrong, len(greedy), gap)


def _argmax_loop(plain: Any, prompt: Sequence[int], eos_ids: frozenset[int]) -> list[int]:
    drawn: list[int] = []
    while len(drawn) < NEW_TOKENS and not (drawn and drawn[-1] in eos_ids):
        drawn.append(int(plain_logits(plain, [*prompt, *drawn])[-1].argmax()))
    return drawn
