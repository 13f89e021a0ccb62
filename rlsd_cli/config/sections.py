"""The sections of the config. Every field carries its meaning and unit, which is what `rlsd config keys` prints.

A field that may be None has None as its default, so a config written as TOML (which has no null) loads back to the same
tree.
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rlsd_cli.fields import Count, CountOrZero, Fraction, NonNegative, Positive, Section

Layout = Literal["whole", "sharded", "offloaded"]

STUDENT_TEMPLATE = "{question}\n\nReason step by step, and put your final answer within \\boxed{}."
TEACHER_TEMPLATE = (
    "{prompt}\n\n"
    "For reference, this is what a correct result looks like:\n{reference}\n\n"
    "Work the problem out in your own words from the beginning, do not mention the reference, "
    "and keep to the format asked for above."
)


def _day(value: object) -> str:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        raise ValueError("must be a date such as 2024-07-26") from error


def _template(value: object) -> object:
    """Replace the name of a template file by its content, so that the config holds the template."""
    if not isinstance(value, str) or "{%" in value or "{{" in value:
        return value
    try:
        text = Path(value).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"cannot read this file: {why[0].lower()}{why[1:]}") from error
    if "{%" in text or "{{" in text:
        return text
    raise ValueError("this file is no chat template: there is no `{{` and no `{%` in it")


class PromptConfig(Section):
    system: str | None = Field(None, description="system message of student and teacher")
    template: str = Field(
        STUDENT_TEMPLATE,
        description="user message of the student: `{question}`, and `{choices}`, which otherwise follow the question",
    )
    thinking: bool | None = Field(
        None,
        description="`enable_thinking` of the chat template, for models that have it; none: the template's default",
    )
    chat_template: Annotated[str | None, BeforeValidator(_template)] = Field(
        None, description="Jinja file that replaces the model's chat template; the config stores its content"
    )
    date: Annotated[str, BeforeValidator(_day)] = Field(
        "2024-07-26", description="date given to chat templates that print today's, YYYY-MM-DD"
    )
    overlong: Literal["error", "skip"] = Field(
        "error",
        description="prompt that leaves no room for the longest response: `error` stops the run, `skip` leaves "
        "the problem out",
    )

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        if "{question}" not in self.template:
            raise ValueError("`prompt.template` must contain `{question}`")
        return self


class CurriculumConfig(Section):
    min_pass_rate: Fraction = Field(
        0.0, description="lowest `pass_rate` of training problems; those without a pass rate are kept"
    )
    max_pass_rate: Fraction = Field(
        1.0, description="highest `pass_rate` of training problems; those without a pass rate are kept"
    )
    order: Literal["random", "easy_first", "weighted"] = Field(
        "random",
        description="order of training problems: `random`, `easy_first` (each epoch by falling pass rate), or "
        "`weighted` (drawn in proportion to p(1-p), p the pass rate)",
    )

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError("`curriculum.min_pass_rate` cannot exceed `curriculum.max_pass_rate`")
        return self


class RolloutConfig(Section):
    temperature: Positive = Field(1.0, description="sampling temperature; all log-probabilities are taken at it")
    max_new_tokens: Count = Field(
        512, description="maximum response length, tokens, including the end-of-sequence token"
    )
    truncated: Literal["mask", "zero"] = Field(
        "zero",
        description="response cut at the maximum length: `zero` counts its answer 0, `mask` leaves it out of baseline "
        "and loss",
    )
    refill: CountOrZero = Field(
        0,
        description="dynamic sampling: maximum number of extra problems per step, sampled to replace "
        "zero-variance groups; 0: off",
    )
    batch_size: Count = Field(256, description="responses decoded in parallel")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="type used for sampling; `auto`: bfloat16 if measured to be faster, else the compute type "
        "(bfloat16 samples from a copy of the weights)",
    )
    engine: Literal["transformers", "vllm"] = Field(
        "transformers", description="inference engine; `vllm` holds a copy of the weights (needs `rlsd[vllm]`)"
    )
    servers: list[str] = Field(
        [],
        description="URLs of vLLM servers that sample instead, e.g. http://node7:8000; not part of a run's identity",
    )
    weights_folder: str | None = Field(
        None,
        description="folder through which weights reach the servers, visible to them too; none: a temporary folder",
    )
    server_timeout: Positive = Field(
        600.0, description="timeout of a response from a server, seconds; also of a server that cannot be reached"
    )
    gpu_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.4, description="fraction of GPU memory that `vllm` takes while it samples"
    )
    sync_tolerance: Positive | None = Field(
        None,
        description="maximum mean gap of log-probabilities between engine and trainer after a weight update, "
        "nats; none: by type, 1e-3 (float32) or 0.25 (bfloat16)",
    )

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if self.servers and self.engine != "vllm":
            raise ValueError("`rollout.servers` needs `rollout.engine=vllm`")
        for server in self.servers:
            if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", server):
                raise ValueError(f"`rollout.servers`: {server!r} is no URL, such as http://node7:8000")
        return self


class AdapterConfig(Section):
    rank: CountOrZero = Field(0, description="LoRA rank; 0: no adapter, train all weights")
    scale: Positive = Field(2.0, description="LoRA scale: alpha / rank")
    targets: list[str] = Field(
        [], description="names of the linear modules with an adapter; empty: all but the output head"
    )


class AdvantageConfig(Section):
    baseline: Literal["mean", "leave_one_out", "batch_mean", "none"] = Field(
        "mean",
        description="baseline of a score: `mean` of its group, `leave_one_out` (mean of the other scores of its group, "
        "RLOO), `batch_mean` (mean of all scores, REINFORCE++), or none",
    )
    scale: Literal["group_std", "batch_std", "none"] = Field(
        "group_std",
        description="divisor of the advantage: standard deviation of the group or of the batch, or none (Dr. GRPO)",
    )
    ddof: Annotated[int, Field(ge=0, le=1)] = Field(
        1, description="delta degrees of freedom of the standard deviation; 1: unbiased variance"
    )
    eps: NonNegative = Field(1e-6, description="constant added to the standard deviation")

    @property
    def by_batch(self) -> bool:
        """True where an advantage depends on the scores of other groups."""
        return self.scale == "batch_std" or self.baseline == "batch_mean"


class LossConfig(Section):
    surrogate: Literal["clipped", "gspo", "cispo"] = Field(
        "clipped",
        description="policy-gradient surrogate: `clipped` (PPO), `gspo` (sequence-level ratio), or `cispo` "
        "(clipped importance weight)",
    )
    clip_low: NonNegative = Field(
        0.2, description="clip range of the importance ratio below 1; 3e-4 by default with `loss.surrogate=gspo`"
    )
    clip_high: NonNegative = Field(
        0.28,
        description="clip range of the importance ratio above 1 (clip-higher); 4e-4 by default with "
        "`loss.surrogate=gspo`",
    )
    dual_clip: Annotated[float, Field(gt=1.0)] | None = Field(
        None, description="dual clip: maximum importance ratio of a token with negative credit; none: off"
    )
    reduction: Literal["sequence_mean", "token_mean", "constant"] = Field(
        "sequence_mean",
        description="aggregation of token losses: `sequence_mean` (mean of each response, then of all), "
        "`token_mean`, or `constant` (sum divided by responses x `rollout.max_new_tokens`, Dr. GRPO)",
    )
    kl_coef: NonNegative = Field(0.0, description="coefficient of the KL to the initial policy; 0: off")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k3", description="per-token KL estimator; the on-policy gradient of `k1` is 0 in expectation"
    )
    rollout_correction: Literal["none", "truncate", "mask"] = Field(
        "none",
        description="importance sampling between sampler and trainer: `truncate` clips the weights (TIS), `mask` "
        "drops tokens whose weight is out of bounds (IcePop)",
    )
    rollout_correction_level: Literal["token", "sequence"] = Field(
        "token", description="level of the importance weights: each token, or the whole response"
    )
    rollout_correction_cap: Positive = Field(2.0, description="upper bound of the importance weights")
    rollout_correction_floor: NonNegative = Field(0.0, description="lower bound of the importance weights")


class DistillConfig(Section):
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "sampled_token", "pointwise_clipped_forward_kl"] = Field(
        "forward_kl", description="divergence between student and teacher at each token"
    )
    beta: Fraction = Field(
        0.5, description="interpolation of the generalised JSD: 0 is the forward KL, 1 the reverse KL"
    )
    top_k: CountOrZero = Field(
        0, description="support of the divergence: the student's k most likely tokens; 0: the whole vocabulary"
    )
    top_k_of: Literal["student", "teacher"] = Field(
        "student",
        description="whose most likely tokens `distill.top_k` counts; with `teacher` the teacher is renormalised on "
        "them (HDPO)",
    )
    tail: bool = Field(
        True,
        description="keep the probability mass outside the top k as one more entry (of the student alone, where the "
        "support is the teacher's)",
    )
    ratio_cap: Positive | None = Field(
        None,
        description="multiply the loss of a token by its importance ratio, at most this (SDPO); it is 1 in the first "
        "update of a batch; none: off",
    )
    token_clip: Positive | None = Field(
        None,
        description="maximum loss of a token, nats; a larger loss is scaled down and keeps the direction of its "
        "gradient; none: off; 0.05 by default with the forward KL of `opsd`",
    )


class TeacherConfig(Section):
    weights: Literal["live", "snapshot", "frozen", "ema"] = Field(
        "snapshot",
        description="teacher weights: `live` (the policy), `snapshot` (a copy of it, renewed every "
        "`teacher.sync_every` steps), `frozen` (the initial policy), or `ema` (exponential moving "
        "average of the policy)",
    )
    sync_every: Count = Field(10, description="steps between copies of the policy to a `snapshot` teacher")
    ema_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.05, description="update rate of an `ema` teacher per step: 1 - decay"
    )
    device: Literal["auto", "cpu"] = Field(
        "auto", description="device of the teacher's own weights; `cpu`: main memory, moved to the GPU only to read"
    )
    view: Literal["answer", "solution", "hints", "none", "sibling", "own", "feedback", "sibling_feedback"] = Field(
        "answer",
        description="privileged information that the teacher is shown: `answer`, `solution` or `hints` of the problem, "
        "`none`, a correct `sibling` (another response of the group), the response's `own` text, the verifier's "
        "`feedback` on a wrong response, or `sibling_feedback` (both)",
    )
    num_hints: Count | None = Field(
        None, description="number of hints in the view `hints`, the vaguest first; none: all"
    )
    template: str = Field(
        TEACHER_TEMPLATE,
        description="user message of the teacher: `{prompt}` is the student's, `{reference}` the privileged "
        "information",
    )
    max_prompt_tokens: Count | None = Field(
        None, description="maximum teacher prompt length, tokens; none: what the context length allows"
    )
    overlong: Literal["error", "skip"] = Field(
        "error",
        description="teacher prompt that is too long: `error` stops the run, `skip` uses no teacher for its "
        "rollout and counts it",
    )

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        missing = [name for name in ("{prompt}", "{reference}") if name not in self.template]
        if missing:
            raise ValueError(f"`teacher.template` must contain {' and '.join(f'`{name}`' for name in missing)}")
        return self


class OptimConfig(Section):
    lr: Positive = Field(1e-6, description="peak learning rate (AdamW)")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate schedule after the warm-up: constant, or falling to 0"
    )
    warmup_steps: CountOrZero = Field(0, description="warm-up steps: the learning rate rises linearly to its peak")
    weight_decay: NonNegative = Field(0.01, description="decoupled weight decay, of matrices only")
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.9, description="decay rate of the first moment (AdamW)")
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.999, description="decay rate of the second moment (AdamW)")
    eps: Positive = Field(1e-8, description="constant added to the root of the second moment (AdamW)")
    state: Literal["float32", "8bit"] = Field(
        "float32",
        description="type of the optimiser's moments; `8bit` takes a quarter of the memory and is slow on a CPU "
        "(needs `rlsd[optim8]`)",
    )
    layout: Layout = Field(
        "whole",
        description="placement of weights, gradients and moments: `whole` in every process, `sharded` across "
        "processes (FSDP2), or `offloaded` to main memory as well, except for the layer at work",
    )
    max_grad_norm: Positive = Field(
        1.0, description="maximum global gradient norm; the norm is reported before clipping"
    )
    updates_per_batch: Count = Field(1, description="optimiser steps per batch of rollouts; 1: on-policy")
    tokens_per_microbatch: Count | None = Field(
        None,
        description="maximum tokens per micro-batch (one forward and backward pass); none: the smallest size "
        "measured to be fast",
    )
    recompute: Fraction = Field(
        0.0,
        description="activation recomputation (gradient checkpointing): fraction of layers whose activations are "
        "computed again in the backward pass",
    )


class VerificationConfig(Section):
    workers: Count | None = Field(None, description="verifier processes; none: one per core, at most 8")
    launchers: list[str] = Field(
        [],
        description="commands that start verifier processes elsewhere, e.g. `ssh node7`, taken in turn; empty: on "
        "this machine",
    )
    timeout_seconds: Positive = Field(
        1.0, description="wall time limit per response, seconds; beyond it the outcome is `timeout`"
    )
    memory_mb: Count = Field(512, description="memory limit per response, MB; beyond it the outcome is `memory`")
    last_number: bool = Field(True, description="take the last number of a response that marks no answer")
    relative_tolerance: NonNegative = Field(
        0.0, description="relative tolerance of numbers (verifiers `numeric` and `math`)"
    )
    decimals: Literal["rounded", "exact"] = Field(
        "rounded",
        description="comparison of decimals (verifier `math`): `rounded` accepts a value for its rounding, "
        "`exact` does not",
    )
    percent: Literal["either", "value"] = Field(
        "either",
        description="value of a percentage: `value` reads `50%` as 0.5; `either` also as 50, if only one side has "
        "the sign",
    )
    ordered: bool = Field(False, description="compare the order of plain lists; that of tuples always counts")
    names: Literal["strict", "any"] = Field(
        "strict", description="comparison of variables (verifier `math`): `strict` by name, `any` up to renaming"
    )
    regions: Literal["any", "as_written"] = Field(
        "any",
        description="comparison of regions (verifier `math`): `any` accepts an interval, an inequality or a set "
        "builder for each other, `as_written` does not",
    )
    restatement: Literal["reject", "accept"] = Field(
        "reject",
        description="answer that is left unevaluated, e.g. a sum or an integral (verifier `math`): reject or accept it",
    )


class SandboxConfig(Section):
    level: Literal["auto", "namespaces", "bubblewrap", "landlock", "none"] = Field(
        "auto", description="isolation of programs (verifier `code`); `auto`: the strongest that this machine has"
    )
    allow_unsafe: bool = Field(
        False, description="run programs without isolation where none is available; every result says so"
    )
    timeout_seconds: Positive = Field(10.0, description="wall time limit per response, all tests together, seconds")
    memory_mb: Count = Field(
        1024, description="memory limit of a program and its child processes, MB; files that it writes count"
    )
    processes: Count = Field(64, description="maximum number of processes and threads of a program")
    output_mb: Count = Field(8, description="output limit of a program per run, MB")
    scratch_mb: Count = Field(64, description="limit of what a program writes to files per run, MB")
    imports: list[str] = Field(
        [],
        description="installed modules that programs may import besides the standard library; they are loaded "
        "beforehand",
    )


class EvaluationConfig(Section):
    every: CountOrZero = Field(
        20, description="steps between evaluations; 0: only before the first step and after the last"
    )
    problems: Count = Field(200, description="maximum number of held-out problems to evaluate")
    samples: Count = Field(1, description="responses sampled per problem")
    temperature: NonNegative = Field(0.0, description="sampling temperature; 0: greedy decoding")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="nucleus (top-p) sampling: probability mass to sample from; 1: off"
    )
    top_k: CountOrZero = Field(0, description="top-k sampling: number of tokens to sample from; 0: off")
    max_new_tokens: Count | None = Field(
        None, description="maximum response length, tokens; none: `rollout.max_new_tokens`"
    )


class CheckpointConfig(Section):
    every: CountOrZero = Field(
        50, description="steps between checkpoints; 0: only after the last step and on an interrupt"
    )
    keep: Count = Field(2, description="number of checkpoints to keep, the newest ones")
