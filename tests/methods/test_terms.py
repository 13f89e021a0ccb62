"""Terms, routes, denominators, rules and views, in methods that are made here and are in no table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from rlsd_cli.config.schema import Config, config_type
from rlsd_cli.core.evidence import Credit, Evidence, Reading
from rlsd_cli.data import views as views_module
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.methods.base import Distill, Likelihood, Method, PolicyGradient, Route, Term, View, at_most, uniform
from rlsd_cli.rollout.records import Group, Judged, Prompt, Rollout
from rlsd_cli.training import losses as losses_module
from rlsd_cli.training.assemble import Batch, assemble
from rlsd_cli.training.passes import Scored
from rlsd_cli.training.reading import Read, Readings, Taught
from rlsd_cli.training.trainer import Trainer
from tests.training.steps import assert_equal, begin, dry_update, gradients, judged, question, read, taught

Begin = Callable[..., Trainer]
MakeConfig = Callable[..., Config]


def numbered(*numbers: int) -> Route:
    """The rollouts of these numbers in their group."""
    return lambda attempt, *_: attempt.number in numbers


EVEN, ODD, FIRST, LATER, NOBODY = numbered(0, 2), numbered(1, 3), numbered(0), numbered(1, 2), numbered()


def method_of(*terms: Term, **parts: Any) -> Method:
    return Method(name="made", summary="made for a test", source="none", terms=terms, **parts)


@pytest.fixture(scope="module")
def make_config(configure: Callable[..., Config]) -> MakeConfig:
    """`make(method, overrides)`: a small config of a method that is in no table."""

    def make(method: Method, overrides: dict[str, Any] | None = None) -> Config:
        class Own(config_type("rlsd")):  # type: ignore[misc]
            credit: method.settings = method.settings()  # type: ignore[name-defined]

            @property
            def recipe(self) -> Method:
                return method

        tree = configure({"method": "rlsd"}).model_dump(exclude={"credit"})
        for key, value in {"loss.reduction": "token_mean", **method.defaults, **(overrides or {})}.items():
            section, _, name = key.rpartition(".")
            (tree[section] if section else tree)[name] = value
        config: Config = Own.model_validate(tree)
        return config

    return make


@pytest.fixture(scope="module")
def start(make_config: MakeConfig, configure: Callable[..., Config]) -> Iterator[Begin]:
    """`start(method, overrides)`: a trainer at its first step."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(configure()))
        yield lambda method, overrides=None: begin(make_config(method, overrides), pool)


# -- terms side by side -----------------------------------------------------------------------------------------------

HINT = {"hint": View("solution")}
SPLIT = (PolicyGradient(route=EVEN, counted="own"), Distill(view="hint", route=ODD, counted="own"))
FROZEN = {"teacher.weights": "frozen"}


@pytest.mark.parametrize("divergence", ["reverse_kl", "sampled_token"])
def test_two_terms_share_a_pass_of_the_student_and_add_up(
    start: Begin, monkeypatch: pytest.MonkeyPatch, divergence: str
) -> None:
    settings = FROZEN | {"distill.divergence": divergence, "optim.tokens_per_microbatch": 120}
    both = start(method_of(*SPLIT, views=HINT), settings)
    groups = judged(both)
    parts = [start(method_of(term, views=HINT), settings) for term in SPLIT]
    losses, applied = zip(*(dry_update(trainer, read(trainer, groups)) for trainer in parts), strict=True)
    assert all(abs(updated.figures.loss) > 1e-3 for updated in losses)

    features, passes = losses_module.features, list[bool]()

    def counted(policy: Any, model: Any, *rest: Any) -> Tensor:
        passes.append(model is policy.model and torch.is_grad_enabled())
        return features(policy, model, *rest)

    monkeypatch.setattr(losses_module, "features", counted)
    given = read(both, groups)
    updated, found = dry_update(both, given)
    batch, _ = assemble(given, both.config)
    num_batches = len(both.learner.passes.cut(batch.longest_prompts, batch.responses))
    assert num_batches > 2
    assert (passes.count(True), passes.count(False)) == (num_batches, num_batches), "the student's, the teacher's"
    assert updated.figures.loss == pytest.approx(sum(each.figures.loss for each in losses), rel=1e-4)
    assert_equal(found, {name: value + applied[1][name] for name, value in applied[0].items()})


@pytest.mark.parametrize(
    ("term", "divergence"),
    [(PolicyGradient, "forward_kl"), (Likelihood, "forward_kl"), (Distill, "forward_kl"), (Distill, "sampled_token")],
)
def test_a_coefficient_may_follow_the_step(start: Begin, term: type[Term], divergence: str) -> None:
    options: dict[str, Any] = {"view": "hint"} if term is Distill else {}
    made = term(coef=lambda _, step: 0.5 * step, **options)
    settings = {"distill.divergence": divergence}
    trainer = start(method_of(made, views=HINT if term is Distill else {}), settings)
    given = taught(trainer)
    (first, one), (third, three) = (dry_update(trainer, given, step) for step in (1, 3))
    assert first.figures.loss != 0
    assert third.figures.loss == pytest.approx(3 * first.figures.loss, rel=1e-4)
    assert_equal(three, {name: 3 * value for name, value in one.items()})
    for key, trace in first.traces.items():
        later = third.traces[key].credit
        assert (trace.credit is None) == (later is None) == (term is not PolicyGradient)
        if trace.credit is not None:
            torch.testing.assert_close(later, 3 * trace.credit)


def test_credits_of_two_terms_add_up_and_each_weighs_its_own_tokens(start: Begin) -> None:
    def first_half(evidence: Evidence, *_: object) -> Tensor:
        return (torch.arange(evidence.mask.shape[1]) < evidence.mask.sum(1, keepdim=True) // 2).float()

    halves = (PolicyGradient(tokens=first_half), PolicyGradient(tokens=lambda *given: 1.0 - first_half(*given)))
    whole, cut = start(method_of(PolicyGradient())), start(method_of(*halves))
    groups = judged(whole)
    (expected, one), (updated, other) = (dry_update(each, read(each, groups)) for each in (whole, cut))
    assert updated.figures.loss == pytest.approx(expected.figures.loss, rel=1e-4)
    assert_equal(one, other)


# -- denominators and rules, by hand ----------------------------------------------------------------------------------

LENGTHS = (2, 3, 1)


def taught_of(sampled_logp: float = -1.0, readings: Sequence[Readings] = ({}, {}, {})) -> Taught:
    """A group of three responses, each with an advantage."""
    members = []
    for number, length in enumerate(LENGTHS):
        ids, logp = (7,) * length, (sampled_logp,) * length
        members.append(Judged(Rollout(question(), number, Prompt((1,)), ids, logp, False, ""), score=0.0))
    return Taught(Group(0, tuple(members), (1.0, -0.5, -0.5)), tuple(readings))


def assembled(config: Config, given: Taught) -> Batch:
    batch, _ = assemble([given], config)
    assert batch.keys == ((0, 0), (0, 1), (0, 2))
    assert batch.columns.weights[0].shape == (3, 3)
    return batch


def rows(*values: float, lengths: Sequence[int] = LENGTHS) -> Tensor:
    """A value for every token of each response."""
    return torch.tensor(
        [[value] * length + [0.0] * (3 - length) for value, length in zip(values, lengths, strict=True)]
    )


@pytest.mark.parametrize(
    ("reduction", "counted", "first", "later"),
    [
        ("sequence_mean", "all", (1 / 6, 0, 0), (0, 1 / 9, 1 / 3)),
        ("sequence_mean", "own", (1 / 2, 0, 0), (0, 1 / 6, 1 / 2)),
        ("token_mean", "all", (1 / 6, 0, 0), (0, 1 / 6, 1 / 6)),
        ("token_mean", "own", (1 / 2, 0, 0), (0, 1 / 4, 1 / 4)),
        ("constant", "all", (1 / 30, 0, 0), (0, 1 / 30, 1 / 30)),
        ("constant", "own", (1 / 10, 0, 0), (0, 1 / 20, 1 / 20)),
    ],
)
def test_a_term_is_divided_by_its_own_tokens_or_by_those_of_all(
    make_config: MakeConfig,
    reduction: str,
    counted: Literal["own", "all"],
    first: tuple[float, ...],
    later: tuple[float, ...],
) -> None:
    terms = (PolicyGradient(route=FIRST, counted=counted), Likelihood(route=LATER, counted=counted))
    config = make_config(method_of(*terms), {"loss.reduction": reduction, "rollout.max_new_tokens": 10})
    found = assembled(config, taught_of()).columns.weights
    torch.testing.assert_close(found, (rows(*first), rows(*later)))


def test_what_a_term_alone_counts_is_in_no_other_denominator(make_config: MakeConfig) -> None:
    terms = (PolicyGradient(route=FIRST), Likelihood(route=LATER, counted="own"))
    found = assembled(make_config(method_of(*terms)), taught_of()).columns.weights
    torch.testing.assert_close(found, (rows(1 / 2, 0, 0), rows(0, 1 / 4, 1 / 4)))


def test_what_has_no_gradient_stays_in_the_denominator_and_what_no_term_is_about_does_not(
    make_config: MakeConfig,
) -> None:
    given = taught_of()
    still = given._replace(group=given.group._replace(advantages=(0.5, -0.5, 0.0)))
    batch, nowhere = assemble([still], make_config(method_of(PolicyGradient())))
    assert (batch.keys, nowhere) == (((0, 0), (0, 1)), {})
    torch.testing.assert_close(batch.columns.weights[0], rows(1 / 6, 1 / 6, lengths=(2, 3)))
    batch, nowhere = assemble([still], make_config(method_of(PolicyGradient(route=LATER))))
    assert (batch.keys, nowhere) == (((0, 1),), {(0, 0): "no_term"})
    torch.testing.assert_close(batch.columns.weights[0], rows(1 / 4, lengths=(3,)))


def test_a_rule_weighs_tokens_and_those_without_weight_are_not_counted(make_config: MakeConfig) -> None:
    def twice_the_first(evidence: Evidence, *_: object) -> Tensor:
        weight = torch.full(evidence.mask.shape, torch.nan)  # of what is no token nothing is asked
        weight[evidence.mask] = 0.0
        weight[:, 0] = 2.0
        return weight

    config = make_config(method_of(PolicyGradient(tokens=twice_the_first)))
    (found,) = assembled(config, taught_of()).columns.weights
    torch.testing.assert_close(found, rows(2 / 3, 2 / 3, 2 / 3, lengths=(1, 1, 1)))


def test_a_rule_sees_the_scores_and_what_sampler_and_teacher_said(make_config: MakeConfig) -> None:
    scored = Scored(torch.tensor([-0.5, -2.0]), torch.zeros(2))
    readings = [{"hint": Read(((1,),), 2, (scored,))}, {}, {"hint": Read((), 1)}]

    def likelier(evidence: Evidence, *_: object) -> Tensor:
        assert evidence.score.tolist() == [0.0] * 3
        assert torch.equal(evidence.logp, evidence.sampled_logp)
        return (evidence.gap("hint")[:, 0] > 0).float()

    config = make_config(method_of(PolicyGradient(tokens=likelier, counted="own"), views=HINT))
    (found,) = assembled(config, taught_of(-1.0, readings)).columns.weights
    torch.testing.assert_close(found, rows(1.0, 0, 0, lengths=(1, 3, 1)))


# -- views ------------------------------------------------------------------------------------------------------------


def test_a_rollout_that_a_distillation_shows_nothing_for_is_left_out_and_said(start: Begin) -> None:
    trainer = start(method_of(Distill(view="hint"), views={"hint": View("solution", where=EVEN)}))
    metrics, records = trainer.step(1)
    unshown = [record for record in records if record.sample % 2]
    assert metrics["left_out"] == {"no_view": len(unshown)}
    assert [record.left_out for record in unshown] == ["no_view"] * len(unshown)
    assert all(record.teacher_logp is None and not record.counted for record in unshown)
    shown = [record for record in records if record.sample % 2 == 0]
    assert all(record.teacher_logp and record.counted and record.student_logp for record in shown)
    assert metrics["trained_tokens"] == sum(len(record.token_ids) for record in shown)


def test_beside_another_term_what_is_not_shown_stays_in_that_and_weighs_nothing_in_the_distillation(
    start: Begin,
) -> None:
    settings = FROZEN | {"distill.divergence": "reverse_kl"}
    views = {"hint": View("solution", where=EVEN)}
    terms = (PolicyGradient(counted="own"), Distill(view="hint", counted="own"))
    both, alone = start(method_of(*terms, views=views), settings), start(method_of(terms[0]), settings)
    distilled = start(method_of(terms[1], views=views), settings)
    groups = judged(both)
    one, other = (gradients(trainer, read(trainer, groups)) for trainer in (alone, distilled))
    assert_equal(gradients(both, read(both, groups)), {name: value + other[name] for name, value in one.items()})
    metrics, records = start(method_of(*terms, views=views), settings).step(1)
    assert metrics["left_out"] == {}
    assert all(record.counted for record in records)
    assert all(record.teacher_logp is None for record in records if record.sample % 2)


def test_where_nobody_is_shown_anything_the_teacher_makes_its_pass_all_the_same(
    start: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sharded teacher, other processes may wait for it."""
    views = {"hint": View("solution", where=NOBODY)}
    trainer = start(method_of(PolicyGradient(), Distill(view="hint"), views=views), FROZEN)
    features, passes = losses_module.features, list[bool]()

    def counted(policy: Any, model: Any, *rest: Any) -> Tensor:
        passes.append(model is policy.model)
        return features(policy, model, *rest)

    monkeypatch.setattr(losses_module, "features", counted)
    metrics, _ = trainer.step(1)
    assert metrics["trained_tokens"] > 0
    assert metrics["teacher_student_gap_mean"] is None
    assert passes.count(False) == passes.count(True) > 0


def test_what_two_views_are_distilled_for_is_recorded_of_both(start: Begin) -> None:
    views = {"solution": View("solution", where=EVEN), "answer": View("answer", where=ODD)}
    trainer = start(method_of(*(Distill(view=name) for name in views), views=views), FROZEN)
    metrics, records = trainer.step(1)
    for record in records:
        torch.testing.assert_close(
            torch.tensor(record.student_logp), torch.tensor(record.sampled_logp), atol=1e-4, rtol=0
        )
        assert record.teacher_logp
    gaps = [t - s for r in records for t, s in zip(r.teacher_logp or [], r.student_logp or [], strict=True)]
    assert metrics["teacher_student_gap_mean"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-5)
    assert metrics["trained_tokens"] == len(gaps)


def test_a_view_of_several_texts_is_read_once_for_each(start: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        views_module.OF_GROUPS,  # type: ignore[arg-type]
        "digits",
        lambda attempt, _: ("4", "7", "9")[: 3 if attempt.number % 2 == 0 else 1],
    )
    seen: list[Reading] = []

    def rule(evidence: Evidence, settings: Any, step: int) -> Credit:
        seen.append(evidence.readings["pair"])
        return uniform(evidence, settings, step)

    views = {"pair": View("digits", most=at_most(2))}
    trainer = start(method_of(PolicyGradient(credit=rule), views=views), {"optim.tokens_per_microbatch": 100_000})
    given = taught(trainer)
    batch, _ = assemble(given, trainer.config)
    reading, teacher = batch.columns.readings["pair"], trainer.learner.models.teacher_model
    assert reading.logp.shape == (len(batch.keys), 2, batch.columns.mask.shape[1])
    for row, (group, place) in enumerate(batch.keys):
        prompts, response = given[group].readings[place]["pair"].prompts, batch.responses[row]
        assert len(prompts) == (2 if place % 2 == 0 else 1)
        for text in range(2):
            assert reading.shown[row, text].sum() == (len(response) if text < len(prompts) else 0)
            if text < len(prompts):
                (alone,) = trainer.learner.passes.score([prompts[text]], [response], [[0]], teacher).values()
                torch.testing.assert_close(reading.logp[row, text, : len(response)], alone.logp, atol=1e-4, rtol=0)
            else:
                assert not reading.logp[row, text].any()
    updated = trainer.learner.update(given, 1)
    (micro,) = seen
    (cut,) = trainer.learner.passes.cut(batch.longest_prompts, batch.responses)
    assert torch.equal(micro.logp, reading.logp[cut])
    assert torch.equal(micro.shown, reading.shown[cut])
    for key, trace in updated.traces.items():
        assert trace.teacher_logp is not None
        torch.testing.assert_close(trace.teacher_logp, given[key[0]].readings[key[1]]["pair"].scored[0].logp)
