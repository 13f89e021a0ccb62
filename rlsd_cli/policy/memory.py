"""How much memory a run takes at its highest, part by part, from its config and the shape of its model.

What trains is always there: weights, moments of the optimiser, copies for teacher, reference and sampler. On top come
the keys and values of a rollout, all responses at their limit, and the gradients and activations of an update. On a GPU
that is whichever is larger. On a CPU it is both: glibc keeps tensors of up to 32 MiB when they are freed, and what one
phase leaves is in pieces that hardly fit what the other needs.

Activations are counted as autograd keeps them for a decoder with RMS norms, rotary positions and a gated layer (Llama,
Qwen, Mistral and their like); other decoders differ from it by some tens of percent.
`benchmarks/bench_memory.py` compares all this with measured runs.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal, NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_cli.policy.shape import ModelShape

MB = 2**20
INT64, FLOAT32, FLOAT16 = 8, 4, 2
WIDTH: Mapping[str, int] = {"float32": FLOAT32, "bfloat16": FLOAT16}
"""Bytes of a number, by type."""

PROCESS = 380 * MB
"""Main memory of a process with torch, transformers and a tokenizer loaded, before it has any weights."""
HOLES = {"cpu": 0.25, "cuda": 0.0}
"""Of what updates make and free in turn, the share that the allocator loses between tensors.

After a single micro-batch the moments, which come then, fill what is lost; those of an adapter are too small for that.
"""
HEAD_TILE = {"cpu": 8 * MB, "cuda": 512 * MB}
DIVERGENCE_TILE = {"cpu": 36 * MB, "cuda": 512 * MB}
"""Logits that the output head makes at a time, see `policy.head`: of sampled tokens, of whole distributions."""
HEAD_TILES, DIVERGENCE_TILES, MIXTURE_TILES = 2, 10, 18
"""How many tensors of that size there are at once, for sampled tokens, divergences, and those with a mixture."""
TOKENS_PER_PREFILL = 4096
"""Prompt tokens, padding included, that a sampler reads at once; a longer prompt is read alone."""
LOGITS_PER_DRAW = 1 << 22
"""Logits that a sampler turns into tokens at once."""
BYTES_PER_DRAW = FLOAT32 + 2 * INT64
"""Of each of them there are a weight, the whole units it is counted in, and a copy of these in blocks."""
TOKENS_PER_GROWTH = 16
"""Its buffers have a multiple of so many tokens: kernels are made for a shape, and shapes should recur."""
VLLM_CACHE = 2**30
"""Keys and values of a vLLM engine on a CPU, see `rollout.vllm`."""
STATE8_BLOCK = 256
"""Numbers that share a float32 scale in 8-bit moments."""
UNPACKED = 8
"""Float32 tensors of a matrix's size that a CPU makes to update it from 8-bit moments."""
LIKELY_PROMPT = 256
"""Tokens of the longest prompt, where nobody has read it."""
LIKELY_MICROBATCH = {"cpu": 1024, "cuda": 8192}
"""Tokens of a micro-batch that a measurement may choose, see `policy.plan`."""

Phase = Literal["always", "rollout", "training", "update", "step"]
PHASES: Mapping[Phase, tuple[Phase, ...]] = {
    "update": ("always", "training", "update"),
    "rollout": ("always", "rollout"),
    "step": ("always", "training", "step"),
}
"""What is there while gradients are computed, while responses are sampled, while weights are updated."""


class Component(NamedTuple):
    """A part of the memory: bytes, when it is there, what it depends on, and what makes it smaller.

    fixed: it does not depend on how many tokens are worked on at a time.
    """

    name: str
    num_bytes: int
    phase: Phase
    depends_on: str
    remedy: str
    fixed: bool = True


class Memory(NamedTuple):
    """All parts of a run, in the order in which they are shown."""

    components: tuple[Component, ...]

    def during(self, *phases: Phase) -> int:
        """Bytes of the parts that are there in these phases."""
        return sum(component.num_bytes for component in self.components if component.phase in phases)

    @property
    def highest(self) -> Phase:
        """The phase in which the most is there."""
        return max(PHASES, key=lambda phase: self.during(*PHASES[phase]))

    @property
    def peak_bytes(self) -> int:
        return self.during(*PHASES[self.highest])

    def largest(self) -> Component:
        """The largest of the parts that are there at the peak."""
        there = [component for component in self.components if component.phase in PHASES[self.highest]]
        return max(there, key=lambda component: component.num_bytes)

    @property
    def fixed_bytes(self) -> int:
        """What the run takes however few tokens it works on at a time."""
        fixed = Memory(tuple(component for component in self.components if component.fixed))
        return fixed.peak_bytes


class Setting(NamedTuple):
    """What an estimate needs to know besides config and model.

    device: `cpu` or `cuda`. dtype, sampling_dtype: `float32` or `bfloat16`. prompt_tokens: the longest prompt's.
    processes: how many a run has; of which the estimate is for one.
    """

    device: str
    dtype: str
    sampling_dtype: str
    tokens_per_microbatch: int
    packed: bool
    prompt_tokens: int
    processes: int = 1


def expected(config: Config, shape: ModelShape, device: str, *, bfloat16_sampling: bool, processes: int = 1) -> Setting:
    """The setting of a run whose prompts have not been read and whose machine has not been measured.

    What is left to the machine is assumed to be what takes more memory; prompts are assumed to be short.
    """
    usual = "bfloat16" if device == "cuda" else "float32"
    dtype = usual if config.dtype == "auto" else config.dtype
    sampling = "bfloat16" if bfloat16_sampling else dtype
    return Setting(
        device=device,
        dtype=dtype,
        sampling_dtype=sampling if config.rollout.dtype == "auto" else config.rollout.dtype,
        tokens_per_microbatch=config.optim.tokens_per_microbatch or LIKELY_MICROBATCH[device],
        packed=config.attention != "padded",
        prompt_tokens=max(1, min(LIKELY_PROMPT, shape.context_length - config.rollout.max_new_tokens)),
        processes=processes,
    )


def estimate(config: Config, shape: ModelShape, setting: Setting) -> Memory:
    """The memory of a run of `config`: main memory on a CPU; on a GPU its own, as torch counts it."""
    parts = (*_held(config, shape, setting), *_rollout(config, shape, setting), *_update(config, shape, setting))
    return Memory(tuple(part for part in parts if part.num_bytes))


def check_fits(memory: Memory, free_bytes: int) -> str | None:
    """A warning where a run may need more than is free, and None where it fits.

    Raises:
        RlsdError: (exit 3) it takes more than is free however few tokens it works on at a time.
    """
    if memory.fixed_bytes > free_bytes:
        fixed = Memory(tuple(part for part in memory.components if part.fixed))
        largest = fixed.largest()
        raise RlsdError(
            f"the run takes at least {in_words(memory.fixed_bytes)}, and {in_words(free_bytes)} are free",
            hint=f"the largest part is {largest.name}, {in_words(largest.num_bytes)}: {largest.remedy}",
            exit_code=EXIT_MACHINE,
        )
    if memory.peak_bytes <= free_bytes:
        return None
    loose = [part for part in memory.components if not part.fixed and part.phase in PHASES[memory.highest]]
    largest = Memory(tuple(loose)).largest() if loose else memory.largest()
    return (
        f"the run may take {in_words(memory.peak_bytes)}, and {in_words(free_bytes)} are free; "
        f"{largest.name} are {in_words(largest.num_bytes)} of it: {largest.remedy}"
    )


def in_words(num_bytes: int) -> str:
    """`513 MiB`, `2.9 GiB`."""
    return f"{num_bytes / MB:,.0f} MiB" if num_bytes < 1000 * MB else f"{num_bytes / 2**30:,.1f} GiB"


# -- what is always there ---------------------------------------------------------------------------------------------


def _held(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """Everything that holds a number for each parameter, and the process."""
    on_gpu = setting.device == "cuda"
    split, share = _split(config, setting)
    trained = _gradient_bytes(config, shape, setting)
    weights = int(FLOAT32 * shape.num_parameters * share) + (trained if config.adapter.rank else 0)
    where = f", split among {setting.processes}" if split and setting.processes > 1 else ""
    where += ", in main memory" if share == 0 else ""
    copied_teacher = weights if split else trained
    away = on_gpu and config.teacher.device == "cpu"
    adapter = "take a smaller `model`" + ("" if config.adapter.rank else " or `adapter.rank=16`")
    teacher = config.teacher.weights
    copied = (split or setting.sampling_dtype != "float32") and config.rollout.engine == "transformers"
    sampler_copy = WIDTH[setting.sampling_dtype] * shape.num_parameters if copied else 0
    return (
        Component(
            "weights",
            weights,
            "always",
            f"{shape.num_parameters:,} parameters in float32{where}",
            "take a smaller `model`",
        ),
        Component("gathered", _gathered(config, shape) if split else 0, "update", "two layers and the head", adapter),
        Component(
            "gradients",
            trained,
            "training" if several_batches(config, setting) else "step",
            f"one for each trained parameter{where}",
            adapter,
        ),
        Component(
            "optimiser state",
            int(_moment_bytes(config, shape) * share),
            "always",
            f"two moments a trained parameter, {config.optim.state}{where}",
            "`optim.state=8bit`" if config.optim.state == "float32" else adapter,
        ),
        Component(
            "teacher",
            (FLOAT32 * shape.head if away and not config.adapter.rank else copied_teacher)
            if keeps_teacher(config)
            else 0,
            "always",
            f"{teacher} copy in float32{where}" + (", in main memory but for its output head" if away else ""),
            "`teacher.weights=live`" + (" or `teacher.device=cpu`" if on_gpu and not away else ""),
        ),
        Component(
            "reference",
            copied_teacher if config.loss.kl_coef > 0 else 0,
            "always",
            f"initial weights{where}",
            "`loss.kl_coef=0`",
        ),
        Component("sampler", sampler_copy, "always", f"copy in {setting.sampling_dtype}", "`rollout.dtype=float32`"),
        Component("process", 0 if on_gpu else PROCESS, "always", "torch and other libraries", "use another machine"),
    )


def _split(config: Config, setting: Setting) -> tuple[bool, float]:
    """Whether weights are gathered where they are used, and the share of them that lies on the device until then."""
    offloaded = config.optim.layout == "offloaded"
    split = offloaded or (config.optim.layout == "sharded" and setting.processes > 1)
    return split, 0.0 if offloaded and setting.device == "cuda" else 1 / setting.processes if split else 1.0


def _gradient_bytes(config: Config, shape: ModelShape, setting: Setting) -> int:
    return int(FLOAT32 * num_trained(config, shape) * _split(config, setting)[1])


def _gathered(config: Config, shape: ModelShape) -> int:
    """Weights of the layer at work, of the next one, and of what is outside the layers; gradients of one layer and of
    the head, where all weights are trained."""
    layer, outside = shape.trunk // shape.num_layers, shape.num_parameters - shape.trunk
    gradients = 0 if config.adapter.rank else layer + outside
    return FLOAT32 * (2 * layer + outside + gradients)


def num_trained(config: Config, shape: ModelShape) -> int:
    """Parameters that are trained; of an adapter, those of all layers, even where `adapter.targets` names fewer."""
    return shape.adapter(config.adapter.rank) if config.adapter.rank else shape.num_parameters


def keeps_teacher(config: Config) -> bool:
    """Whether a run has a copy of the weights for its teacher."""
    return config.uses_teacher and config.teacher.weights != "live"


def _moment_bytes(config: Config, shape: ModelShape) -> int:
    if config.optim.state == "float32":
        return 2 * FLOAT32 * num_trained(config, shape)
    return int(2 * (1 + FLOAT32 / STATE8_BLOCK) * num_trained(config, shape))


# -- a rollout --------------------------------------------------------------------------------------------------------


class _Sampled(NamedTuple):
    """Responses decoded at a time: how many, to how many prompts, how long; and the tokens of all of them that are held
    in the end."""

    rows: int
    prompts: int
    tokens: int
    held: int


def _sampled(total: int, samples: int, tokens: int, config: Config, setting: Setting) -> _Sampled:
    """Of `total` responses, `samples` to a prompt, that are all at their limit.

    A prompt is held once; but once a response for a model that shares none, which as a rule cannot be packed either.
    """
    rows = min(config.rollout.batch_size, total)
    shares = setting.packed or config.attention == "padded"
    prompts = ceil(rows / samples) if shares else rows
    own, prompt = (ceil(each / TOKENS_PER_GROWTH) * TOKENS_PER_GROWTH for each in (tokens, setting.prompt_tokens))
    return _Sampled(rows, prompts, tokens, rows * own + prompts * prompt)


def _rollout(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """Of training or of evaluation, whichever takes more."""
    if config.rollout.servers:
        return ()
    if config.rollout.engine == "vllm":
        engine = WIDTH[setting.sampling_dtype] * shape.num_parameters + (VLLM_CACHE if setting.device == "cpu" else 0)
        depends = f"vLLM: weights in {setting.sampling_dtype}, and its cache (on a GPU: `rollout.gpu_share`)"
        phase: Phase = "always" if setting.device == "cpu" else "rollout"
        return (Component("engine", engine, phase, depends, "`rollout.engine=transformers`"),)
    evaluation, new_tokens = config.evaluation, config.rollout.max_new_tokens
    cases = [(evaluation.problems * evaluation.samples, evaluation.samples, evaluation.max_new_tokens or new_tokens)]
    if config.recipe.responses == "policy":
        cases.append((config.rollouts_per_step, config.group_size, new_tokens))
    case = max((_sampled(*case, config, setting) for case in cases), key=lambda case: case.held)
    width = WIDTH[setting.sampling_dtype]
    num_layers = shape.num_layers + 1  # a layer's buffers are there twice while they grow
    cache = case.held * 2 * shape.keys * width * num_layers
    prefill = min(max(TOKENS_PER_PREFILL, setting.prompt_tokens), case.prompts * setting.prompt_tokens)
    drawn = min(case.rows, max(1, LOGITS_PER_DRAW // shape.vocabulary))
    work = max(
        shape.vocabulary * (case.rows * width + drawn * BYTES_PER_DRAW),
        prefill * (3 * shape.intermediate + 4 * shape.hidden) * width,
    )
    phase = "always" if setting.device == "cpu" else "rollout"
    return (
        Component(
            "keys and values",
            cache,
            phase,
            f"{case.rows} responses of {case.tokens} tokens at a time, prompts of {setting.prompt_tokens}",
            "lower `rollout.batch_size`",
            fixed=False,
        ),
        Component(
            "sampling",
            work,
            phase,
            f"logits of {case.rows} tokens, or {prefill:,} prompt tokens at once",
            "lower `rollout.batch_size`",
            fixed=False,
        ),
    )


# -- an update --------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """The largest micro-batch: tokens the trunk reads, tokens in the rows of attention, tokens that are scored."""

    tokens: int
    row_tokens: int
    scored: int


def largest_batch(config: Config, setting: Setting) -> Batch:
    """The most a micro-batch can hold: its budget, or all of an update, and one whole response at least."""
    prompt, response, group = setting.prompt_tokens, config.rollout.max_new_tokens, config.group_size
    num_groups = ceil(config.prompts_per_step / config.optim.updates_per_batch)
    budget = setting.tokens_per_microbatch
    if not setting.packed:
        num_rows = min(num_groups * group, max(1, budget // (prompt + response)))
        return Batch(num_rows * (prompt + response), num_rows * (prompt + response), num_rows * response)
    whole = prompt + group * response
    rows = min(num_groups, budget / whole) * group if budget >= whole else max(1.0, (budget - prompt) / response)
    tokens = min(num_groups * whole, max(budget, prompt + response))
    return Batch(tokens, int(rows * (prompt + response)), int(rows * response))


def several_batches(config: Config, setting: Setting) -> bool:
    """Whether an update has more than one micro-batch. In a single one gradients come as activations go, so that both
    are there together only from the second one on."""
    prompts = 1 if setting.packed else config.group_size
    group = prompts * setting.prompt_tokens + config.group_size * config.rollout.max_new_tokens
    return ceil(config.prompts_per_step / config.optim.updates_per_batch) * group > setting.tokens_per_microbatch


def _update(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    batch = largest_batch(config, setting)
    num_recomputed = round(config.optim.recompute * shape.num_layers)
    layer = layer_bytes(shape, batch, setting)
    kept = (shape.num_layers - num_recomputed) * layer
    kept += (2 * layer + num_recomputed * FLOAT32 * shape.hidden * batch.tokens) if num_recomputed else 0
    activations = kept + batch.tokens * (2 * shape.intermediate + 4 * shape.hidden) * FLOAT32
    several = several_batches(config, setting)
    gradient = 0 if config.adapter.rank else FLOAT32 * shape.head * (2 if shape.tied and several else 1)
    states = 4 * batch.scored * shape.hidden * FLOAT32
    recomputed = f", {num_recomputed} of them computed again" if num_recomputed else ""
    in_turn = _gradient_bytes(config, shape, setting) + activations + states
    copied = 1.0  # of the layers: those of split weights are dropped with the activations that are computed again
    if _split(config, setting)[0]:
        copied = (shape.num_layers - num_recomputed + (1 if num_recomputed else 0)) / shape.num_layers
    autocast = 0 if setting.dtype == "float32" else int(WIDTH[setting.dtype] * shape.trunk * copied)
    unpacked = UNPACKED * FLOAT32 * shape.head
    budget = "lower `optim.tokens_per_microbatch`"
    return (
        Component(
            "compute copy",
            autocast,
            "update",
            f"layers in {setting.dtype} while a batch is read",
            "`dtype=float32`" if copied == 1.0 else "raise `optim.recompute`",
        ),
        Component(
            "activations",
            activations,
            "update",
            f"{batch.tokens:,} tokens in {shape.num_layers} layers{recomputed}",
            f"{budget} or raise `optim.recompute`",
            fixed=False,
        ),
        Component(
            "head",
            states + gradient + _tile_bytes(config, shape, batch, setting),
            "update",
            f"tiles of logits, {batch.scored:,} states, gradients of {shape.vocabulary:,} entries before they add up",
            budget,
            fixed=False,
        ),
        Component(
            "holes",
            int(HOLES[setting.device] * in_turn) if several or config.adapter.rank else 0,
            "update",
            "between tensors that are made and freed in turn",
            budget,
            fixed=False,
        ),
        Component(
            "moments unpacked",
            unpacked if config.optim.state == "8bit" and setting.device == "cpu" else 0,
            "step",
            "float32 values of the largest matrix",
            "`optim.state=float32`",
            fixed=False,
        ),
    )


def layer_bytes(shape: ModelShape, batch: Batch, setting: Setting) -> int:
    """What one layer keeps for its backward pass.

    A token: its state and the normalised one before attention and before the gated layer; what goes into each
    product, which autocast keeps once a product in its type; the gate, its activation, the other branch and their
    product. A token of a row: query, key, value, the attended value, and a log-sum a head. Where rows are packed, the
    attended value is there a second time, a token.
    """
    hidden, attended = shape.hidden, shape.queries if setting.packed else 0
    row_token = 2 * shape.queries + 2 * shape.keys
    if setting.dtype == "float32":
        token = FLOAT32 * (6 * hidden + attended + 4 * shape.intermediate + 2)
    else:
        token = FLOAT32 * (4 * hidden + 2) + FLOAT16 * (5 * hidden + attended + 4 * shape.intermediate)
    row_bytes = WIDTH[setting.dtype] * row_token + FLOAT32 * shape.num_heads
    return token * batch.tokens + row_bytes * batch.row_tokens


def _tile_bytes(config: Config, shape: ModelShape, batch: Batch, setting: Setting) -> int:
    logits, kind = FLOAT32 * shape.vocabulary * batch.scored, config.distill.divergence
    if not config.recipe.distilled or kind == "sampled_token":
        return HEAD_TILES * min(HEAD_TILE[setting.device], logits)
    tiles = MIXTURE_TILES if kind == "jsd" else DIVERGENCE_TILES
    return tiles * min(DIVERGENCE_TILE[setting.device], logits)
