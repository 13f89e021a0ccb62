"""One run in several processes, as `torchrun` starts them: each does a part of the work, and all know all results.

Problems are dealt out, so that each process samples, verifies and reads its own; then every process gets all rollouts.
From there on all do the same with the same numbers, except that each takes the gradient of its part of the
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
"""How long a process waits for the others: one part of a step may take that much longer than another."""
_NOTHING: Any = object()


class World(NamedTuple):
    """The processes of a run: how many, and which of them this is. All but `local` are called by every process."""

    rank: int = 0
    size: int = 1

    @property
    def is_leader(self) -> bool:
        """True in the one process that talks and writes."""
        return self.rank == 0

    def local(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of items that every process has."""
        return items[self.rank :: self.size]

    def all_items(self, part: Sequence[T]) -> list[T]:
        """Gather the `local` shares of all processes, in the order of the whole: the inverse of `local`."""
        rows = zip_longest(*self.all_gather(part), fillvalue=_NOTHING)
        return [item for item in chain.from_iterable(rows) if item is not _NOTHING]

    def all_gather(self, value: T) -> list[T]:
        """Give every process the values of all, by rank."""
        if self.size == 1:
            return [value]
        from torch import distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def first_of(self, value: T | None) -> T | None:
        """Give every process the first value, by rank, that is true; None where none is."""
        return next(filter(None, self.all_gather(value)), None)

    def broadcast(self, choose: Callable[[], T]) -> T:
        """Call a function in the leader only, and give every process what it returns."""
        if self.size == 1:
            return choose()
        from torch import distributed as dist

        chosen: list[Any] = [choose() if self.is_leader else None]
        dist.broadcast_object_list(chosen)
        return chosen[0]  # type: ignore[no-any-return]

    def barrier(self) -> None:
        """Wait for all processes, so that none closes its connections while another needs them."""
        if self.size > 1:
            from torch import distributed as dist

            dist.barrier()

    def all_reduce_gradients(self, parameters: "Iterable[torch.Tensor]") -> None:
        """Replace the gradients of every process by their sum; a process without any adds nothing."""
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
def process_group() -> Iterator[World]:
    """Join the processes that `torchrun` started; without it a world of one, for which torch is not loaded."""
    if num_processes() == 1:
        yield World()
        return
    import torch
    from torch import distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield (world := World(dist.get_rank(), dist.get_world_size()))
        if dist.is_initialized():
            world.barrier()
    finally:
        if dist.is_initialized():  # a vLLM engine ends it together with itself
            dist.destroy_process_group()
