"""Methods that read the response after a view: their golden numbers, the rollouts that they are about, their limits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from rlsd_cli.config.schema import Config
from rlsd_cli.core.evidence import Credit
from rlsd_cli.core.weights import token_weights
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods import (
    amr_sd,
    antisd,
    cepo,
    credit_pmi,
    first_disagreement,
    h2sd,
    opdvr,
    rlcsd,
    rlsd,
    sdar,
    sdpg,
    self_contrast,
    sipo,
    srpo,
)
from rlsd_cli.methods.base import STUDENT, Attempt
from rlsd_cli.methods.rules import all_failed
from tests.methods.evidence import evidence, reading

GOLDEN = {"rtol": 0, "atol": 1e-5}
STUDENT_LOGP, TOLD = [-0.10, -0.50, -1.20, -2.00], [-0.05, -0.80, -1.20, -0.50]
"""A gap of 0.05, -0.3, 0 and 1.5 nats."""
CONTRAST = {"student": [-0.10, -0.50, -1.20], "right": [-0.05, -0.80, -0.30], "wrong": [-0.60, -0.60, -2.30]}


def row(numbers: list[float]) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float32)


def attempt(number: int, correct: bool | None, advantage: float = 0.5, answer: str = "5") -> Attempt:
    score = None if correct is None else float(correct)
    return Attempt(number, STUDENT, f"#{answer}", score, correct, advantage, False, "why", answer)


# -- RLSD and its contrasts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantage", "expected"), [(1.0, [1.25, 0.909365, 1.25]), (-1.0, [-0.788475, -1.110701, -0.75])]
)
def test_cepo_weighs_by_the_right_answer_against_a_wrong_one(advantage: float, expected: list[float]) -> None:
    told = {"hint": reading(CONTRAST["right"]), "wrong": reading(CONTRAST["wrong"])}
    settings = cepo.Settings(mix=0.5, mix_decay_steps=0, clip=0.5)
    assert_close(
        cepo.credit(evidence(advantage, CONTRAST["student"], told), settings, 1).value, row(expected), **GOLDEN
    )


def test_cepo_without_a_wrong_answer_is_grpo() -> None:
    told = {"hint": reading(CONTRAST["right"]), "wrong": reading(CONTRAST["wrong"], shown=False)}
    found = cepo.credit(evidence(0.3, CONTRAST["student"], told), cepo.Settings(), 1)
    assert torch.equal(found.value, torch.full((1, 3), 0.3))


def rlsd_credit(advantage: float, told: list[float] = TOLD, **settings: Any) -> Credit:
    chosen = rlsd.Settings(mix=0.5, mix_decay_steps=0, clip=0.2, **settings)
    return rlsd.credit(evidence(advantage, STUDENT_LOGP, {"hint": reading(told)}), chosen, 1)


@pytest.mark.parametrize("advantage", [1.5, -0.5])
def test_where_the_other_reading_is_the_students_own_a_contrast_is_rlsd(advantage: float) -> None:
    expected = rlsd_credit(advantage).value
    known = {"hint": reading(TOLD), "wrong": reading(STUDENT_LOGP), "own": reading(STUDENT_LOGP)}
    given = evidence(
        advantage, [9.0] * 4, known | {"other": reading(STUDENT_LOGP, STUDENT_LOGP, STUDENT_LOGP, STUDENT_LOGP)}
    )
    same = {"mix": 0.5, "mix_decay_steps": 0, "clip": 0.2}
    for module in (cepo, credit_pmi, self_contrast):
        settings = getattr(module, "Settings", self_contrast.Mixed)(**same)
        assert torch.equal(module.credit(given, settings, 1).value, expected), module.__name__


def test_the_control_is_the_mean_over_the_strangers_that_there_are() -> None:
    for others, mean in (([[-1.0] * 4], -1.0), ([[-1.0] * 4, [-3.0] * 4], -2.0)):
        given = evidence(1.0, [0.0] * 4, {"hint": reading([-2.0] * 4), "other": reading(*others)})
        settings = credit_pmi.Settings(clip=1.0, mix=1.0)
        weight = torch.tensor(-2.0 - mean).exp().clamp(0, 2)
        assert_close(credit_pmi.credit(given, settings, 1).value, torch.full((1, 4), float(weight)))
    assert credit_pmi.METHOD.views["other"].most(credit_pmi.Settings(strangers=3)) == 3


def test_after_the_first_disagreement_the_weight_is_1() -> None:
    given = evidence(1.5, STUDENT_LOGP, {"hint": reading(TOLD)})
    found = first_disagreement.credit(given, first_disagreement.Settings(mix=0.5, clip=0.2, threshold=0.25), 1)
    assert_close(found.value, row([1.538453, 1.35, 1.5, 1.5]), **GOLDEN)
    assert torch.equal(
        first_disagreement.credit(given, first_disagreement.Settings(threshold=0.31), 1).value, rlsd_credit(1.5).value
    )


# -- RLCSD ------------------------------------------------------------------------------------------------------------

SIBLINGS = {"right": reading([-0.2, -1.0, -0.7]), "wrong": reading([-1.2, -0.4, -0.7], [-0.9, -0.6, -0.7])}
PUBLISHED = rlcsd.Settings(temperature=1.3, scale=0.5, limit=2.0, threshold=0.02)


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [(0.3, [0.584223, 0.114986, 0.3]), (-0.1, [0.0, -0.285014, -0.1]), (0.0, [0.0, 0.0, 0.0])],
)
def test_rlcsd_adds_the_contrast_to_the_advantage(advantage: float, expected: list[float]) -> None:
    given = evidence(advantage, [-1.0] * 3, SIBLINGS)
    assert_close(rlcsd.contrasted(given, PUBLISHED, 1).value, row(expected), **GOLDEN)


@pytest.mark.parametrize(("eta", "loss"), [(1.0, -0.649605), (0.5, -0.474802)])
def test_rlcsd_has_a_mean_over_selected_tokens_and_one_over_the_others(eta: float, loss: float) -> None:
    given = evidence(0.3, [-1.0] * 3, SIBLINGS)
    total = 0.0
    for term in rlcsd.METHOD.terms:
        tokens = term.tokens(given, PUBLISHED)  # type: ignore[misc]
        assert term.counted == "own"
        weight = tokens * token_weights(tokens != 0, "token_mean")
        credit = term.credit(given, PUBLISHED, 1).value  # type: ignore[attr-defined]
        coef = term.coef(PUBLISHED.model_copy(update={"selected_weight": eta}), 1)
        total += float((-coef * credit * weight).sum())
    assert total == pytest.approx(loss, abs=1e-5)


def test_every_token_is_in_one_of_rlcsds_means() -> None:
    given = evidence(0.3, [-1.0] * 3, SIBLINGS)
    assert (rlcsd.plain(given, PUBLISHED) + rlcsd.chosen(given, PUBLISHED)).tolist() == [[1.0, 1.0, 1.0]]
    lacking = evidence(0.3, [-1.0] * 3, SIBLINGS | {"right": reading([0.0] * 3, shown=False)})
    assert rlcsd.chosen(lacking, PUBLISHED).tolist() == [[0.0, 0.0, 0.0]]


# -- added evidence and gates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantage", "expected"), [(0.0, [0.025, -0.1, 0.0, 0.1]), (-0.5, [-0.475, -0.6, -0.5, -0.4])]
)
def test_sipo_adds_evidence_to_groups_without_variance_too(advantage: float, expected: list[float]) -> None:
    told = {"hint": reading([0.05, -0.3, 0.0, 1.5]), "mistake": reading([0.0] * 4)}
    found = sipo.credit(evidence(advantage, [-1.0] * 4, told), sipo.Settings(), 1)
    assert_close(found.value, row(expected), **GOLDEN)
    assert sipo.is_moved(attempt(0, False, 0.0), (), sipo.Settings())
    assert not sipo.is_moved(attempt(0, False, 0.0), (), sipo.Settings(form="multiplicative"))


@pytest.mark.parametrize("advantage", [1.5, -0.5])
def test_sipo_multiplied_is_rlsd_on_the_contrast(advantage: float) -> None:
    told = {"hint": reading(TOLD), "mistake": reading(STUDENT_LOGP)}
    settings = sipo.Settings(form="multiplicative")
    found = sipo.credit(evidence(advantage, [9.0] * 4, told), settings, 1)
    assert_close(found.value, rlsd_credit(advantage).value, **GOLDEN)


def test_sipo_without_a_mistake_to_show_has_no_evidence() -> None:
    told = {"hint": reading(TOLD), "mistake": reading([0.0] * 4, shown=False)}
    assert not sipo.credit(evidence(0.0, STUDENT_LOGP, told), sipo.Settings(), 1).value.any()


def test_antisd_amr_sd_and_sdar_read_the_gap_of_the_told_teacher() -> None:
    given = evidence(1.0, STUDENT_LOGP, {"hint": reading(TOLD)})
    anti = antisd.credit(given, antisd.Settings(weight=1.0), 1).value
    assert_close(anti, row([0.987344, 1.069396, 1.0, 0.495867]), **GOLDEN)
    amr = amr_sd.credit(given, amr_sd.Settings(decay_steps=0), 1).value
    assert_close(amr, row([1.0, 1.0, 1.0, 1.28]), **GOLDEN)
    halfway = amr_sd.credit(given, amr_sd.Settings(decay_steps=50), 25).value
    assert_close(halfway, row([1.0, 1.0, 1.0, 1.14]), **GOLDEN)
    gated = sdar.gated(given, sdar.Settings(), 1).value
    assert_close(gated, row([0.562177, 0.182426, 0.5, 0.999447]), **GOLDEN)


def test_opdvr_praises_right_responses_and_blames_wrong_ones() -> None:
    given = evidence(0.0, STUDENT_LOGP, {"hint": reading(TOLD)})
    settings = opdvr.NoSettings()
    assert_close(opdvr.praise(given, settings, 1).value, row([0.05, 0.0, 0.0, 1.5]), **GOLDEN)
    assert_close(opdvr.blame(given, settings, 1).value, row([0.0, -0.3, 0.0, 0.0]), **GOLDEN)
    right, wrong = opdvr.METHOD.terms
    for correct, routes in ((True, [True, False]), (False, [False, True]), (None, [False, False])):
        assert [term.route(attempt(0, correct), (), settings) for term in (right, wrong)] == routes


# -- routes and schedules ---------------------------------------------------------------------------------------------


def test_srpo_distils_what_failed_beside_a_success_and_rewards_the_rest() -> None:
    group = (attempt(0, True), attempt(1, False), attempt(2, None))
    settings = srpo.Settings()
    assert [srpo.is_distilled(each, group, settings) for each in group] == [False, True, False]
    assert [srpo.is_rewarded(each, group, settings) for each in group] == [True, False, True]
    failed = (attempt(0, False), attempt(1, False))
    assert [srpo.is_distilled(each, failed, settings) for each in failed] == [False, False]


def test_h2sd_weighs_right_responses_and_distils_wrong_ones() -> None:
    weighed, distilled = h2sd.METHOD.terms
    for correct, routes in ((True, [True, False]), (False, [False, True])):
        assert [term.route(attempt(0, correct), (), h2sd.Settings()) for term in (weighed, distilled)] == routes
    given = evidence(1.5, STUDENT_LOGP, {"own": reading(TOLD)})
    assert torch.equal(h2sd.credit(given, h2sd.Settings(), 1).value, rlsd_credit(1.5).value)
    weighed_ones = [(True, 0.5), (True, -0.5), (True, 0.0), (False, 0.5)]
    assert [h2sd.is_weighed(attempt(0, *each), (), h2sd.Settings()) for each in weighed_ones] == [True, *[False] * 3]
    assert distilled.coef(h2sd.Settings(fail_weight=0.3), 9) == 0.3


def test_sdpgs_distillation_rises_and_falls_and_is_of_what_scored_above_its_group() -> None:
    settings = sdpg.Settings()
    found = [sdpg.weight(settings, step) for step in (25, 50, 225, 400)]
    assert found == pytest.approx([5e-4, 1e-3, 5e-4, 0.0])
    assert [sdpg.is_above(attempt(0, True, advantage), (), settings) for advantage in (0.5, 0.0, -0.5)] == [
        True,
        False,
        False,
    ]


def test_a_group_fails_where_every_verdict_is_wrong() -> None:
    assert all_failed((attempt(0, False), attempt(1, False)), None)
    assert not all_failed((attempt(0, False), attempt(1, None)), None)
    assert not all_failed((attempt(0, False), attempt(1, True)), None)
    assert not all_failed((), None)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"method": "hdpo", "rollout.refill": 4}, "`rollout.refill` replaces the groups in which all fail"),
        ({"method": "hdpo", "teacher.view": "sibling"}, "`teacher.view=sibling` shows nothing of a problem"),
        ({"method": "sipo", "credit.form": "multiplicative", "credit.mix": 2}, "takes `credit.mix` and `credit.clip`"),
        ({"method": "h2sd", "teacher.view": "own"}, "shows a wrong response as if it were a correct result"),
        ({"method": "credit_pmi", "teacher.view": "own"}, "`teacher.view=own` shows nothing of a problem"),
    ],
)
def test_a_config_that_contradicts_its_method_is_refused_with_the_reason(
    configure: Callable[..., Config], overrides: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RlsdError, match=reason):
        configure(overrides)


# -- numbers of the sources' own tests and of a peer's ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kappa", "advantage", "contrast", "expected"),
    [
        (0.15, 0.125, [0.1, -0.5, 0.0], [0.14, 0.095, 0.125]),
        (0.15, -0.875, [0.05, 0.0, -0.3], [-0.8675, -0.875, -0.905]),
        (0.15, 0.0, [-0.6, 0.02, 0.3], [-0.03, 0.003, 0.03]),
        (0.5, 0.05, [-0.5, 0.5], [0.0, 0.15]),
    ],
)
def test_sipo_agrees_with_its_authors_tests(
    kappa: float, advantage: float, contrast: list[float], expected: list[float]
) -> None:
    """Yueeeeeeee/SIPO, tests/trainer/ppo/test_core_algos_on_cpu.py."""
    told = {"hint": reading(contrast), "mistake": reading([0.0] * len(contrast))}
    found = sipo.credit(evidence(advantage, contrast, told), sipo.Settings(mix=kappa), 1)
    assert_close(found.value, row(expected), **GOLDEN)


@pytest.mark.parametrize(
    ("advantage", "gap", "expected"), [(-1.0, 0.1, -0.904837), (1.0, 20.0, 1.2), (-1.0, 20.0, -0.8)]
)
def test_rlsd_agrees_with_a_peers_tests(advantage: float, gap: float, expected: float) -> None:
    """ms-swift, tests/train/test_rlsd_reweight.py, at lambda 1."""
    settings = rlsd.Settings(mix=1.0, mix_decay_steps=0, clip=0.2)
    found = rlsd.credit(evidence(advantage, [-1.0], {"hint": reading([gap - 1.0])}), settings, 1)
    assert_close(found.value, row([expected]), **GOLDEN)
