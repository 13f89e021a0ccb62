"""Data sets of the model hub, through `datasets`."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlsd_cli.data.readers import RawRow
from rlsd_cli.errors import EXIT_MACHINE, RlsdError


class HubData(NamedTuple):
    """A split of a data set at one commit. `revision` is the commit's hash, or what was asked for when offline."""

    name: str
    subset: str | None
    hub_split: str
    revision: str | None


def is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "true", "yes")


def find_hub_data(name: str, subset: str | None, split: str, revision: str | None) -> HubData:
    """Pin a data set to the commit that its revision stands for now; offline, the revision is left as it is."""
    if is_offline():
        return HubData(name, subset, split, revision)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HubData(name, subset, split, HfApi().dataset_info(name, revision=revision, timeout=30).sha)
    except RepositoryNotFoundError as error:
        raise _cannot_load(name, "there is no such data set, or it is private") from error
    except RevisionNotFoundError as error:
        raise _cannot_load(name, "it has no such revision") from error
    except Exception as error:  # whatever transport the client uses has errors of its own
        raise _cannot_load(name, error) from error


def read_hub_rows(data: HubData) -> Iterator[RawRow]:
    """The rows of a split as they come over the network; offline, those of the local cache.

    Raises:
        RlsdError: `datasets` is missing, or the data set cannot be had (exit code 3).
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        hint = "`pip install 'rlsd[data]'`"
        raise RlsdError(
            f"`{data.name}`: data of the hub needs `datasets`", hint=hint, exit_code=EXIT_MACHINE
        ) from error
    try:
        rows: Any = load_dataset(
            data.name, data.subset, split=data.hub_split, revision=data.revision, streaming=not is_offline()
        )
        for index, fields in enumerate(rows):
            yield RawRow(f"{data.name}/{data.hub_split}: row {index}", dict(fields))
    except Exception as error:  # those of the transport, and of what others wrote
        raise _cannot_load(data.name, error) from error


def _cannot_load(name: str, error: Exception | str) -> RlsdError:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return RlsdError(
        f"cannot load `{name}` from the hub: {reason}",
        hint="`NAME[:SUBSET][:split=train][:revision=main]`; or name a file",
        exit_code=EXIT_MACHINE,
    )
