"""The config: one frozen tree, shared by every subcommand. A method's own settings are its section `credit`."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, SerializeAsAny, create_model, model_validator
from pydantic.fields import FieldInfo

from rlsd_cli.config.reads import reads
from rlsd_cli.config.reward import RewardConfig
from rlsd_cli.config.sections import (
    AdapterConfig,
    AdvantageConfig,
    CheckpointConfig,
    CurriculumConfig,
    DistillConfig,
    EvaluationConfig,
    LossConfig,
    OptimConfig,
    PromptConfig,
    RolloutConfig,
    SandboxConfig,
    TeacherConfig,
    VerificationConfig,
)
from rlsd_cli.fields import Count, CountOrZero, Fraction, Section
from rlsd_cli.methods.base import KlToInitial, Method, Term, constant
from rlsd_cli.methods.table import METHODS

DEFAULT_METHOD = "rlsd"
PLACES = frozenset(
    ("rollout.servers", "rollout.weights_folder", "rollout.server_timeout", "verification.launchers", "tracker")
)
"""Keys of other machines and programs that serve a run; they may change while it lasts, and are not part of its
identity."""


def _known(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"the methods are {', '.join(METHODS)}")
    return name


class Config(Section):
    """The whole experiment. Two runs whose configs have one `identity` are the same run."""

    method: Annotated[str, AfterValidator(_known)] = Field(
        DEFAULT_METHOD,
        description="training method: where responses come from, what a teacher is shown, and the terms of the loss",
        json_schema_extra={"enum": [*METHODS]},
    )
    model: str = Field(
        "quickstart", description="model to train: a name of `rlsd models list`, a directory, or a hub name"
    )
    data: str = Field(
        "arithmetic",
        description="training problems: a task, a benchmark, a file, or a data set of the hub; see `rlsd data list`",
    )
    eval_data: str | None = Field(
        None, description="held-out problems, named like `data`; none: the fraction `holdout` of `data`"
    )
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.1, description="fraction of `data` held out for evaluation, chosen by a hash of each question"
    )
    verifier: str = Field(
        "auto",
        description="verifier of problems that name none: auto (by the form of the reference), math, numeric, "
        "choice, exact, countdown, code, gym, `module:function` or `./file.py:function`",
    )
    verifier_error_limit: Fraction = Field(
        0.1, description="largest fraction of a step's responses that may reach no verdict; above it the run stops"
    )
    seed: CountOrZero = Field(0, description="random seed of problem order, sampling and initial weights")
    steps: Count = Field(200, description="training steps; each takes one batch of rollouts")
    prompts_per_step: Count = Field(32, description="prompts per step, one group each")
    samples_per_prompt: Count = Field(8, description="group size: responses sampled per prompt")
    device: str = Field("auto", description="device: auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="compute type (weights stay float32); `auto`: bfloat16 if measured to be faster"
    )
    attention: Literal["auto", "packed", "padded"] = Field(
        "auto",
        description="batch layout: `packed` has no padding and reads the prompt of a group once; `auto`: packed "
        "if the model allows it",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile of layers and output head, checked on a first batch; `auto`: on a GPU"
    )
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        "none",
        description="program that is given the metrics, too, in `logs/` of the run; wandb stays offline unless "
        "WANDB_MODE says otherwise",
    )
    prompt: PromptConfig = PromptConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    adapter: AdapterConfig = AdapterConfig()
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    credit: SerializeAsAny[Section] = METHODS[DEFAULT_METHOD].settings()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    teacher: TeacherConfig = TeacherConfig()
    optim: OptimConfig = OptimConfig()
    verification: VerificationConfig = VerificationConfig()
    sandbox: SandboxConfig = SandboxConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def recipe(self) -> Method:
        """The method."""
        return METHODS[self.method]

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of the loss: the method's, and the KL to the initial policy where it has a weight."""
        coef = self.loss.kl_coef
        return self.recipe.terms + ((KlToInitial(coef=constant(coef)),) if coef else ())

    @property
    def group_size(self) -> int:
        """Responses per problem in a step: one where the data gives the response."""
        return self.samples_per_prompt if self.recipe.responses == "policy" else 1

    @property
    def rollouts_per_step(self) -> int:
        return self.prompts_per_step * self.group_size

    @property
    def uses_teacher(self) -> bool:
        """True where a teacher reads at some step."""
        steps = range(1, self.steps + 1)
        views = [view for view in self.recipe.views.values() if view.by == "teacher"]
        return any(view.when(self.credit, step) for view in views for step in steps)

    @property
    def needs_initial(self) -> bool:
        """True where the initial weights are kept beside the policy's."""
        return self.loss.kl_coef > 0 or self.recipe.needs_initial

    @property
    def temperature(self) -> float:
        """The temperature of all log-probabilities: that of sampling; 1 for responses that the data gives."""
        return self.rollout.temperature if self.recipe.responses == "policy" else 1.0

    @property
    def can_be_extended(self) -> bool:
        """True where a run of more steps begins with the same steps: nothing is scheduled by their number."""
        return self.optim.schedule == "constant"

    def identity(self) -> dict[str, Any]:
        """The keys that the method reads, as JSON values; two configs of one run have the same.

        Left out are `PLACES`, the steps where no step depends on how many there are, and the section `reward` where the
        score is the verifier's, which every score once was.
        """
        values = flatten(self, self.model_dump(mode="json"))
        unsaid = {key for key in values if key.startswith("reward.")} if self.reward.is_plain else set()
        unsaid |= {"steps"} if self.can_be_extended else set()
        return {key: value for key, value in values.items() if key not in PLACES | unsaid}

    def digest(self) -> str:
        """SHA-256 of the canonical identity."""
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse combinations of keys that contradict each other."""
        method = self.recipe
        if type(self.credit) is not method.settings:
            raise ValueError(f"section `credit` is not that of method `{method.name}`")
        if method.scored and self.samples_per_prompt == 1 and self.advantage.baseline in ("mean", "leave_one_out"):
            raise ValueError(
                f"`samples_per_prompt` = 1 leaves every group of `{self.method}` without a baseline: "
                "raise it, or set `advantage.baseline=none` or `batch_mean`"
            )
        if self.rollout.refill and self.advantage.by_batch:
            raise ValueError(
                "`rollout.refill` cannot go with `advantage.scale=batch_std` or `advantage.baseline=batch_mean`, which "
                "mix the groups of a batch"
            )
        if self.reward.buffer(self.rollout.max_new_tokens) > self.rollout.max_new_tokens:
            raise ValueError("`reward.overlong_buffer` cannot exceed `rollout.max_new_tokens`")
        if self.optim.updates_per_batch > self.prompts_per_step:
            raise ValueError("`optim.updates_per_batch` cannot exceed `prompts_per_step`")
        if self.optim.layout != "whole" and self.optim.state == "8bit":
            raise ValueError(f"`optim.state=8bit` cannot be sharded: `optim.layout={self.optim.layout}` needs float32")
        if self.optim.layout != "whole" and self.teacher.device == "cpu":
            raise ValueError(
                f"`teacher.device=cpu` has no meaning for `optim.layout={self.optim.layout}`: "
                "the teacher is placed as the policy is"
            )
        if self.loss.rollout_correction_floor > self.loss.rollout_correction_cap:
            raise ValueError(
                "`loss.rollout_correction_floor` is above `loss.rollout_correction_cap`: no weight is kept"
            )
        if self.loss.dual_clip is not None and self.loss.surrogate == "cispo":
            raise ValueError("`loss.dual_clip` has no meaning for `loss.surrogate=cispo`")
        distill = self.distill
        if distill.top_k and distill.divergence in ("sampled_token", "pointwise_clipped_forward_kl"):
            raise ValueError(f"`distill.top_k` has no meaning for `distill.divergence={distill.divergence}`")
        if distill.divergence == "pointwise_clipped_forward_kl" and distill.token_clip is None:
            raise ValueError("`distill.divergence=pointwise_clipped_forward_kl` needs `distill.token_clip`, e.g. 0.05")
        if distill.top_k_of == "teacher" and distill.top_k and distill.tail and self._is_reverse_kl:
            raise ValueError(
                "`distill.top_k_of=teacher` leaves the reverse KL infinite: set `distill.tail=false` or another "
                "`distill.divergence`"
            )
        if why := method.fault(self):
            raise ValueError(why)
        return self

    @property
    def _is_reverse_kl(self) -> bool:
        return self.distill.divergence == "reverse_kl" or (self.distill.divergence == "jsd" and self.distill.beta == 1)


@cache
def config_type(method: str) -> type[Config]:
    """The config of a method: its section `credit` has the method's own settings."""
    own = METHODS[method].settings
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, credit=(own, own()))


# -- the tree as dotted keys --------------------------------------------------------------------------------------


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


@cache
def fields_of(method: str) -> dict[str, FieldInfo]:
    """The keys that a method reads, in the order of the tree."""
    leaves = _leaves(config_type(method))
    return {key: info for key, info in leaves if reads(METHODS[method], key)}


def all_fields() -> dict[str, FieldInfo]:
    """The keys of all methods, in the order of the tree of the first that has them."""
    found: dict[str, FieldInfo] = {}
    for method in METHODS:
        for key, info in _leaves(config_type(method)):
            found.setdefault(key, info)
    return found


def flatten(config: Config, tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values of the keys that the method reads, by dotted key; from the config's `tree` as JSON, if it is given."""

    def value(key: str) -> Any:
        node: Any = config if tree is None else tree
        for part in key.split("."):
            node = node[part] if isinstance(node, dict) else getattr(node, part)
        return node

    return {key: value(key) for key in fields_of(config.method)}
