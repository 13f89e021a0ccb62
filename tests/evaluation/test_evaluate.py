"""An evaluation's draws and rows: what they depend on, and what they do not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem, select
from rlsd_cli.evaluation.evaluate import conclude, evaluate, summarise
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.policy.model import Policy, load_policy
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.sampler import Sampling
from rlsd_verifiers.pool import Pool
from tests.training.steps import splits_of

DRAWN = {"evaluation.samples": 3, "evaluation.temperature": 1.0, "evaluation.problems": 6}
Rows = list[dict[str, Any]]
NAMED = {"extracted": "1", "verifier": "exact"}


@pytest.fixture(scope="module")
def policy(configure: Callable[..., Config]) -> Policy:
    return load_policy(configure())


@pytest.fixture(scope="module")
def pool(configure: Callable[..., Config]) -> Iterator[Pool]:
    with open_pool(configure()) as pool:
        yield pool


@pytest.fixture
def run(configure: Callable[..., Config], policy: Policy, pool: Pool) -> Callable[..., Rows]:
    """Rows of an evaluation of problems, by default the first held-out ones."""

    def evaluated(problems: list[Problem] | None = None, **overrides: Any) -> Rows:
        config = configure(DRAWN | {key.replace("__", "."): value for key, value in overrides.items()})
        chosen = select(splits_of(config).held_out, 6) if problems is None else problems
        return evaluate(policy, make_sampler(policy, config), chosen, config, pool)

    return evaluated


def responses(rows: Rows) -> dict[tuple[str, int], str]:
    return {(row["problem_id"], row["sample"]): row["response"] for row in rows}


def test_rows_are_the_samples_of_each_problem_in_order(run: Callable[..., Rows]) -> None:
    rows = run()
    ids = list(dict.fromkeys(row["problem_id"] for row in rows))
    assert len(ids) == 6
    assert [(row["problem_id"], row["sample"]) for row in rows] == [(name, at) for name in ids for at in range(3)]
    assert len({row["response"] for row in rows}) > 6, "samples of a problem differ"


def test_draws_do_not_depend_on_which_other_problems_are_evaluated(
    run: Callable[..., Rows], configure: Callable[..., Config]
) -> None:
    problems = select(splits_of(configure()).held_out, 6)
    whole = responses(run(problems))
    part = responses(run(list(reversed(problems[2:5]))))
    assert len(part) == 9
    assert part.items() <= whole.items()
    fewer = responses(run(problems, evaluation__samples=2))
    assert fewer.items() <= whole.items()


def test_a_problem_that_occurs_twice_is_drawn_for_twice(
    run: Callable[..., Rows], configure: Callable[..., Config]
) -> None:
    problem = splits_of(configure()).held_out[0]
    rows = run([problem, problem], evaluation__samples=8)
    assert [row["response"] for row in rows[:8]] != [row["response"] for row in rows[8:]]


def test_draws_are_those_of_the_seed_and_not_those_of_training(
    run: Callable[..., Rows], configure: Callable[..., Config], policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert responses(run()) == responses(run())
    assert responses(run()) != responses(run(seed=1))
    seeds: list[str] = []
    sample = type(make_sampler(policy, configure())).sample

    def watched(self: Any, *arguments: Any, seed: str, **options: Any) -> Any:
        seeds.append(seed)
        return sample(self, *arguments, seed=seed, **options)

    monkeypatch.setattr(type(make_sampler(policy, configure())), "sample", watched)
    run(seed=7)
    assert seeds == ["7/evaluation"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, Sampling(56, temperature=1.0, top_p=1.0, top_k=0)),
        ({"evaluation__temperature": 0.6}, Sampling(56, temperature=0.6, top_p=1.0, top_k=0)),
        ({"evaluation__top_p": 0.9}, Sampling(56, temperature=1.0, top_p=0.9, top_k=0)),
        ({"evaluation__top_k": 5}, Sampling(56, temperature=1.0, top_p=1.0, top_k=5)),
        ({"evaluation__max_new_tokens": 9}, Sampling(9, temperature=1.0, top_p=1.0, top_k=0)),
        ({"rollout__temperature": 0.5}, Sampling(56, temperature=1.0, top_p=1.0, top_k=0)),
    ],
)
def test_sampling_is_the_evaluations_own(
    run: Callable[..., Rows],
    configure: Callable[..., Config],
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    overrides: dict[str, Any],
    expected: Sampling,
) -> None:
    seen: list[Sampling] = []
    kind = type(make_sampler(policy, configure()))
    sample = kind.sample

    def watched(self: Any, prompts: Any, keys: Any, samples: int, sampling: Sampling, **options: Any) -> Any:
        seen.append(sampling)
        return sample(self, prompts, keys, samples, sampling, **options)

    monkeypatch.setattr(kind, "sample", watched)
    run(**overrides)
    assert seen == [expected]


def test_problems_are_chosen_by_content_and_not_by_place(configure: Callable[..., Config]) -> None:
    problems = splits_of(configure()).held_out
    chosen = select(problems, 5)
    assert len(chosen) == 5
    assert select(list(reversed(problems)), 5) == chosen
    assert select(problems, 10**9) == sorted(problems, key=lambda problem: (problem.fingerprint, problem.id))


def test_a_response_without_a_verdict_is_in_no_mean(run: Callable[..., Rows], configure: Callable[..., Config]) -> None:
    problems = select(splits_of(configure()).held_out, 3)
    spoiled = [problems[0]._replace(answer="1/0", verifier="numeric"), *problems[1:]]
    rows = run(spoiled)
    assert [row["score"] for row in rows[:3]] == [None] * 3
    summary = conclude(rows, configure(DRAWN), 1.0, spoiled).summary
    judged = [row["score"] for row in rows[3:]]
    assert None not in judged
    assert summary["n"] == 2
    assert summary["mean"] == pytest.approx(sum(judged) / len(judged))


def test_the_problems_evaluated_do_not_depend_on_their_order() -> None:
    problems = [Problem(f"{n:02}", f"{n:02}", "q", "1") for n in range(20)]
    assert select(problems, 5) == select(problems[::-1], 5) == problems[:5]


def test_a_problem_that_cannot_be_graded_is_counted_and_leaves_the_mean() -> None:
    rows = [
        {"score": score, "outcome": outcome, "tokens": 10, "truncated": False, "leaks": score == 0.0, **NAMED}
        for score, outcome in ((1.0, "correct"), (0.0, "wrong"), (None, "bad_reference"), (None, "bad_reference"))
    ]
    summary = summarise(rows, 2)
    assert (summary["n"], summary["mean"], summary["pass_at_k"]) == (1, 0.5, {"1": 0.5, "2": 1.0})
    assert summary["outcomes"] == {"bad_reference": 2, "correct": 1, "wrong": 1}
    assert summary["leakage_rate"] == 0.25
    assert (summary["problems"], summary["responses"], summary["judged"], summary["no_verdict"]) == (2, 4, 2, 2)
    assert summary["pass_at_k_problems"] == {"1": 1, "2": 1}
    nothing = summarise(rows[2:], 2)
    assert (nothing["pass_at_k_problems"], nothing["judged"]) == ({"1": 0, "2": 0}, 0)
    assert (nothing["n"], nothing["mean"], nothing["ci95"], nothing["pass_at_k"]) == (
        0,
        None,
        None,
        {"1": None, "2": None},
    )


def test_a_missing_verdict_leaves_its_problem_in_every_mean_that_can_be_had_without_it() -> None:
    scores = [[1.0, None, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [None, None, None, None], [1.0, 1.0, None, None]]
    rows = [
        {"score": score, "outcome": "crash" if score is None else "judged", "tokens": 1, "truncated": 0, "leaks": 0}
        | NAMED
        for group in scores
        for score in group
    ]
    summary = summarise(rows, 4)
    assert summary["pass_at_k_problems"] == {"1": 3, "2": 3, "4": 1}
    assert summary["pass_at_k"] == {
        "1": pytest.approx((1 / 3 + 1 / 2 + 1) / 3),
        "2": pytest.approx((2 / 3 + 5 / 6 + 1) / 3),
        "4": 1.0,
    }
    assert (summary["problems"], summary["n"], summary["mean"]) == (4, 3, summary["pass_at_k"]["1"])
    assert (summary["responses"], summary["judged"], summary["no_verdict"]) == (16, 9, 7)
