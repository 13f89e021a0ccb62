import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsd_cli.policy.batch import make_batch, pack


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 600))
def test_packing_places_every_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_a_batch_keeps_prompt_and_response_apart() -> None:
    batch = make_batch([[5, 6], [7]], [[8], [9, 10, 11]], pad_id=0, device=torch.device("cpu"))
    assert batch.input_ids.tolist() == [[5, 6, 8, 0], [7, 9, 10, 11]]
    assert batch.prompt_lengths.tolist() == [2, 1]
    assert batch.response_ids.tolist() == [[8, 0, 0], [9, 10, 11]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
