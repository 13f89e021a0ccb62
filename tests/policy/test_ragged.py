"""Rows of unlike length in one tensor: what goes in comes out, and what lies beside a row is never taken for it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlsd_cli.policy.ragged import Ragged, unpad

logps = st.lists(st.floats(-50, 0, width=32), max_size=6)
NAN = float("nan")


def lists(rows: Sequence[Tensor]) -> list[list[float]]:
    return [row.tolist() for row in rows]


@given(st.lists(logps, max_size=6), st.integers(0, 3), st.data())
def test_rows_come_back_from_lists_tuples_and_tensors_and_from_padding(
    rows: list[list[float]], spare: int, data: st.DataObject
) -> None:
    forms: list[Any] = [data.draw(st.sampled_from([list, tuple, torch.tensor])) for _ in rows]
    ragged = Ragged.of([form(row) for form, row in zip(forms, rows, strict=True)])
    width = max(map(len, rows), default=0) + spare
    padded = ragged.padded(width, NAN)
    assert ragged.values.dtype == padded.dtype == torch.float32
    assert padded.shape == (len(rows), width)
    assert padded.isnan().sum(1).tolist() == [width - len(row) for row in rows]
    assert lists(ragged.rows()) == lists(unpad(padded, ragged.lengths).rows()) == rows


def test_padding_is_on_the_right_and_zero_unless_said() -> None:
    ragged = Ragged.of([[1, 2], [], [3]], torch.int64)
    assert ragged.padded(3).tolist() == [[1, 2, 0], [0, 0, 0], [3, 0, 0]]
    assert ragged.padded(2, fill=9).tolist() == [[1, 2], [9, 9], [3, 9]]
    assert ragged.values.dtype == torch.int64


def test_numbers_of_more_digits_than_float32_has_are_rounded_as_torch_rounds_them() -> None:
    rows = [[0.1, -1 / 3], [1e-9 - 7]]
    assert torch.equal(Ragged.of(rows).values, torch.tensor([0.1, -1 / 3, 1e-9 - 7]))


def test_rows_are_views() -> None:
    ragged = Ragged.of([[1.0, 2.0], [3.0]])
    ragged.rows()[1][0] = 5.0
    assert ragged.values.tolist() == [1.0, 2.0, 5.0]


def test_a_view_of_a_larger_tensor_is_unpadded_by_its_own_rows() -> None:
    wide = torch.arange(12.0).view(2, 6)[:, 1:4]
    assert lists(unpad(wide, [1, 3]).rows()) == [[1], [7, 8, 9]]


@pytest.mark.parametrize("lengths", [[3, 1], [1], [1, 1, 1]], ids=["too long", "too few", "too many"])
def test_lengths_that_are_not_those_of_the_rows_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"does not fit 2|lengths of 2 rows"):
        unpad(torch.zeros(2, 2), lengths)


def test_a_row_does_not_run_into_the_next_one() -> None:
    with pytest.raises(ValueError, match="a row of 3 numbers does not fit 2"):
        Ragged.of([[1, 2, 3], [4]]).padded(2)
