"""What a batch holds, packed and padded, and how batches are cut."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.batch.lists import list_batch
from rlsd_cli.policy.batch import TokenBatch, TokenIds, by_prompt, make_batch, micro_batches

CPU = torch.device("cpu")
PROMPTS = [[5, 6], [7], [5, 6]]
RESPONSES = [[8], [9, 10, 11], [12, 13]]


def test_a_padded_batch_is_one_row_a_response() -> None:
    batch = make_batch(PROMPTS, RESPONSES, pad_id=0, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 8, 0], [7, 9, 10, 11], [5, 6, 12, 13]]
    assert batch.predictors.tolist() == [[1, 0, 0], [4, 5, 6], [9, 10, 0]]
    assert batch.response_ids.tolist() == [[8, 0, 0], [9, 10, 11], [12, 13, 0]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True], [True, True, False]]


def test_a_packed_batch_has_each_prompt_once_and_nothing_that_predicts_nothing() -> None:
    batch = make_batch(PROMPTS, RESPONSES, pad_id=0, device=CPU, packed=True)
    padded = make_batch(PROMPTS, RESPONSES, pad_id=0, device=CPU)
    assert batch.position_ids is not None
    assert batch.rows is not None
    assert batch.input_ids.tolist() == [[5, 6, 12, 7, 9, 10]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert batch.predictors.tolist() == [[1, 0, 0], [3, 4, 5], [1, 2, 0]]
    assert torch.equal(batch.response_ids, padded.response_ids)
    assert torch.equal(batch.mask, padded.mask)


token_ids = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@given(st.lists(st.tuples(st.integers(0, 3), token_ids), min_size=1, max_size=30), st.lists(token_ids, min_size=4))
def test_every_token_finds_its_row_and_its_way_back(
    rows: list[tuple[int, list[int]]], prompts: list[list[int]]
) -> None:
    chosen = [prompts[which] for which, _ in rows]
    responses = [response for _, response in rows]
    batch = make_batch(chosen, responses, pad_id=0, device=CPU, packed=True)
    assert batch.rows is not None
    ids = batch.input_ids[0]
    assert torch.equal(batch.rows.slots[batch.rows.home], torch.arange(len(ids)))
    assert sum(count * width for count, width in batch.rows.buckets) == len(batch.rows.slots)
    widths = [width for count, width in batch.rows.buckets for _ in range(count)]
    lengths = sorted((len(prompt) + len(response) - 1 for prompt, response in zip(chosen, responses, strict=True)))
    held = [row.tolist() for row in ids[batch.rows.slots].split(widths)]
    for prompt, response in zip(chosen, responses, strict=True):
        row = [*prompt, *response[:-1]]
        assert any(candidate[: len(row)] == row for candidate in held)
    assert len(widths) == len(rows)
    assert all(width >= length for width, length in zip(widths, reversed(lengths), strict=True))


FORMS: list[Callable[[list[int]], TokenIds]] = [list, tuple, torch.tensor]
places = st.integers(0, 3)


def parts(batch: TokenBatch) -> list[tuple[str, Any]]:
    """Name, value and, of a tensor, its kind."""
    rows = vars(batch.rows) if batch.rows else {}
    named = {**batch._asdict(), **rows, "rows": type(batch.rows)}
    return [
        (name, (value.dtype, value.device, value.is_contiguous(), value.tolist()) if torch.is_tensor(value) else value)
        for name, value in named.items()
    ]


@given(
    st.lists(st.integers(1, 120), min_size=4, max_size=4),
    st.lists(st.tuples(places, st.integers(1, 120), st.sampled_from(FORMS), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 9),
    st.booleans(),
)
def test_a_batch_of_lists_tuples_or_tensors_is_exactly_the_one_put_together_token_by_token(
    widths: list[int], rows: list[tuple[int, int, Any, bool]], pad_id: int, packed: bool
) -> None:
    prompts = [[which, *range(100, 99 + width)] for which, width in enumerate(widths)]
    responses = [[*range(1000 * place, 1000 * place + length)] for place, (_, length, _, _) in enumerate(rows)]
    same = [form(prompt) for form, prompt in zip((*FORMS, tuple), prompts, strict=True)]
    asked = [same[which] if is_same else form(prompts[which]) for which, _, form, is_same in rows]
    answers = [form(response) for (_, _, form, _), response in zip(rows, responses, strict=True)]
    expected = list_batch([prompts[which] for which, *_ in rows], responses, pad_id, CPU, packed=packed)
    assert parts(make_batch(asked, answers, pad_id, CPU, packed=packed)) == parts(expected)


@pytest.mark.parametrize("packed", [False, True])
def test_every_response_needs_its_prompt(packed: bool) -> None:
    with pytest.raises(ValueError, match="1 prompts of 3 responses"):
        make_batch(PROMPTS[:1], RESPONSES, pad_id=0, device=CPU, packed=packed)


def test_equal_prompts_are_one_whatever_they_are_written_as() -> None:
    once = torch.tensor([5, 6])
    assert by_prompt([once, (7,), [5, 6], once, (5, 6), torch.tensor([5, 6, 7])]) == [[0, 2, 3, 4], [1], [5]]


class CountedIds(tuple[int, ...]):
    """Token ids that count how often they are walked through."""

    walks = 0

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()


@pytest.mark.parametrize("packed", [False, True])
def test_no_token_is_read_twice(packed: bool) -> None:
    prompts, responses = [CountedIds([5, 6]), CountedIds([7])], [CountedIds(ids) for ids in RESPONSES]
    asked = [prompts[0], prompts[1], prompts[0]]
    micro_batches(asked, responses, 8, packed=packed)
    assert [ids.walks for ids in (*prompts, *responses)] == [int(packed)] * 2 + [0] * 3
    make_batch(asked, responses, pad_id=0, device=CPU, packed=packed)
    assert [ids.walks for ids in responses] == [1] * 3


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200)), min_size=1, max_size=60),
    st.integers(1, 600),
    st.booleans(),
)
def test_micro_batches_hold_every_response_once_within_the_budget(
    rows: list[tuple[int, int]], budget: int, packed: bool
) -> None:
    prompts = [[which] * (5 + 20 * which) for which, _ in rows]
    responses = [[0] * length for _, length in rows]
    batches = micro_batches(prompts, responses, budget, packed=packed)
    assert sorted(place for batch in batches for place in batch) == list(range(len(rows)))
    for batch in batches:
        sizes = [len(prompts[place]) + len(responses[place]) for place in batch]
        if packed:
            distinct = {len(prompts[place]) for place in batch}
            size = sum(distinct) + sum(len(responses[place]) for place in batch)
        else:
            size = max(sizes) * len(batch)
        assert len(batch) == 1 or size <= budget


def test_packed_responses_to_one_prompt_stay_together() -> None:
    prompts = [[1], [2], [1], [2], [1], [2]]
    responses = [[0] * length for length in (9, 8, 7, 6, 5, 4)]
    assert micro_batches(prompts, responses, 22, packed=True) == [[0, 2, 4], [1, 3, 5]]
