"""Word n-grams, and the near duplicates and the contamination that are found with them."""

import subprocess
import sys
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsd_cli.data.cleaning.contamination import MAX_OWNERS, MOST, ContaminationIndex, Target
from rlsd_cli.data.cleaning.minhash import BANDS, ROWS, MinHashLSH
from rlsd_cli.data.cleaning.ngrams import details, jaccard, ngrams, words
from rlsd_cli.data.problems import content_hash

LEXICON = [a + b for a in "bdfgklmnprst" for b in ("al", "en", "or", "ut", "ish", "and")]


def text_of(random: Random, length: int = 40) -> list[str]:
    return [random.choice(LEXICON) for _ in range(length)]


# -- words and n-grams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain", "masked"),
    [
        ("Tom's 3 apples, and $1,080.50!", "tom s 3 apples and 1,080.50", "tom s 0 apples and 0"),
        ("x^2+3x=\\frac{1}{2}", "x ^ 2 + 3 x = frac 1 2", "x ^ 0 + 0 x = frac 0 0"),
        ("\\left( \\dfrac12 \\right) \\(y^{2}\\)", "( frac 12 ) y ^ 2", "( frac 0 ) y ^ 0"),
        ("\uff08\uff11\uff12\uff09\uff0c \u2212x", "( 12 ) - x", "( 0 ) - x"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9", "\u00e9t\u00e9"),
        ("Seventeen of One Hundred", "seventeen of one hundred", "0 of 0 0"),
        ("\u4e09 x \u5341\u4e8c", "\u4e09 x \u5341 \u4e8c", "\u4e09 x \u5341 \u4e8c"),
        (" . ", "", ""),
    ],
)
def test_words_are_folded_and_numbers_can_be_masked(text: str, plain: str, masked: str) -> None:
    assert words(text) == plain.split()
    assert words(text, masked=True) == masked.split()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Find 10! + 5!.", "Find 10 + 5!."),
        ("Find f'(x) at 3.", "Find f(x) at 3."),
        ("Add 4 + x.", "Add 4 - x."),
        ("Has 12 and 30.", "Has 30 and 12."),
        ("for i in x:\n  f(i)\n  g()", "for i in x:\n  f(i)\ng()"),
        ("Find n!", "Find n"),
    ],
)
def test_details_tell_apart_what_has_the_same_words(one: str, other: str) -> None:
    assert details(one) != details(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Tom's 1,080 apples!", "Toms 1080 apples?"), ("x \u2212 1", "x - 1"), ("Oh, 3 of them", 'Oh "3" of them.')],
)
def test_details_do_not_depend_on_looks(one: str, other: str) -> None:
    assert details(one) == details(other)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), max_size=6), st.integers(1, 4))
def test_hashed_ngrams_are_equal_exactly_where_the_words_are(texts: list[list[str]], n: int) -> None:
    grams = ngrams(texts, n)
    seen: dict[int, tuple[str, ...]] = {}
    for index, text in enumerate(texts):
        expected = [tuple(text[i : i + n]) for i in range(max(len(text) - n + 1, min(len(text), 1)))]
        values = grams.of(index).tolist()
        assert len(values) == len(expected)
        for value, gram in zip(values, expected, strict=True):
            assert seen.setdefault(value, gram) == gram
    assert len(set(seen.values())) == len(seen)


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from rlsd_cli.data.cleaning.ngrams import ngrams; print(ngrams([['a', 'b', 'c']], 2).values.tolist())"
    outputs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert outputs == {f"{ngrams([['a', 'b', 'c']], 2).values.tolist()}\n"}


def test_jaccard_is_that_of_the_sets() -> None:
    first, second = (np.array(values, dtype=np.uint64) for values in ([1, 2, 2, 3], [2, 3, 4, 4, 5]))
    assert jaccard(first, second) == pytest.approx(2 / 5)
    assert jaccard(first[:0], second[:0]) == 0.0


# -- near duplicates -----------------------------------------------------------------------------------------------


def candidates(texts: list[list[str]], keys: list[int] | None = None) -> dict[int, list[int]]:
    with MinHashLSH() as lsh:
        for start in range(0, len(texts), 7):
            part = texts[start : start + 7]
            given_keys = keys[start : start + 7] if keys else [0] * len(part)
            lsh.add(ngrams(part, 3), np.array(given_keys, dtype=np.uint64))
        return dict(lsh.candidates())


@pytest.mark.parametrize(("changed", "low", "high"), [(1, 0.97, 1.0), (12, 0.0, 0.35)])
def test_similar_texts_are_proposed_and_others_hardly_ever(changed: int, low: float, high: float) -> None:
    """One word of 40 leaves a Jaccard similarity of 0.85, where 1 - (1 - s^6)^20 is 0.9999; twelve leave about 0.2."""
    assert (BANDS, ROWS) == (20, 6)
    random, texts = Random(0), []
    for _ in range(300):
        text = text_of(random)
        other = [*text]
        for place in random.sample(range(40), changed):
            other[place] = "changed" + str(random.random())
        texts += [text, other]
    found = candidates(texts)
    rate = sum(later % 2 == 1 and later - 1 in firsts for later, firsts in found.items()) / 300
    assert low <= rate <= high
    assert sum(later % 2 == 0 for later in found) < 6


def test_equal_texts_are_all_put_beside_the_first_of_them() -> None:
    random = Random(0)
    same, others = text_of(random), [text_of(random) for _ in range(20)]
    found = candidates([*others, same, same, *others[:3], same])
    assert found == {21: [20], 22: [0], 23: [1], 24: [2], 25: [20]}


def test_texts_of_different_keys_are_never_proposed() -> None:
    same = text_of(Random(0))
    assert candidates([same, same, same], [1, 2, 1]) == {2: [0]}


def test_no_texts_give_no_candidates() -> None:
    assert candidates([]) == {}
    assert candidates([[], []]).keys() <= {1}


# -- contamination -------------------------------------------------------------------------------------------------

HELD = "Bella bought 11 snowflake stamps and 9 more truck stamps than snowflake stamps at the post office. How many?"


def contamination(held: list[str], trained: list[str]) -> list[tuple[int, str, float]]:
    index = ContaminationIndex(Target("test", "id", content_hash(question), question) for question in held)
    found = index.find(trained)
    return [(each.place, each.kind, round(each.share, 3)) for each in found]


def test_an_evaluation_problem_is_found_exactly_with_other_numbers_and_inside_another_text() -> None:
    trained = [
        "Something else altogether that nobody held out, about 11 trees and their 9 many leaves.",
        HELD.replace(" ", "  ").replace("9", "9\n"),
        HELD.replace("11", "1,207").replace("9", "three").upper(),
        f"Read this first. {HELD} Then answer in one word.",
        " ".join(HELD.split()[:14]) + " for somebody.",
    ]
    assert contamination([HELD, "Another question that nobody has."], trained) == [
        (1, "exact", 1.0),
        (2, "numbers", 1.0),
        (3, "near", 1.0),
        (4, "near", 0.583),
    ]


def test_a_question_shorter_than_an_ngram_is_found_as_a_whole_only() -> None:
    assert contamination(["What is 3 + 4?"], ["What is 30 + 4?", "What is 3 + 4 - 2?", "What is 3 + 4?"]) == [
        (0, "numbers", 1.0),
        (2, "exact", 1.0),
    ]


def test_a_template_that_many_evaluation_problems_share_tells_nothing_but_a_repeat_does() -> None:
    template = "A farmer has {} cows and sells {} of them at the market on a rainy day. How many are left?"
    held = [template.format(n + 50, n) for n in range(MAX_OWNERS + 1)]
    assert contamination(held, [template.format(7, 6), held[3]]) == [(1, "exact", 1.0)]
    assert contamination(held[:2], [template.format(7, 6)]) == [(0, "numbers", 1.0), (0, "numbers", 1.0)]


@pytest.mark.parametrize("count", [MAX_OWNERS, MAX_OWNERS + 1, MAX_OWNERS + 9])
def test_words_of_a_template_count_on_neither_side(count: int) -> None:
    template = "Here is a problem of the autumn contest, which you are asked to solve with care, at home, and alone: {}"
    held = [template.format(" ".join(text_of(Random(n), 20))) for n in range(count)]
    assert contamination(held, [f"Read this. {held[3]} Go on."]) == [(0, "near", 1.0)]


def test_of_evaluation_problems_that_ask_the_same_some_are_named() -> None:
    assert contamination([HELD] * 500, [HELD]) == [(0, "exact", 1.0)] * MOST


def test_without_evaluation_problems_there_is_nothing_to_find() -> None:
    assert contamination([], [HELD]) == []
    assert contamination([HELD], []) == []
