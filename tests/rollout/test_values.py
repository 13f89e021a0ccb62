"""Values of prefixes: where steps begin, what a step gained, and what stands behind a value."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.rollout import values as values_module
from rlsd_cli.rollout.records import Value
from rlsd_cli.rollout.sampler import Completion, Finished
from rlsd_cli.rollout.values import prefix_values, step_ends, token_gains
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import begin, judged, question, with_problems, with_responses


def decode(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def ids(text: str) -> list[int]:
    return [*map(ord, text)]


def test_a_step_begins_at_the_start_and_after_each_end_but_not_behind_the_last_token() -> None:
    assert step_ends(ids("2+3=5;5+1=6;#6"), decode, ";\n", most=9) == [0, 6, 12]
    assert step_ends(ids("2+3=5;"), decode, ";", most=9) == [0]
    assert step_ends(ids("#6"), decode, ";", most=9) == [0]


def test_more_steps_than_are_wanted_are_joined_evenly_with_the_start_among_them() -> None:
    assert step_ends(ids("a;b;c;d;e;f;g"), decode, ";", most=3) == [0, 4, 10]
    assert step_ends(ids("a;b;c;d"), decode, ";", most=1) == [0]


def test_gains_add_up_to_the_score_less_the_first_value() -> None:
    values = [Value(0, 0.25), Value(2, 0.75), Value(3, 0.5)]
    gains = token_gains(values, 1.0, 5)
    assert gains == [0.5, 0.5, -0.25, 0.5, 0.5]
    assert gains[0] + gains[2] + gains[3] == 1.0 - 0.25


def test_tokens_before_the_first_value_and_all_without_one_have_no_gain() -> None:
    assert token_gains([Value(2, 0.5)], 1.0, 4) == [0.0, 0.0, 0.5, 0.5]
    assert token_gains([], 1.0, 3) == [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def start(configure: Callable[..., Config]) -> Iterator[Callable[..., Trainer]]:
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))
        yield lambda **keys: begin(configure({key.replace("__", "."): value for key, value in keys.items()}), pool)


def values_of(trainer: Trainer, answers: list[tuple[str, bool]], num: int) -> tuple[tuple[Value, ...], list[Any]]:
    """The values of two prefixes of `2+3=5;#5` whose continuations are given in turn, cut where that is True."""
    with_problems(trainer, [question()])
    with_responses(trainer, ["2+3=5;#5"])
    rollout = judged(trainer)[0].members[0].rollout
    policy, seen = trainer.learner.policy, list[Any]()

    def sample(
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        samples: int,
        *_: object,
        finished: Finished,
        limits: Sequence[int],
        **__: object,
    ) -> list[Completion]:
        seen.extend((tuple(prompt), key, limit) for prompt, key, limit in zip(prompts, keys, limits, strict=True))
        for place in range(len(prompts) * samples):
            text, cut = answers[place % len(answers)]
            tokens = policy.tokenizer(text, add_special_tokens=False)["input_ids"] + [next(iter(policy.eos_ids))]
            finished(place, Completion(tokens, [-1.0] * len(tokens), cut))
        return []

    trainer.learner.sampler.sample = sample  # type: ignore[method-assign,assignment]
    source = trainer.experience.source  # type: ignore[attr-defined]
    (found,) = prefix_values(
        policy, trainer.learner.sampler, source.pool, trainer.config, [rollout], [[0, 6]], num, seed="s", keys=["k"]
    )
    assert seen[1][0] == (*rollout.prompt.ids, *rollout.token_ids[:6])
    return found, seen


def test_a_value_is_the_mean_score_of_what_follows_the_prefix(start: Callable[..., Trainer]) -> None:
    trainer = start(method="rlvr")
    found, seen = values_of(trainer, [("#5", False), ("#6", False), ("#5", False), ("#5", False)], 4)
    assert found == (Value(0, 0.75), Value(6, 0.75))
    limit = trainer.config.rollout.max_new_tokens
    assert [each[2] for each in seen] == [limit, limit - 6], "a continuation is as long as the response could be"
    assert len({each[1] for each in seen}) == 2, "prefixes draw apart from each other"


def test_a_continuation_that_is_cut_scores_0(start: Callable[..., Trainer]) -> None:
    assert values_of(start(method="rlvr"), [("#5", True), ("#5", False)], 2)[0] == (Value(0, 0.5), Value(6, 0.5))


def test_a_continuation_without_a_verdict_is_left_out_and_a_prefix_without_any_has_no_value(
    start: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([None, 1.0, None, None])
    monkeypatch.setattr(values_module, "_score", lambda _: next(scores))
    found, _ = values_of(start(method="rlvr"), [("#5", False)], 2)
    assert found == (Value(0, 1.0),)
