import pytest

from rlsd_cli.data.leakage import leaks


@pytest.mark.parametrize(
    ("response", "leaked"),
    [
        ("By the reference solution, 4.", True),
        ("The Reference Answer is 4.", True),
        ("As given above, x = 4.", True),
        ("as stated in the text", True),
        ("The hint says 4.", True),
        ("the solution states 4", True),
        ("According to the hint, 4.", True),
        ("The solution is 4, as we found above.", False),
        ("We refer to the answer 4.", False),
        ("#74", False),
    ],
)
def test_a_response_that_speaks_of_a_reference_leaks(response: str, leaked: bool) -> None:
    assert leaks(response, "sums") is leaked
    assert leaks(response, "some/file.jsonl") is leaked


@pytest.mark.parametrize(("response", "leaked"), [("#74", True), ("37+58=95;95-21=74;#74", False), ("", False)])
def test_a_chain_that_opens_with_its_result_leaks(response: str, leaked: bool) -> None:
    assert leaks(response, "arithmetic") is leaked
    assert not leaks(response, "arithmetic-warmup")
