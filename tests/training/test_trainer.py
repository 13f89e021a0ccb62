"""One step, in pairs of configurations that must agree, and in situations that must be counted."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.core.ratios import sequence_ratio
from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy import scoring as scoring_module
from rlsd_cli.policy.model import Policy
from rlsd_cli.policy.scoring import features, score_tokens
from rlsd_cli.rollout.records import Group, Judged, Prompt, Rollout
from rlsd_cli.rollout.sampler import Completion
from rlsd_cli.training import losses as losses_module
from rlsd_cli.training import passes as passes_module
from rlsd_cli.training import reading as reading_module
from rlsd_cli.training.assemble import assemble
from rlsd_cli.training.experience import Solutions
from rlsd_cli.training.judging import advantages_of, shares
from rlsd_cli.training.metrics import update_metrics
from rlsd_cli.training.reading import Taught
from rlsd_cli.training.thoughts import thought_length
from rlsd_cli.training.trainer import Trainer
from rlsd_verifiers import VERIFIERS, Leniency, Submission, Verdict, Verifier
from rlsd_verifiers.exact import grade_exact
from tests.training.steps import (
    after,
    assert_equal,
    dry_update,
    gradients,
    judged,
    question,
    read,
    taught,
    weights,
    with_problems,
    with_responses,
)

MakeTrainer = Callable[..., Trainer]


def rollouts_in(given: Iterable[Taught]) -> list[tuple[Rollout, float]]:
    """Rollouts, each with its advantage."""
    pairs = (zip(each.group.members, each.group.advantages, strict=True) for each in given)
    return [(member.rollout, advantage) for each in pairs for member, advantage in each]


def with_advantages(given: Taught, *advantages: float) -> Taught:
    return given._replace(group=given.group._replace(advantages=advantages))


# -- equivalence classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rlsd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rlvr", "opsd"))])
@pytest.mark.parametrize("reduction", ["sequence_mean", "token_mean", "constant"])
def test_how_a_batch_is_cut_does_not_change_its_gradient(
    make_trainer: MakeTrainer, method: str, reduction: str
) -> None:
    found = []
    for budget in (1, 150, 100_000):
        settings = {"method": method, "loss.reduction": reduction, "optim.tokens_per_microbatch": budget}
        trainer = make_trainer(settings)
        found.append(gradients(trainer, taught(trainer)))
    assert any(gradient.abs().max() > 1e-4 for gradient in found[0].values())
    assert_equal(found[0], found[1])
    assert_equal(found[0], found[2])


@pytest.mark.parametrize("off", [{"credit.clip": 0.0}, {"credit.mix": 0.0}])
def test_rlsd_without_teacher_influence_is_rlvr_bit_for_bit(make_trainer: MakeTrainer, off: dict[str, Any]) -> None:
    start = weights(make_trainer())
    baseline = after(make_trainer({"method": "rlvr"}), (1, 2))
    assert_equal(after(make_trainer({"method": "rlsd"} | off), (1, 2)), baseline, exactly=True)
    assert any(not torch.equal(baseline[name], start[name]) for name in start)


def test_rlsd_with_its_teacher_is_not_rlvr(make_trainer: MakeTrainer) -> None:
    baseline, taught = after(make_trainer({"method": "rlvr"})), after(make_trainer({"method": "rlsd"}))
    assert any(not torch.equal(baseline[name], taught[name]) for name in baseline)


def test_a_live_teacher_that_sees_nothing_gives_the_rlvr_step(make_trainer: MakeTrainer) -> None:
    """P5: prompt equal, weights equal, so the gap is kernel noise and the step is GRPO's."""
    settings = {"teacher.view": "none", "teacher.weights": "live"}
    trainer = make_trainer({"method": "rlsd"} | settings)
    metrics, _ = trainer.step(1)
    assert metrics["teacher_student_gap_abs_mean"] < 1e-4
    assert_equal(weights(trainer), after(make_trainer({"method": "rlvr"})))


def test_a_misaligned_live_teacher_is_caught(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer({"method": "rlsd", "teacher.view": "none", "teacher.weights": "live"})
    misaligned = lambda problem, _, config: student_text(problem, config) + "1"  # noqa: E731
    monkeypatch.setattr(reading_module, "informed_text", misaligned)
    with pytest.raises(AssertionError, match="differs from the student"):
        trainer.step(1)


def test_the_order_within_a_group_does_not_matter(make_trainer: MakeTrainer) -> None:
    forward, backward = make_trainer({"method": "rlvr"}), make_trainer({"method": "rlvr"})
    groups = judged(forward)
    turned = [group._replace(members=group.members[::-1]) for group in groups]
    advantages = advantages_of([group.members for group in turned], backward.config)
    turned = [group._replace(advantages=own) for group, own in zip(turned, advantages, strict=True)]
    assert any(group.advantages != other.advantages for group, other in zip(turned, groups, strict=True))
    first = gradients(forward, read(forward, groups))
    assert_equal(gradients(backward, read(backward, turned)), first)


SEVERAL = {"optim.updates_per_batch": 3, "prompts_per_step": 6, "samples_per_prompt": 8}


def test_later_updates_of_a_batch_use_the_log_probabilities_from_before_the_first(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "optim.lr": 3e-3} | SEVERAL)
    metrics, records = trainer.step(1)
    first, *_ = shares(range(6), 3)
    assert all(record.old_logp is None for record in records if record.group in first)
    late = [record for record in records if record.group not in first and record.advantage != 0]
    assert late
    for record in late:
        torch.testing.assert_close(torch.tensor(record.old_logp), torch.tensor(record.sampled_logp), atol=1e-4, rtol=0)
    assert any(abs(a - b) > 1e-3 for r in late for a, b in zip(r.student_logp or [], r.old_logp or [], strict=True))
    assert metrics["ratio_clip_rate"] is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_nothing_has_moved_the_ratio_is_exactly_one(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """In every update of a batch, whatever the type: a band of GSPO's width would catch the noise of one."""
    settings = {"method": "rlvr", "loss.surrogate": "gspo", "loss.clip_low": 1e-9, "loss.clip_high": 1e-9}
    trainer = make_trainer(settings | SEVERAL | {"dtype": dtype, "optim.lr": 1e-30, "optim.tokens_per_microbatch": 400})
    ratios = []

    def watched(*arguments: Any, **options: Any) -> Any:
        ratio = sequence_ratio(*arguments, **options)
        ratios.append(ratio.value)
        return ratio

    _, surrogate = losses_module.SURROGATES["gspo"]
    monkeypatch.setattr(losses_module, "SURROGATES", {"gspo": (watched, surrogate)})
    metrics, _ = trainer.step(1)
    assert len(ratios) >= 3
    assert all((ratio == 1).all() for ratio in ratios)
    assert metrics["ratio_clip_rate"] == 0


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_a_live_teacher_is_compared_with_the_policy_as_it_was_when_both_read(
    make_trainer: MakeTrainer, weights: str
) -> None:
    """Told nothing, it has no gap to it in any update of the batch; a snapshot has one to the policy that moves on."""
    settings = {"method": "rlsd", "teacher.view": "none", "teacher.weights": weights, "optim.lr": 3e-3}
    metrics, _ = make_trainer(settings | SEVERAL).step(1)
    if weights == "live":
        assert metrics["teacher_student_gap_abs_mean"] < 1e-5
        assert metrics["credit_weight_mean"] == pytest.approx(1.0, abs=1e-4)
    else:
        assert metrics["teacher_student_gap_abs_mean"] > 1e-2


# -- what the teacher reads -------------------------------------------------------------------------------------------


def test_no_teacher_pass_where_lambda_or_the_advantage_is_zero(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer({"method": "rlsd", "credit.mix_decay_steps": 5})
    scored: list[int] = []

    def counting(policy: Any, batch: Any, mask: Any, temperature: float, model: Any = None) -> Any:
        if model is trainer.learner.models.teacher_model:
            scored.append(len(mask))
        return score_tokens(policy, batch, mask, temperature, model)

    monkeypatch.setattr(passes_module, "score_tokens", counting)
    first, *others = judged(trainer)
    groups = [first._replace(advantages=(0.0,) * len(first.members)), *others]
    assert all(not reads for each in read(trainer, groups, step=5) for reads in each.readings)
    assert scored == []
    shown = [
        (advantage != 0, bool(reads))
        for group, readings in read(trainer, groups, step=4)
        for advantage, reads in zip(group.advantages, readings, strict=True)
    ]
    assert all(has_advantage == is_read for has_advantage, is_read in shown)
    assert 0 < sum(scored) == sum(is_read for _, is_read in shown) < len(shown)


@pytest.mark.parametrize("text", ["  12", "<think>1</think>2", "é1 ü", "\n\n#4", "1#", "<eos>3"])
def test_both_sides_score_the_same_response_ids(make_trainer: MakeTrainer, text: str) -> None:
    """P9: ids are appended as they were sampled; nothing is decoded and read again."""
    trainer = make_trainer({"method": "opsd"})
    policy, problem = trainer.learner.policy, question()
    (eos,) = policy.eos_ids
    ids = (*policy.tokenizer(text, add_special_tokens=False)["input_ids"], 0, eos, eos)
    prompt = Prompt(tuple(prompt_ids(student_text(problem, trainer.config), trainer.config, policy.tokenizer)))
    rollout = Rollout(problem, 0, prompt, ids, (-1.0,) * len(ids), False, text)
    batch, _ = assemble(read(trainer, [Group(0, (Judged(rollout),), (0.0,))]), trainer.config)
    micro = trainer.learner.micro_batch(batch, [0])
    told = micro.told["hint"].tokens
    assert told.response_ids.tolist() == micro.tokens.response_ids.tolist() == [[*ids]]
    view = prompt_ids(teacher_text(problem, trainer.config), trainer.config, policy.tokenizer)
    assert told.input_ids[0].tolist() == [*view, *ids[:-1]]


def test_a_solution_is_ended_by_the_trainer_alone(make_trainer: MakeTrainer) -> None:
    """The characters of the end token in a given solution do not end it."""
    trainer = make_trainer({"method": "sft", "prompts_per_step": 1})
    eos = trainer.learner.policy.eos_id
    assert isinstance(trainer.experience, Solutions)
    for solution in ("12", "1<eos>2", "<eos>"):
        with_problems(trainer, [question()._replace(solution=solution)])
        (group,) = judged(trainer)
        (member,) = group.members
        assert [number == eos for number in member.rollout.token_ids] == [False] * len(solution) + [True]


@pytest.mark.parametrize(("method", "temperature"), [("rlvr", 1.5), ("sft", 1.0)])
def test_solutions_are_read_at_temperature_1_and_samples_at_the_one_they_were_drawn_at(
    configure: Callable[..., Config], method: str, temperature: float
) -> None:
    config = configure({"method": method})
    hot = config.rollout.model_copy(update={"temperature": 1.5})
    assert config.model_copy(update={"rollout": hot}).temperature == temperature


def test_a_teacher_prompt_that_does_not_fit_is_an_error_or_a_counted_skip(make_trainer: MakeTrainer) -> None:
    settings = {"method": "rlsd", "teacher.view": "solution", "prompts_per_step": 8, "samples_per_prompt": 8}
    given = [reads for each in taught(make_trainer(settings)) for reads in each.readings]
    lengths = sorted(len(prompt) for reads in given for read in reads.values() for prompt in read.prompts)
    assert lengths[0] < lengths[-1]
    settings["teacher.max_prompt_tokens"] = lengths[-1] - 1
    fault = rf"problem `\w+`: the teacher's prompt has {lengths[-1]} tokens and {lengths[-1] - 1} fit"
    with pytest.raises(RlsdError, match=fault):
        make_trainer(settings).step(1)
    metrics, records = make_trainer(settings | {"teacher.overlong": "skip"}).step(1)
    too_long = [any(len(read.prompts[0]) == lengths[-1] for read in reads.values()) for reads in given]
    assert metrics["teacher_skipped"] == sum(too_long) > 0
    skipped = [record for record, long in zip(records, too_long, strict=True) if long]
    for record in skipped:
        assert record.teacher_logp is None
        assert record.credit == pytest.approx([record.advantage] * len(record.token_ids))
    assert any(record.teacher_logp is not None for record in records)


def test_only_failed_rollouts_are_reweighted_when_asked(make_trainer: MakeTrainer) -> None:
    _, records = make_trainer({"method": "rlsd", "credit.rollouts": "negative"}).step(1)
    for record in records:
        if record.advantage > 0:
            assert record.credit == pytest.approx([record.advantage] * len(record.token_ids))
    assert any(len(set(record.credit or [])) > 1 for record in records if record.advantage < 0)


def test_a_thought_ends_with_its_closing_tag() -> None:
    words = ["so ", "1", "</think>", "2", "</think>", "3"]
    decode = lambda ids: "".join(words[index] for index in ids)  # noqa: E731
    assert thought_length([0, 1, 2, 3], decode) == 3
    assert thought_length([0, 2, 3, 4, 5], decode) == 4
    assert thought_length([0, 1, 3], decode) == 0


# -- verdicts and scores ----------------------------------------------------------------------------------------------


def test_groups_without_signal_are_drawn_anew_and_leave_the_loss(make_trainer: MakeTrainer) -> None:
    """Two dead groups and one problem more than are drawn besides: the first two draws are dead, the third is not."""
    settings = {"method": "rlvr", "prompts_per_step": 2, "samples_per_prompt": 4, "rollout.refill": 3}
    trainer = make_trainer(settings)
    sampler = trainer.learner.sampler
    with_problems(trainer, [question()._replace(id=str(number)) for number in range(200)])
    answers = iter([["#6"], ["#5"], ["#5", "#6"]])
    sizes = []

    def sample(prompts: Any, *rest: Any, **options: Any) -> list[Completion]:
        sizes.append(len(prompts))
        with_responses(trainer, next(answers))
        completions: list[Completion] = sampler.sample(prompts, *rest, **options)
        sampler.sample = sample  # type: ignore[method-assign]
        return completions

    sampler.sample = sample  # type: ignore[method-assign]
    metrics, records = trainer.step(1)
    assert sizes == [2, 2, 1], "a refill of three"
    assert metrics["refilled_groups"] == 3
    assert metrics["zero_variance_groups"] == {"all_wrong": 2, "all_right": 2}
    assert metrics["uncounted"] == 12
    assert metrics["left_out"] == {"replaced": 12}
    assert [record.left_out for record in records] == ["replaced"] * 12 + [None] * 8
    assert [record.advantage != 0 for record in records] == [False] * 16 + [True] * 4
    assert sum(record.credit is not None for record in records) == 4
    assert len({record.problem_id for record in records}) == 5
    assert [record.group for record in records] == [place for place in range(5) for _ in range(4)]


def test_draws_are_those_of_the_step_and_the_seed(make_trainer: MakeTrainer) -> None:
    def drawn(step: int, seed: int) -> list[tuple[int, ...]]:
        trainer = make_trainer({"method": "rlvr", "seed": seed})
        with_problems(trainer, [question()])
        return [member.rollout.token_ids for group in judged(trainer, step) for member in group.members]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)


def test_a_sampler_in_another_type_has_the_weights_of_the_last_update(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "rollout.dtype": "bfloat16", "optim.lr": 5e-4, "samples_per_prompt": 8})
    after(trainer)
    metrics, _ = trainer.step(2)
    assert metrics["sampler_mismatch_abs_mean"] < 0.05, "rounding alone; the update has moved it by more"


def test_the_policy_is_read_again_for_later_updates_alone(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []

    def counting(policy: Any, batch: Any, *rest: Any) -> Any:
        if not torch.is_grad_enabled():
            scored.append(len(batch.mask))
        return score_tokens(policy, batch, *rest)

    monkeypatch.setattr(passes_module, "score_tokens", counting)
    trainer = make_trainer({"method": "rlvr"} | SEVERAL)
    given = taught(trainer)
    assert scored == []
    trainer.learner.update(given, 1)
    _, *later = shares(given, 3)
    assert sum(scored) == sum(advantage != 0 for share in later for _, advantage in rollouts_in(share)) > 0


@pytest.mark.parametrize("method", ["rlvr", "rlsd", "opsd"])
def test_of_a_sharded_model_a_process_makes_as_many_passes_as_others_and_they_count_for_nothing(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The others are made up here: they have two micro-batches more, always."""
    trainers = [make_trainer({"method": method, "optim.tokens_per_microbatch": 150}) for _ in range(2)]
    alone, among_others = trainers
    passes: dict[Any, list[bool]] = {}

    def counting(policy: Any, model: Any, *rest: Any) -> Any:
        passes.setdefault(model, []).append(torch.is_grad_enabled())
        return features(policy, model, *rest)

    for module in (losses_module, scoring_module):
        monkeypatch.setattr(module, "features", counting)
    groups = judged(alone)
    updated, expected = dry_update(alone, read(alone, groups))
    monkeypatch.setattr(Policy, "layout", property(lambda _: "sharded"))
    monkeypatch.setattr(World, "all_gather", lambda _, value: [value, value + 2] if type(value) is int else [value])
    others, found = dry_update(among_others, read(among_others, groups))
    assert_equal(found, expected, exactly=True)
    assert others.figures.loss == updated.figures.loss
    assert others.figures.tokens.sums == updated.figures.tokens.sums
    assert others.traces.keys() == updated.traces.keys()
    for models in zip(
        *((each.learner.policy.model, each.learner.models.teacher_model) for each in trainers), strict=True
    ):
        one, more = (len(passes.get(model, [])) for model in models)
        assert more == one + 2 * bool(one)


@pytest.mark.parametrize(
    ("policy", "scores", "counted"), [("zero", [0.0, 0.0], [True, True]), ("mask", [1.0, 0.0], [False, True])]
)
def test_a_truncated_rollout_scores_zero_or_leaves_the_loss(
    make_trainer: MakeTrainer, policy: str, scores: list[float], counted: list[bool]
) -> None:
    trainer = make_trainer(
        {"method": "rlvr", "rollout.truncated": policy, "samples_per_prompt": 4, "prompts_per_step": 1}
    )
    with_problems(trainer, [question()])
    with_responses(trainer, ["#5", "#6", "#5", "#7"], truncated=(0,))
    metrics, records = trainer.step(1)
    assert [record.score for record in records[:2]] == scores
    assert [record.counted for record in records[:2]] == counted
    assert metrics["truncated_rate"] == 0.25
    assert metrics["left_out"] == ({"truncated": 1} if policy == "mask" else {})
    assert (records[0].advantage == 0) == (policy == "mask")
    assert records[2].advantage > 0 > records[1].advantage


def test_a_rollout_without_a_verdict_leaves_baseline_and_loss_and_is_counted(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": "rlvr", "prompts_per_step": 1, "samples_per_prompt": 4, "verifier_error_limit": 0.3}
    trainer = make_trainer(settings)
    with_problems(trainer, [question()])
    with_responses(trainer, ["#5", "#6", "#6", "#8"])

    def flaky(submission: Submission, leniency: Leniency) -> Verdict:
        if submission.response == "#8":
            raise RuntimeError("out of order")
        return grade_exact(submission, leniency)

    monkeypatch.setitem(VERIFIERS, "exact", Verifier(flaky))
    metrics, records = trainer.step(1)
    assert [record.score for record in records] == [1.0, 0.0, 0.0, None]
    assert records[3].advantage == 0.0
    assert records[3].credit is None
    assert records[3].left_out == "no_verdict"
    assert sum(record.advantage for record in records) == pytest.approx(0.0, abs=1e-6)
    assert metrics["reward_mean"] == pytest.approx(1 / 3)
    assert metrics["no_verdict_rate"] == 0.25
    assert metrics["uncounted"] == 1


def test_too_many_rollouts_without_a_verdict_stop_the_run_and_say_why(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "prompts_per_step": 1, "samples_per_prompt": 4})
    with_problems(trainer, [question(answer="about five", verifier="numeric")])
    with_responses(trainer, ["#5"])
    with pytest.raises(RlsdError, match=r"4 of 4 responses reached no verdict \(4 bad_reference\)") as caught:
        trainer.step(1)
    assert caught.value.exit_code == 1


def test_a_batch_without_signal_changes_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "optim.weight_decay": 0.5})
    with_problems(trainer, [question()])
    with_responses(trainer, ["#6"])
    before = weights(trainer)
    metrics, _ = trainer.step(1)
    assert metrics["zero_variance_rate"] == 1.0
    assert metrics["trained_tokens"] == 0
    assert metrics["entropy"] is None
    assert_equal(weights(trainer), before, exactly=True)


def test_rollouts_without_advantage_stay_in_the_denominator(make_trainer: MakeTrainer) -> None:
    """Twice the prompts, half of them without signal: half the gradient."""
    single, double = (make_trainer({"method": "rlvr", "prompts_per_step": n}) for n in (1, 2))
    for trainer, responses in ((single, ["#5", "#6", "#6", "#6"]), (double, ["#5", "#6", "#6", "#6"] + ["#7"] * 4)):
        with_problems(trainer, [question()])
        with_responses(trainer, responses)
    one, two = (gradients(trainer, taught(trainer)) for trainer in (single, double))
    assert_equal({name: value / 2 for name, value in one.items()}, two)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"rollout_correction": "none"}, 1.0),
        ({"rollout_correction": "truncate"}, 2.0),
        ({"rollout_correction": "truncate", "rollout_correction_cap": 9.0}, math.e),
        ({"rollout_correction": "mask"}, 0.0),
        ({"rollout_correction": "truncate", "rollout_correction_floor": 5.0, "rollout_correction_cap": 9.0}, 5.0),
        (
            {"rollout_correction": "truncate", "rollout_correction_level": "sequence", "rollout_correction_cap": 5.0},
            5.0,
        ),
    ],
)
def test_a_sampler_that_is_one_nat_off_is_weighed_and_both_weights_are_recorded(
    make_trainer: MakeTrainer, settings: dict[str, Any], kept: float
) -> None:
    """Responses have two tokens or more, so that a whole one is weighed above every cap here."""
    trainer = make_trainer({"method": "rlvr"} | {f"loss.{key}": value for key, value in settings.items()})

    def off(member: Judged) -> Judged:
        assert member.rollout.sampled_logp
        assert len(member.rollout.token_ids) > 1
        sampled_logp = tuple(logp - 1.0 for logp in member.rollout.sampled_logp)
        return member._replace(rollout=member.rollout._replace(sampled_logp=sampled_logp))

    groups = [group._replace(members=tuple(map(off, group.members))) for group in judged(trainer)]
    figures = trainer.learner.update(read(trainer, groups), 1).figures
    metrics = update_metrics(figures, trainer.config, 1)
    assert metrics["sampler_mismatch_abs_mean"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["sampler_mismatch_abs_max"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["sampler_weight_mean"] == pytest.approx(math.e, rel=1e-3)
    assert metrics["sampler_weight_kept_mean"] == pytest.approx(kept, rel=1e-3)
    assert (figures.grad_norm == 0) == (kept == 0)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_rewarded_tokens_become_likelier_and_blamed_ones_less_so(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlsd", "optim.lr": 1e-4})
    given = taught(trainer)
    trainer.learner.update(given, 1)

    def change(rollout: Rollout) -> float:
        now = trainer.learner.passes.score([rollout.prompt.ids], [rollout.token_ids], [[0]], None)
        return now[0].logp.sum().item() - sum(rollout.sampled_logp or ())

    changes = [(advantage, change(rollout)) for rollout, advantage in rollouts_in(given) if advantage != 0]
    assert sum(advantage * moved for advantage, moved in changes) > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"distill.divergence": "forward_kl"},
        {"distill.divergence": "reverse_kl", "distill.token_clip": 1.0},
        {"distill.divergence": "jsd", "distill.beta": 0.5},
        {"distill.divergence": "reverse_kl", "distill.top_k": 5},
    ],
)
def test_distillation_brings_the_student_closer_to_its_teacher(
    make_trainer: MakeTrainer, settings: dict[str, Any]
) -> None:
    trainer = make_trainer({"method": "opsd", "teacher.weights": "frozen", "optim.lr": 1e-4} | settings)
    given = taught(trainer)
    losses = [trainer.learner.update(given, step).figures.loss for step in range(1, 6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("surrogate", ["clipped", "gspo", "cispo"])
def test_every_surrogate_trains(make_trainer: MakeTrainer, surrogate: str) -> None:
    trainer = make_trainer({"method": "rlvr", "loss.surrogate": surrogate, "loss.kl_coef": 0.1})
    before = weights(trainer)
    metrics, _ = trainer.step(1)
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-5)
    trainer.step(2)
    assert any(not torch.equal(before[name], value) for name, value in weights(trainer).items())


@pytest.mark.parametrize("divergence", ["reverse_kl", "sampled_token"])
def test_a_kl_to_the_initial_policy_pulls_a_distilled_one_too(make_trainer: MakeTrainer, divergence: str) -> None:
    found = []
    for kl_coef in (0.0, 0.1):
        trainer = make_trainer({"method": "opsd", "distill.divergence": divergence, "loss.kl_coef": kl_coef})
        given = taught(trainer)
        with torch.no_grad():
            trainer.learner.policy.model.lm_head.weight.mul_(1.05)
        found.append(gradients(trainer, given))
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.allclose(found[0][name], found[1][name], atol=1e-5)


def test_supervised_training_raises_the_likelihood_of_solutions(make_trainer: MakeTrainer) -> None:
    settings = {"method": "sft", "prompts_per_step": 32, "optim.lr": 1e-3}
    trainer = make_trainer(settings | {"model": "quickstart-untrained"})
    losses = [trainer.step(step)[0]["loss"] for step in range(1, 9)]
    assert losses[0] == pytest.approx(3.0, abs=0.3)
    assert losses[-1] < losses[0] - 0.3


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_weights(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr"})
    first, *others = taught(trainer)
    before = weights(trainer)
    spoiled = with_advantages(first, *[float("inf")] * len(first.group.members))
    with pytest.raises(RlsdError, match=r"step 7: the loss .* is not finite"):
        trainer.learner.update([spoiled, *others], 7)
    assert_equal(weights(trainer), before, exactly=True)


def test_shares_hold_whole_groups() -> None:
    groups = [[0, 1], [2, 3], [4, 5]]
    assert shares(groups, 1) == [groups]
    assert shares(groups, 2) == [[[0, 1], [2, 3]], [[4, 5]]]
    assert shares(groups, 3) == [[group] for group in groups]
    assert sorted(map(len, shares(groups[:1], 4))) == [0, 0, 0, 1]
