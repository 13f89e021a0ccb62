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
        raise ValueError("give a day such as 2024-07-26") from error


def _template(value: object) -> object:
    """A chat template: the content of the file that a text names, which then is a part of the config."""
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
    system: str | None = Field(None, description="system message for student and teacher alike")
    template: str = Field(
        STUDENT_TEMPLATE,
        description="what the student reads: `{question}`, and `{choices}` where they are not to follow it",
    )
    thinking: bool | None = Field(None, description="`enable_thinking` of the chat template, for models that have it")
    chat_template: Annotated[str | None, BeforeValidator(_template)] = Field(
        None, description="a Jinja file in place of the model's own chat template; the config keeps what is in it"
    )
    date: Annotated[str, BeforeValidator(_day)] = Field(
        "2024-07-26", description="the day that a chat template is told which prints today's"
    )
    overlong: Literal["error", "skip"] = Field(
        "error", description="a prompt that leaves no room for the longest response: stop, or leave the problem out"
    )

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        if "{question}" not in self.template:
            raise ValueError("`prompt.template` must contain `{question}`")
        return self


class CurriculumConfig(Section):
    min_pass_rate: Fraction = Field(0.0, description="training problems with a `pass_rate` below are left out")
    max_pass_rate: Fraction = Field(1.0, description="and those above; problems without a pass rate stay")
    order: Literal["random", "easy_first", "weighted"] = Field(
        "random",
        description="`easy_first`: each epoch by falling pass rate; `weighted`: drawn by p(1-p), p the pass rate",
    )

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError("`curriculum.min_pass_rate` cannot exceed `curriculum.max_pass_rate`")
        return self


class RolloutConfig(Section):
    temperature: Positive = Field(1.0, description="sampling temperature; log-probabilities use it on every side")
    max_new_tokens: Count = Field(512, description="response length limit, tokens, the end token included")
    truncated: Literal["mask", "zero"] = Field(
        "zero", description="a response cut at the limit: `zero` scores it 0, `mask` takes it out of baseline and loss"
    )
    refill: CountOrZero = Field(
        0,
        description="dynamic sampling: most further problems a step, drawn in place of groups without any advantage",
    )
    batch_size: Count = Field(256, description="responses decoded at a time")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="type sampled in; `auto`: the compute type (bfloat16 is a copy)"
    )
    engine: Literal["transformers", "vllm"] = Field(
        "transformers", description="what samples; `vllm`: an engine with a copy of the weights (`rlsd[vllm]`)"
    )
    servers: list[str] = Field(
        [],
        description="addresses of vLLM servers that sample instead (http://node7:8000); not part of a run's identity",
    )
    weights_folder: str | None = Field(
        None, description="where weights lie for the servers, who must see it, too; none: a temporary folder"
    )
    server_timeout: Positive = Field(
        600.0, description="seconds that a server may take for a response, and may be away"
    )
    gpu_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.4, description="share of a GPU's memory that `vllm` takes while it samples"
    )
    sync_tolerance: Positive | None = Field(
        None, description="mean gap, nats, between `vllm` and trainer after an update; none: by type, 1e-3 or 0.25"
    )

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if self.servers and self.engine != "vllm":
            raise ValueError("`rollout.servers` needs `rollout.engine=vllm`")
        for server in self.servers:
            if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", server):
                raise ValueError(f"`rollout.servers`: {server!r} is no address, such as http://node7:8000")
        return self


class AdapterConfig(Section):
    rank: CountOrZero = Field(0, description="rank of the matrices trained beside linear layers; 0: train all weights")
    scale: Positive = Field(2.0, description="what their product is multiplied with (alpha / rank)")
    targets: list[str] = Field([], description="names of the linear modules; none given: all but the output head")


class AdvantageConfig(Section):
    baseline: Literal["mean", "leave_one_out", "none"] = Field("mean", description="what a score is compared with")
    scale: Literal["group_std", "batch_std", "none"] = Field("group_std", description="what that is divided by")
    ddof: Annotated[int, Field(ge=0, le=1)] = Field(1, description="degrees of freedom of the deviation; 1: unbiased")
    eps: NonNegative = Field(1e-6, description="added to the deviation")


class LossConfig(Section):
    surrogate: Literal["clipped", "gspo", "cispo"] = Field("clipped", description="policy-gradient surrogate")
    clip_low: NonNegative = Field(0.2, description="ratio clip below 1; `loss.surrogate=gspo` brings 3e-4")
    clip_high: NonNegative = Field(
        0.28, description="ratio clip above 1 (clip-higher); `loss.surrogate=gspo` brings 4e-4"
    )
    dual_clip: Annotated[float, Field(gt=1.0)] | None = Field(
        None, description="bound on the loss of a negative-credit token, in units of its credit"
    )
    reduction: Literal["sequence_mean", "token_mean", "constant"] = Field(
        "sequence_mean", description="`constant` divides by sequences x `rollout.max_new_tokens` (Dr. GRPO)"
    )
    kl_coef: NonNegative = Field(0.0, description="weight of the KL to the initial policy")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k3", description="per-token KL estimator; `k1` has no expected gradient on policy"
    )
    rollout_correction: Literal["none", "truncate", "mask"] = Field(
        "none", description="importance weight for a sampler whose log-probabilities differ from the trainer's"
    )
    rollout_correction_level: Literal["token", "sequence"] = Field(
        "token", description="what an importance weight is of: a token, or a whole response"
    )
    rollout_correction_cap: Positive = Field(2.0, description="largest importance weight kept")
    rollout_correction_floor: NonNegative = Field(0.0, description="smallest importance weight kept")


class DistillConfig(Section):
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "sampled_token", "pointwise_clipped_forward_kl"] = Field(
        "forward_kl", description="distance from student to teacher at each token (method `opsd`)"
    )
    beta: Fraction = Field(0.5, description="generalised JSD: 0 is the forward KL, 1 the reverse KL")
    top_k: CountOrZero = Field(0, description="support: the student's k likeliest tokens; 0: the whole vocabulary")
    tail: bool = Field(True, description="keep the mass outside the top k as one more entry")
    token_clip: Positive | None = Field(
        None,
        description="scale down a token's loss above this many nats (the gradient keeps its direction); `opsd` has "
        "0.05 for the forward KL",
    )


class TeacherConfig(Section):
    weights: Literal["live", "snapshot", "frozen", "ema"] = Field(
        "snapshot",
        description="the policy itself, a copy synced every N steps, the initial one, a moving average",
    )
    sync_every: Count = Field(10, description="`snapshot`: copy the policy after the update of every N-th step")
    ema_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(0.05, description="`ema`: step towards the policy")
    device: Literal["auto", "cpu"] = Field(
        "auto", description="where its copy lies; `cpu`: in main memory, on the GPU only while it reads"
    )
    view: Literal["answer", "solution", "hints", "none"] = Field("answer", description="privileged information shown")
    num_hints: Count | None = Field(None, description="view `hints`: show the first N, the vaguest ones; none: all")
    template: str = Field(TEACHER_TEMPLATE, description="`{prompt}`: what the student reads; `{reference}`: the view")
    max_prompt_tokens: Count | None = Field(None, description="longest teacher prompt; none: what the model can hold")
    overlong: Literal["error", "skip"] = Field(
        "error", description="a teacher prompt that does not fit: stop, or count it and use no teacher for it"
    )

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        missing = [name for name in ("{prompt}", "{reference}") if name not in self.template]
        if missing:
            raise ValueError(f"`teacher.template` must contain {' and '.join(f'`{name}`' for name in missing)}")
        return self


class OptimConfig(Section):
    lr: Positive = Field(1e-6, description="peak learning rate (AdamW)")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="learning rate after the warm-up")
    warmup_steps: CountOrZero = Field(0, description="linear warm-up, steps")
    weight_decay: NonNegative = Field(0.01, description="decoupled, on matrices only")
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.9, description="decay of the first moment")
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.999, description="decay of the second moment")
    eps: Positive = Field(1e-8, description="added to the root of the second moment")
    state: Literal["float32", "8bit"] = Field(
        "float32", description="type of both moments; `8bit`: a quarter of the memory, slow on a CPU (`rlsd[optim8]`)"
    )
    layout: Layout = Field(
        "whole",
        description="where weights, gradients and moments lie: `whole` in every process, `sharded` split among them "
        "(FSDP2), `offloaded` also in main memory, but for the layer at work",
    )
    max_grad_norm: Positive = Field(1.0, description="clip by global norm; reported before clipping")
    updates_per_batch: Count = Field(1, description="optimiser steps on one batch of rollouts; 1 is on policy")
    tokens_per_microbatch: Count | None = Field(
        None, description="tokens in one forward and backward; none: the fewest that are measured to be fast"
    )
    recompute: Fraction = Field(
        0.0, description="share of layers whose activations are computed again in the backward pass, not kept"
    )


class VerificationConfig(Section):
    workers: Count | None = Field(None, description="verifier processes; none: one a core, at most 8")
    launchers: list[str] = Field(
        [], description="commands that start a verifier process elsewhere (`ssh node7`), taken in turn; none: here"
    )
    timeout_seconds: Positive = Field(1.0, description="wall time for one response; over it the outcome is `timeout`")
    memory_mb: Count = Field(512, description="memory for one response, MB; over it the outcome is `memory`")
    last_number: bool = Field(True, description="where no answer is marked, take the last number: a guess")
    relative_tolerance: NonNegative = Field(
        0.0, description="verifiers `numeric` and `math`: a number is right within this share of the reference"
    )
    decimals: Literal["rounded", "exact"] = Field(
        "rounded", description="verifier `math`: `rounded` takes a value and its rounding for equal, `exact` does not"
    )
    percent: Literal["either", "value"] = Field(
        "either", description="`50%` is 0.5, or 50 where only one side has the sign; `value`: 0.5 alone"
    )
    ordered: bool = Field(False, description="whether the order of a plain list counts; that of a tuple always does")
    names: Literal["strict", "any"] = Field(
        "strict", description="verifier `math`: `strict` keeps variables apart, `any` lets an answer rename them all"
    )
    regions: Literal["any", "as_written"] = Field(
        "any",
        description="verifier `math`: `any` takes an interval, an inequality and a set builder for the same region",
    )
    restatement: Literal["reject", "accept"] = Field(
        "reject", description="verifier `math`: an answer that is left to be worked out, e.g. a sum or an integral"
    )


class SandboxConfig(Section):
    level: Literal["auto", "namespaces", "bubblewrap", "landlock", "none"] = Field(
        "auto", description="verifier `code`: how programs are cut off; `auto`: the strongest this machine has"
    )
    allow_unsafe: bool = Field(False, description="run programs where no level can be had; every result says so")
    timeout_seconds: Positive = Field(10.0, description="wall time for one response with all its tests")
    memory_mb: Count = Field(1024, description="memory of a program and all it starts, MB; its files count")
    processes: Count = Field(64, description="processes and threads of a program")
    output_mb: Count = Field(8, description="what a program may print in one run, MB")
    scratch_mb: Count = Field(64, description="what a program may write to files in one run, MB")
    imports: list[str] = Field(
        [], description="installed modules that programs may import, besides the standard library; loaded beforehand"
    )


class EvaluationConfig(Section):
    every: CountOrZero = Field(20, description="steps between evaluations; 0: only at the start and the end")
    problems: Count = Field(200, description="held-out problems evaluated, at most")
    samples: Count = Field(1, description="responses per problem")
    temperature: NonNegative = Field(0.0, description="0 is greedy")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(1.0, description="nucleus sampling")
    top_k: CountOrZero = Field(0, description="sample among the k likeliest; 0: all")
    max_new_tokens: Count | None = Field(None, description="response length limit; none: `rollout.max_new_tokens`")


class CheckpointConfig(Section):
    every: CountOrZero = Field(50, description="steps between checkpoints; 0: only at the end and on an interrupt")
    keep: Count = Field(2, description="newest checkpoints kept")
