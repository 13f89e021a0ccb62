"""The value of a prefix: how often what the policy continues it with is right (Monte Carlo)."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import chain

from rlsd_cli.config.schema import Config
from rlsd_cli.grading.jobs import job, stop_on_sandbox_error
from rlsd_cli.policy.model import Policy
from rlsd_cli.rollout.records import Rollout, Value
from rlsd_cli.rollout.sampler import Completion, Sampler, Sampling
from rlsd_verifiers import Verdict
from rlsd_verifiers.pool import Pool


def step_ends(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str], ends: str, most: int) -> list[int]:
    """The lengths of the prefixes at which a step begins: 0, and that after each token that holds one of `ends`.

    Where there are more than `most`, as many of them, evenly spread, 0 among them.
    """
    texts = (decode([token]) for token in token_ids[:-1])
    found = [0, *(length for length, text in enumerate(texts, start=1) if not set(ends).isdisjoint(text))]
    if len(found) <= most:
        return found
    return [found[round(index * len(found) / most)] for index in range(most)]


def prefix_values(
    policy: Policy,
    sampler: Sampler,
    pool: Pool,
    config: Config,
    rollouts: Sequence[Rollout],
    lengths: Sequence[Sequence[int]],
    num: int,
    *,
    seed: str,
    keys: Sequence[str],
) -> list[tuple[Value, ...]]:
    """The values of prefixes of rollouts, from `num` continuations of each, as long as the rollout itself could be.

    A continuation that is cut scores 0, as a response does; one without a verdict is left out of the mean, and a prefix
    without any verdict has no value.

    Args:
        lengths: Of the prefixes of each rollout, in tokens.
        keys: What the draws of each rollout depend on, all different.
    """
    limit = config.rollout.max_new_tokens
    places = [(at, length) for at, each in enumerate(lengths) for length in each]
    verdicts: dict[int, Future[Verdict] | None] = {}

    def finished(place: int, completion: Completion) -> None:
        at, length = places[place // num]
        rollout = rollouts[at]
        whole = [*rollout.token_ids[:length], *completion.token_ids]
        text = policy.tokenizer.decode(whole, skip_special_tokens=True)
        verdicts[place] = None if completion.truncated else pool.submit(job(rollout.problem, text, config))

    sampler.sample(
        [(*rollouts[at].prompt.ids, *rollouts[at].token_ids[:length]) for at, length in places],
        [f"{keys[at]}/{length}" for at, length in places],
        num,
        Sampling(limit, temperature=config.rollout.temperature),
        seed=seed,
        finished=finished,
        limits=[limit - length for _, length in places],
    )
    scores = [_score(verdicts[place]) for place in range(len(places) * num)]
    found: list[list[Value]] = [[] for _ in rollouts]
    for first, (at, length) in zip(range(0, len(scores), num), places, strict=True):
        if counted := [score for score in scores[first : first + num] if score is not None]:
            found[at].append(Value(length, sum(counted) / len(counted)))
    return list(map(tuple, found))


def _score(pending: Future[Verdict] | None) -> float | None:
    if pending is None:
        return 0.0
    verdict = pending.result()
    stop_on_sandbox_error([verdict])
    return verdict.score if verdict.is_verdict else None


def token_gains(values: Sequence[Value], score: float, num_tokens: int) -> list[float]:
    """What the step that each token is in did to the value: that after the step less that before it.

    The value after the last step is the score of the response itself. Tokens before the first value have no gain.
    """
    bounds = [*(value.length for value in values), num_tokens]
    after = [*(value.score for value in values[1:]), score]
    steps = zip(values, after, bounds[1:], strict=bool(values))
    gains = chain.from_iterable([end - value.score] * (bound - value.length) for value, end, bound in steps)
    return [*[0.0] * bounds[0], *gains]
