"""Memory of what holds a number for each parameter: weights, optimiser state, and copies of the weights."""

from typing import NamedTuple

from rlsd_cli.config.schema import Config
from rlsd_cli.policy.memory_parts import FLOAT32, MB, WIDTH, Component, Setting
from rlsd_cli.policy.shape import ModelShape

PROCESS = 380 * MB
"""Main memory of a process with torch, transformers and a tokenizer loaded, before it has any weights."""
STATE8_BLOCK = 256
"""Numbers that share a float32 scale in 8-bit moments."""


class Sharding(NamedTuple):
    """Where weights lie.

    gathered: whether they are gathered where they are used.
    share: how much of them lies on the device until then, 0..1.
    where: the same in words, to follow what lies there.
    """

    gathered: bool
    share: float
    where: str = ""


def sharding(config: Config, setting: Setting) -> Sharding:
    """How `optim.layout` places weights, gradients and moments."""
    if config.optim.layout == "whole" or (config.optim.layout == "sharded" and setting.processes == 1):
        return Sharding(gathered=False, share=1.0)
    where = f", split among {setting.processes}" if setting.processes > 1 else ""
    if config.optim.layout == "offloaded" and setting.device == "cuda":
        return Sharding(gathered=True, share=0.0, where=f"{where}, in main memory")
    return Sharding(gathered=True, share=1 / setting.processes, where=where)


def num_trained(config: Config, shape: ModelShape) -> int:
    """Parameters that are trained; of an adapter, those of all layers, even where `adapter.targets` names fewer."""
    return shape.adapter(config.adapter.rank) if config.adapter.rank else shape.num_parameters


def gradient_bytes(config: Config, shape: ModelShape, setting: Setting) -> int:
    """Bytes of the gradients of all trained parameters, on the device."""
    return int(FLOAT32 * num_trained(config, shape) * sharding(config, setting).share)


def fewer_parameters(config: Config) -> str:
    """The remedy for what grows with the number of trained parameters."""
    return "take a smaller `model`" + ("" if config.adapter.rank else " or `adapter.rank=16`")


def keeps_teacher(config: Config) -> bool:
    """True where a run has a copy of the weights for its teacher."""
    return config.uses_teacher and config.teacher.weights != "live"


def weight_parts(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """The parts that are always there, and the process itself."""
    placed = sharding(config, setting)
    weights = _weight_bytes(config, shape, setting)
    fewer_bytes = "`optim.state=8bit`" if config.optim.state == "float32" else fewer_parameters(config)
    return (
        Component(
            "weights",
            weights,
            "always",
            f"{shape.num_parameters:,} parameters in float32{placed.where}",
            "take a smaller `model`",
        ),
        Component(
            "optimiser state",
            int(_moment_bytes(config, shape) * placed.share),
            "always",
            f"two moments a trained parameter, {config.optim.state}{placed.where}",
            fewer_bytes,
        ),
        *_copies(config, shape, setting),
        Component(
            "process",
            PROCESS if setting.device == "cpu" else 0,
            "always",
            "torch and other libraries",
            "use another machine",
        ),
    )


def _weight_bytes(config: Config, shape: ModelShape, setting: Setting) -> int:
    """Bytes of the weights on the device, those of an adapter included."""
    base = int(FLOAT32 * shape.num_parameters * sharding(config, setting).share)
    return base + (gradient_bytes(config, shape, setting) if config.adapter.rank else 0)


def _moment_bytes(config: Config, shape: ModelShape) -> int:
    if config.optim.state == "float32":
        return 2 * FLOAT32 * num_trained(config, shape)
    return int(2 * (1 + FLOAT32 / STATE8_BLOCK) * num_trained(config, shape))


def _copies(config: Config, shape: ModelShape, setting: Setting) -> tuple[Component, ...]:
    """Copies of the weights, of an adapter of its own alone: for the teacher, the reference and the sampler."""
    on_gpu, placed = setting.device == "cuda", sharding(config, setting)
    copied = (_weight_bytes if placed.gathered else gradient_bytes)(config, shape, setting)
    away = on_gpu and config.teacher.device == "cpu"
    teacher = FLOAT32 * shape.head if away and not config.adapter.rank else copied
    sampled = config.rollout.engine == "transformers" and (placed.gathered or setting.sampling_dtype != "float32")
    return (
        Component(
            "teacher",
            teacher if keeps_teacher(config) else 0,
            "always",
            f"{config.teacher.weights} copy in float32{placed.where}"
            + (", in main memory but for its output head" if away else ""),
            "`teacher.weights=live`" + (" or `teacher.device=cpu`" if on_gpu and not away else ""),
        ),
        Component(
            "reference",
            copied if config.needs_initial else 0,
            "always",
            f"initial weights{placed.where}",
            "`loss.kl_coef=0`" if config.loss.kl_coef else "another method",
        ),
        Component(
            "sampler",
            WIDTH[setting.sampling_dtype] * shape.num_parameters if sampled else 0,
            "always",
            f"copy in {setting.sampling_dtype}",
            "`rollout.dtype=float32`",
        ),
    )
