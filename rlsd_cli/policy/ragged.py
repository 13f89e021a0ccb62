"""Rows of unlike length, one after the other in one tensor."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_NUMPY = {torch.int64: np.int64, torch.float32: np.float32}


class Ragged(NamedTuple):
    """The numbers of all rows, values [N], row after row, and how many of them each row has."""

    values: Tensor
    lengths: tuple[int, ...]

    @staticmethod
    def of(rows: Sequence[Sequence[float] | Tensor], dtype: torch.dtype = torch.float32) -> "Ragged":
        """Rows that are lists, tuples or 1-D tensors, as float32 or int64."""
        lengths = tuple(map(len, rows))
        if any(isinstance(row, Tensor) for row in rows):
            parts = [row if isinstance(row, Tensor) else torch.tensor(row, dtype=dtype) for row in rows]
            return Ragged(torch.cat(parts).to(dtype), lengths)
        numbers = np.fromiter(chain.from_iterable(rows), _NUMPY[dtype], sum(lengths))
        return Ragged(torch.from_numpy(numbers), lengths)

    def rows(self) -> list[Tensor]:
        """A view of each row."""
        return list(torch.split(self.values, [*self.lengths]))

    def padded(self, width: int, fill: float = 0.0) -> Tensor:
        """The rows as a tensor [rows, width], filled up on the right."""
        places = _places(self.lengths, width).to(self.values.device)
        out = self.values.new_full((len(self.lengths) * width,), fill)
        return out.scatter_(0, places, self.values).view(len(self.lengths), width)


def unpad(padded: Tensor, lengths: Sequence[int]) -> Ragged:
    """The first `length` numbers of each row of [rows, width]."""
    if len(lengths) != len(padded):
        raise ValueError(f"{len(lengths)} lengths of {len(padded)} rows")
    places = _places(lengths, padded.shape[1]).to(padded.device)
    return Ragged(padded.flatten().index_select(0, places), tuple(lengths))


def offsets(lengths: Tensor) -> Tensor:
    """Where each row begins."""
    return lengths.cumsum(0) - lengths


def spans(starts: Tensor, lengths: Tensor) -> Tensor:
    """start, start + 1, ..., start + length - 1 of each row, row after row, on the CPU."""
    shifts = (starts - offsets(lengths)).repeat_interleave(lengths)
    return shifts.add_(torch.arange(len(shifts)))


def _places(lengths: Sequence[int], width: int) -> Tensor:
    """Where the numbers of rows lie in a flat tensor of padded ones."""
    if max(lengths, default=0) > width:
        raise ValueError(f"a row of {max(lengths)} numbers does not fit {width}")
    return spans(torch.arange(len(lengths)) * width, torch.tensor(lengths, dtype=torch.int64))
