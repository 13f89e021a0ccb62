"""One step, in pairs of configurations that must agree, and in situations that must be counted."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rlsd_cli.core.objectives import gspo
from rlsd_cli.training.rewards import assign_advantages, assign_scores, groups_of, shares
from rlsd_cli.training.samples import Sample

from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, student_text, teacher_text
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.sampler import Completion, Finished
from rlsd_cli.training import trainer as trainer_module
from rlsd_cli.training import update as update_module
from rlsd_cli.training.metrics import update_metrics
from rlsd_cli.training.trainer import Trainer, thought_length
from rlsd_verifiers import VERIFIERS, Leniency, Submission, Verdict, Verifier
from rlsd_verifiers.exact import grade_exact

MakeTrainer = Callable[..., Trainer]
Weights = dict[str, torch.Tensor]


def weights(trainer: Trainer) -> Weights:
    return {name: value.detach().clone() for name, value in trainer.policy.model.named_parameters()}


def after(trainer: Trainer, steps: int = 1) -> Weights:
    for step in range(1, steps + 1):
        trainer.step(step)
        trainer.interrupts.release()
    return weights(trainer)


def gradients(trainer: Trainer, samples: list[Sample], mix: float) -> Weights:
    """What one update would apply, before clipping and Adam."""
    found: Weights = {}

    def capture(*_: object, **__: object) -> None:
        found.update({n: p.grad.clone() for n, p in trainer.policy.model.named_parameters() if p.grad is not None})

    trainer.optimizer.step = capture  # type: ignore[method-assign]
    trainer.config = trainer.config.model_copy(
        update={"optim": trainer.config.optim.model_copy(update={"max_grad_norm": 1e9})}
    )
    trainer.update(samples, mix, 1)
    return found


def rollouts_of(trainer: Trainer, step: int = 1) -> list[Sample]:
    problems = trainer_module.step_problems(trainer.splits.train, trainer.config, step)
    samples = trainer.collect(problems, step)
    assign_scores(samples, trainer.config)
    assign_advantages(samples, trainer.config)
    return samples


def assert_equal(first: Weights, second: Weights, *, exactly: bool = False) -> None:
    for name, value in first.items():
        if exactly:
            assert torch.equal(value, second[name]), name
        else:
            torch.testing.assert_close(value, second[name], atol=2e-6, rtol=1e-3)


# -- equivalence classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rlvr", "rlsd", "opsd"])
@pytest.mark.parametrize("reduction", ["sequence_mean", "token_mean", "constant"])
def test_how_a_batch_is_cut_does_not_change_its_gradient(
    make_trainer: MakeTrainer, method: str, reduction: str
) -> None:
    found = []
    for budget in (1, 150, 100_000):
        settings = {"method": method, "loss.reduction": reduction, "optim.tokens_per_microbatch": budget}
        trainer = make_trainer(settings)
        samples = rollouts_of(trainer)
        trainer.rescore(samples, 0.5)
        found.append(gradients(trainer, samples, 0.5))
    assert any(gradient.abs().max() > 1e-4 for gradient in found[0].values())
    assert_equal(found[0], found[1])
    assert_equal(found[0], found[2])


@pytest.mark.parametrize("off", [{"credit.clip": 0.0}, {"credit.mix": 0.0}])
def test_rlsd_without_teacher_influence_is_rlvr_bit_for_bit(make_trainer: MakeTrainer, off: dict[str, Any]) -> None:
    start = weights(make_trainer())
    baseline = after(make_trainer({"method": "rlvr"}), steps=2)
    assert_equal(after(make_trainer({"method": "rlsd"} | off), steps=2), baseline, exactly=True)
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
    monkeypatch.setattr(trainer_module, "teacher_text", lambda problem, config: student_text(problem, config) + "1")
    with pytest.raises(AssertionError, match="differs from the student"):
        trainer.step(1)


def test_the_order_within_a_group_does_not_matter(make_trainer: MakeTrainer) -> None:
    forward, backward = make_trainer({"method": "rlvr"}), make_trainer({"method": "rlvr"})
    samples = rollouts_of(forward)
    first = gradients(forward, samples, 0.0)
    for sample in samples:
        sample.advantage = 0.0
    group = forward.config.samples_per_prompt
    turned = [s for start in range(0, len(samples), group) for s in reversed(samples[start : start + group])]
    assign_advantages(turned, backward.config)
    assert_equal(gradients(backward, turned, 0.0), first)


SEVERAL = {"optim.updates_per_batch": 3, "prompts_per_step": 6, "samples_per_prompt": 8}


def test_later_updates_of_a_batch_use_the_log_probabilities_from_before_the_first(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "optim.lr": 3e-3} | SEVERAL)
    metrics, samples = trainer.step(1)
    first, *later = shares(groups_of(samples, trainer.config), 3)
    assert all(sample.old_logp is None for sample in first)
    late = [sample for share in later for sample in share if sample.advantage != 0]
    assert late
    for sample in late:
        torch.testing.assert_close(torch.tensor(sample.old_logp), torch.tensor(sample.sampled_logp), atol=1e-4, rtol=0)
    assert any(abs(a - b) > 1e-3 for s in late for a, b in zip(s.student_logp or [], s.old_logp or [], strict=True))
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
        surrogate = gspo(*arguments, **options)
        ratios.append(surrogate.ratio)
        return surrogate

    monkeypatch.setattr(update_module, "SURROGATES", {"gspo": watched})
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
    trainer = make_trainer({"method": "rlsd"})
    scored: list[int] = []

    def counting(policy: Any, batch: Any, mask: Any, temperature: float, model: Any = None) -> Any:
        if model is trainer.models.teacher:
            scored.append(len(mask))
        return score_tokens(policy, batch, mask, temperature, model)

    monkeypatch.setattr(trainer_module, "score_tokens", counting)
    samples = rollouts_of(trainer)
    for sample in samples[: trainer.config.group_size]:
        sample.advantage = 0.0
    trainer.rescore(samples, 0.0)
    assert scored == []
    trainer.rescore(samples, 0.5)
    with_advantage = [sample for sample in samples if sample.advantage != 0]
    assert 0 < sum(scored) == len(with_advantage) < len(samples)
    assert all((sample.teacher_logp is not None) == (sample.advantage != 0) for sample in samples)


@pytest.mark.parametrize("text", ["  12", "<think>1</think>2", "é1 ü", "\n\n#4", "1#", "<eos>3"])
def test_both_sides_score_the_same_response_ids(make_trainer: MakeTrainer, text: str) -> None:
    """P9: ids are appended as they were sampled; nothing is decoded and read again."""
    trainer = make_trainer({"method": "opsd"})
    (eos,) = trainer.policy.eos_ids
    ids = [*list(trainer.policy.tokenizer(text, add_special_tokens=False)["input_ids"]), 0, eos, eos]
    problem = trainer.splits.train[0]
    prompt = prompt_ids(student_text(problem, trainer.config), trainer.config, trainer.policy.tokenizer)
    sample = Sample(problem, 0, prompt, ids, [-1.0] * len(ids), False, text, False)
    trainer.rescore([sample], 0.0)
    batch = trainer._microbatch([sample], trainer._weights([sample]))
    assert batch.privileged is not None
    assert batch.privileged.response_ids.tolist() == batch.tokens.response_ids.tolist() == [ids]
    view = prompt_ids(teacher_text(problem, trainer.config), trainer.config, trainer.policy.tokenizer)
    assert batch.privileged.input_ids[0].tolist() == [*view, *ids[:-1]]


def test_a_solution_is_ended_by_the_trainer_alone(make_trainer: MakeTrainer) -> None:
    """The characters of the end token in a given solution do not end it."""
    trainer = make_trainer({"method": "sft", "samples_per_prompt": 1})
    eos = trainer.policy.eos_id
    for solution in ("12", "1<eos>2", "<eos>"):
        sample = trainer._demonstration(trainer.splits.train[0]._replace(solution=solution), [1])
        assert [number == eos for number in sample.token_ids] == [False] * len(solution) + [True]


def test_a_teacher_prompt_that_does_not_fit_is_an_error_or_a_counted_skip(make_trainer: MakeTrainer) -> None:
    settings = {"method": "rlsd", "teacher.view": "solution", "prompts_per_step": 8, "samples_per_prompt": 8}
    _, samples = make_trainer(settings).step(1)
    lengths = sorted(len(sample.privileged) for sample in samples if sample.privileged is not None)
    assert lengths[0] < lengths[-1]
    settings["teacher.max_prompt_tokens"] = lengths[-1] - 1
    fault = rf"problem `\w+`: the teacher's prompt has {lengths[-1]} tokens and {lengths[-1] - 1} fit"
    with pytest.raises(RlsdError, match=fault):
        make_trainer(settings).step(1)
    metrics, samples = make_trainer(settings | {"teacher.overlong": "skip"}).step(1)
    skipped = [sample for sample in samples if sample.teacher_skipped]
    assert metrics["teacher_skipped"] == len(skipped) > 0
    for sample in skipped:
        assert sample.teacher_logp is None
        assert sample.credit == pytest.approx([sample.advantage] * len(sample.token_ids))
    assert any(sample.teacher_logp is not None for sample in samples)


def test_only_failed_rollouts_are_reweighted_when_asked(make_trainer: MakeTrainer) -> None:
    _, samples = make_trainer({"method": "rlsd", "credit.rollouts": "negative"}).step(1)
    for sample in samples:
        if sample.advantage > 0:
            assert sample.credit == pytest.approx([sample.advantage] * len(sample.token_ids))
    assert any(len(set(sample.credit or [])) > 1 for sample in samples if sample.advantage < 0)


def test_a_thought_ends_with_its_closing_tag() -> None:
    words = ["so ", "1", "</think>", "2", "</think>", "3"]
    decode = lambda ids: "".join(words[index] for index in ids)  # noqa: E731
    assert thought_length([0, 1, 2, 3], decode) == 3
    assert thought_length([0, 2, 3, 4, 5], decode) == 4
    assert thought_length([0, 1, 3], decode) == 0


# -- verdicts and scores ----------------------------------------------------------------------------------------------


def with_responses(trainer: Trainer, responses: list[str], *, truncated: tuple[int, ...] = ()) -> None:
    """Let the sampler answer with given texts."""
    tokenizer, (eos,) = trainer.policy.tokenizer, trainer.policy.eos_ids

    def sample(
        prompts: Any, _: Any, samples_per_prompt: int, *__: Any, finished: Finished, **___: Any
    ) -> list[Completion]:
        rollouts = []
        for index in range(len(prompts) * samples_per_prompt):
            text = responses[index % len(responses)]
            ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [eos]
            rollouts.append(Completion(ids, [-1.0] * len(ids), index % len(responses) in truncated))
            finished(index, rollouts[-1])
        return rollouts

    trainer.sampler.sample = sample  # type: ignore[method-assign]


def fixed(trainer: Trainer, problem: Problem) -> None:
    trainer.splits = trainer.splits._replace(train=[problem])


def question(answer: str = "5", verifier: str = "exact") -> Problem:
    return Problem("p", "0" * 12, "Q2+3=", answer, "2+3=5;#5", verifier)


def test_groups_without_signal_are_drawn_anew_and_leave_the_loss(make_trainer: MakeTrainer) -> None:
    """Two dead groups and one problem more than are drawn besides: the first two draws are dead, the third is not."""
    settings = {"method": "rlvr", "prompts_per_step": 2, "samples_per_prompt": 4, "rollout.refill": 3}
    trainer = make_trainer(settings)
    problems = [question()._replace(id=str(number)) for number in range(200)]
    trainer.splits = trainer.splits._replace(train=problems)
    answers = iter([["#6"], ["#5"], ["#5", "#6"]])
    sizes = []

    def sample(prompts: Any, *rest: Any, **options: Any) -> list[Completion]:
        sizes.append(len(prompts))
        with_responses(trainer, next(answers))
        rollouts: list[Completion] = trainer.sampler.sample(prompts, *rest, **options)
        trainer.sampler.sample = sample  # type: ignore[method-assign]
        return rollouts

    trainer.sampler.sample = sample  # type: ignore[method-assign]
    metrics, samples = trainer.step(1)
    assert sizes == [2, 2, 1], "a refill of three"
    assert metrics["refilled_groups"] == 3
    assert metrics["dead_groups"] == {"all_wrong": 2, "all_right": 2}
    assert metrics["uncounted"] == 12
    assert [sample.advantage != 0 for sample in samples] == [False] * 16 + [True] * 4
    assert sum(sample.credit is not None for sample in samples) == 4
    assert len({sample.problem.id for sample in samples}) == 5


def test_draws_are_those_of_the_step_and_the_seed(make_trainer: MakeTrainer) -> None:
    def drawn(step: int, seed: int) -> list[list[int]]:
        trainer = make_trainer({"method": "rlvr", "seed": seed})
        problems = make_trainer({"method": "rlvr"}).splits.train[:4]
        return [sample.token_ids for sample in trainer.collect(problems, step)]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)


def test_a_sampler_in_another_type_has_the_weights_of_the_last_update(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "rollout.dtype": "bfloat16", "optim.lr": 5e-4, "samples_per_prompt": 8})
    trainer.step(1)
    trainer.interrupts.release()
    metrics, _ = trainer.step(2)
    assert metrics["sampler_mismatch_abs_mean"] < 0.05, "rounding alone; the update has moved it by more"


def test_the_policy_is_read_again_for_later_updates_alone(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counting(policy: Any, batch: Any, *rest: Any) -> Any:
        if not torch.is_grad_enabled():
            read.append(len(batch.mask))
        return score_tokens(policy, batch, *rest)

    monkeypatch.setattr(trainer_module, "score_tokens", counting)
    trainer = make_trainer({"method": "rlvr"} | SEVERAL)
    samples = rollouts_of(trainer)
    trainer.rescore(samples, 0.0)
    assert read == []
    trainer.update(samples, 0.0, 1)
    _, *later = shares(groups_of(samples, trainer.config), 3)
    assert sum(read) == sum(sample.advantage != 0 for share in later for sample in share) > 0


@pytest.mark.parametrize(
    ("policy", "scores", "counted"), [("zero", [0.0, 0.0], [True, True]), ("mask", [1.0, 0.0], [False, True])]
)
def test_a_truncated_rollout_scores_zero_or_leaves_the_loss(
    make_trainer: MakeTrainer, policy: str, scores: list[float], counted: list[bool]
) -> None:
    trainer = make_trainer(
        {"method": "rlvr", "rollout.truncated": policy, "samples_per_prompt": 4, "prompts_per_step": 1}
    )
    fixed(trainer, question())
    with_responses(trainer, ["#5", "#6", "#5", "#7"], truncated=(0,))
    metrics, samples = trainer.step(1)
    assert [sample.score for sample in samples[:2]] == scores
    assert [sample.counted for sample in samples[:2]] == counted
    assert metrics["truncated_rate"] == 0.25
    assert (samples[0].advantage == 0) == (policy == "mask")
    assert samples[2].advantage > 0 > samples[1].advantage


def test_a_rollout_without_a_verdict_leaves_baseline_and_loss_and_is_counted(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": "rlvr", "prompts_per_step": 1, "samples_per_prompt": 4, "verifier_error_limit": 0.3}
    trainer = make_trainer(settings)
    fixed(trainer, question())
    with_responses(trainer, ["#5", "#6", "#6", "#8"])

    def flaky(submission: Submission, leniency: Leniency) -> Verdict:
        if submission.response == "#8":
            raise RuntimeError("out of order")
        return grade_exact(submission, leniency)

    monkeypatch.setitem(VERIFIERS, "exact", Verifier(flaky))
    metrics, samples = trainer.step(1)
    assert [sample.score for sample in samples] == [1.0, 0.0, 0.0, None]
    assert samples[3].advantage == 0.0
    assert samples[3].credit is None
    assert sum(sample.advantage for sample in samples) == pytest.approx(0.0, abs=1e-6)
    assert metrics["reward_mean"] == pytest.approx(1 / 3)
    assert metrics["no_verdict_rate"] == 0.25
    assert metrics["uncounted"] == 1


def test_too_many_rollouts_without_a_verdict_stop_the_run_and_say_why(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "prompts_per_step": 1, "samples_per_prompt": 4})
    fixed(trainer, question(answer="about five", verifier="numeric"))
    with_responses(trainer, ["#5"])
    with pytest.raises(RlsdError, match=r"4 of 4 responses reached no verdict \(4 bad_reference\)") as caught:
        trainer.step(1)
    assert caught.value.exit_code == 1


def test_a_batch_without_signal_changes_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr", "optim.weight_decay": 0.5})
    fixed(trainer, question())
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
        fixed(trainer, question())
        with_responses(trainer, responses)
    one, two = (gradients(trainer, rollouts_of(trainer), 0.0) for trainer in (single, double))
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
    samples = rollouts_of(trainer)
    for sample in samples:
        assert sample.sampled_logp
        assert len(sample.token_ids) > 1
        sample.sampled_logp = [logp - 1.0 for logp in sample.sampled_logp]
    update = trainer.update(samples, 0.0, 1)
    metrics = update_metrics(update, samples, 0.0)
    assert metrics["sampler_mismatch_abs_mean"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["sampler_mismatch_abs_max"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["sampler_weight_mean"] == pytest.approx(math.e, rel=1e-3)
    assert metrics["sampler_weight_kept_mean"] == pytest.approx(kept, rel=1e-3)
    assert (update.grad_norm == 0) == (kept == 0)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_rewarded_tokens_become_likelier_and_blamed_ones_less_so(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlsd", "optim.lr": 1e-4})
    samples = rollouts_of(trainer)
    trainer.rescore(samples, 0.5)
    trainer.update(samples, 0.5, 1)

    def change(sample: Sample) -> float:
        batch = trainer._tokens([sample.prompt], [sample])
        with torch.no_grad():
            now = score_tokens(trainer.policy, batch, batch.mask, 1.0).logp.sum().item()
        return now - sum(sample.sampled_logp or [])

    changes = [(sample.advantage, change(sample)) for sample in samples if sample.advantage != 0]
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
    samples = rollouts_of(trainer)
    trainer.rescore(samples, 0.0)
    losses = [trainer.update(samples, 0.0, step).loss for step in range(1, 6)]
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
        samples = rollouts_of(trainer)
        trainer.rescore(samples, 0.0)
        with torch.no_grad():
            trainer.policy.model.lm_head.weight.mul_(1.05)
        found.append(gradients(trainer, samples, 0.0))
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.allclose(found[0][name], found[1][name], atol=1e-5)


def test_supervised_training_raises_the_likelihood_of_solutions(make_trainer: MakeTrainer) -> None:
    settings = {"method": "sft", "samples_per_prompt": 1, "prompts_per_step": 32, "optim.lr": 1e-3}
    trainer = make_trainer(settings | {"model": "quickstart-untrained"})
    losses = [trainer.step(step)[0]["loss"] for step in range(1, 9)]
    assert losses[0] == pytest.approx(3.0, abs=0.3)
    assert losses[-1] < losses[0] - 0.3


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_weights(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"method": "rlvr"})
    samples = rollouts_of(trainer)
    before = weights(trainer)
    next(sample for sample in samples if sample.advantage != 0).advantage = float("inf")
    with pytest.raises(RlsdError, match=r"step 7: the loss .* is not finite"):
        trainer.update(samples, 0.0, 7)
    assert_equal(weights(trainer), before, exactly=True)


def test_shares_hold_whole_groups() -> None:
    groups: list[Any] = [[0, 1], [2, 3], [4, 5]]
    assert shares(groups, 1) == [[0, 1, 2, 3, 4, 5]]
    assert shares(groups, 2) == [[0, 1, 2, 3], [4, 5]]
    assert shares(groups, 3) == groups
    assert sorted(map(len, shares(groups[:1], 4))) == [0, 0, 0, 2]
