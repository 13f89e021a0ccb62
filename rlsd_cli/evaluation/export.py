"""A trained policy as a plain model directory."""

from pathlib import Path

from rlsd_cli.errors import RlsdError
from rlsd_cli.evaluation.subject import find_subject
from rlsd_cli.policy.catalog import base_of, is_model


def export_policy(source: str, target: Path, root: Path, *, dtype: str, adapter: bool, force: bool) -> None:
    """Write the policy of a run or a checkpoint, merged with its base or the trained `adapter` alone.

    Raises:
        RlsdError: the source has no such policy, or the target holds a model and is not to be replaced (`force`).
    """
    if dtype not in ("float32", "bfloat16"):
        raise RlsdError(f"--dtype {dtype}: expected float32 or bfloat16")
    if is_model(target) and not force:
        raise RlsdError(f"{target} holds a model", hint="name another directory, or replace it with `--force`")
    subject = find_subject(source, root)
    if subject.run is None:
        raise RlsdError(f"`{source}` is not a run or a checkpoint of one")
    checkpoint = Path(subject.layers[-1].values["model"])
    if target.resolve() == checkpoint.resolve():
        raise RlsdError(f"{target} is what is to be exported", hint="name another directory")
    if adapter and not base_of(str(checkpoint)):
        raise RlsdError(f"{checkpoint} has no adapter: all weights were trained", hint="leave `--adapter` out")
    from rlsd_cli.policy.model import export_adapter, export_model  # loads torch

    write = export_adapter if adapter else export_model
    write(checkpoint, target, dtype)
