"""One run in several processes, as `torchrun` starts them: each does a share of the work, and all know the whole.

Problems are dealt out, so that each process samples, verifies and reads its own; then every process gets all rollouts.
From there on all do the same with the same numbers, except that each takes the gradient of its share of the
micro-batches and all add them up. So baselines, denominators and weights are those of one process, and so is the
state that the first one saves.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rlsd_cli.distributed.ranks import num_processes

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: as long as one share of a step may take more than another."""
_NOTHING: Any = object()


class Team(NamedTuple):
    """The processes of a run: how many, and which of them this is. Every method but `share` is called by all."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that talks and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what all of them have."""
        return items[self.rank :: self.size]

    def gather(self, part: Sequence[T]) -> list[T]:
        """The whole of which everyone has a `share`, in its order."""
        rows = zip_longest(*self.everyones(part), fillvalue=_NOTHING)
        return [item for item in chain.from_iterable(rows) if item is not _NOTHING]

    def everyones(self, value: T) -> list[T]:
        """What each process has, by rank."""
        if self.size == 1:
            return [value]
        from torch import distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def first(self, value: T | None) -> T | None:
        """The first of what they have, by rank, that is something."""
        return next(filter(None, self.everyones(value)), None)

    def decided(self, choose: Callable[[], T]) -> T:
        """What the leading process chooses."""
        if self.size == 1:
            return choose()
        from torch import distributed as dist

        chosen: list[Any] = [choose() if self.leads else None]
        dist.broadcast_object_list(chosen)
        return chosen[0]  # type: ignore[no-any-return]

    def wait(self) -> None:
        """For all the others, so that nobody closes its connections while they are needed."""
        if self.size > 1:
            from torch import distributed as dist

            dist.barrier()

    def add_gradients(self, parameters: "Iterable[torch.Tensor]") -> None:
        """Replace everyone's gradients by their sum; a process without any adds nothing."""
        if self.size == 1:
            return
        import torch
        from torch import distributed as dist

        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for sent in [dist.all_reduce(parameter.grad, async_op=True) for parameter in trained]:
            assert sent
            sent.wait()


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """The processes that `torchrun` started with this one; without it a team of one, for which torch is not loaded."""
    if num_processes() == 1:
        yield Team()
        return
    import torch
    from torch import distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield (team := Team(dist.get_rank(), dist.get_world_size()))
        if dist.is_initialized():
            team.wait()
    finally:
        if dist.is_initialized():  # a vLLM engine ends it together with itself
            dist.destroy_process_group()
