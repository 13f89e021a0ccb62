"""Plants one fault at a time and runs the test that must notice it.

    python tests/mutations.py               all of them: minutes on two cores
    python tests/mutations.py kl teacher    those whose fault has one of these words

Each is an edit of one place, most of it in the wiring between config, trainer and `core`, where a wrong argument still
trains. `tests/test_mutations.py` holds the list to the code; a mutation that survives makes this script fail.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("rlsd_cli", "verifiers", "presets", "tests", "benchmarks", "pyproject.toml")
WORKERS = 2

REPLAYED = "tests/training/test_replay.py::test_"
ORACLE = "tests/oracle/test_oracle.py::test_three_steps_are_those_of_the_oracle[{}]"


class Mutation(NamedTuple):
    """A fault in words, the text of a file that becomes another, and the test that fails for it."""

    fault: str
    old: str
    new: str
    killer: str


def oracle(fault: str, old: str, new: str, configuration: str) -> Mutation:
    return Mutation(fault, old, new, ORACLE.format(configuration))


TERMS = "tests/methods/test_terms.py::test_"
EVERY_METHOD = "tests/methods/test_every_method.py::test_"
IDLE = (
    "tests/training/test_trainer.py::"
    "test_of_a_sharded_model_a_process_makes_as_many_passes_as_others_and_they_count_for_nothing[{}]"
)
LOSSES = (
    oracle("the weight of the KL is dropped", "return coef * kl * weight", "return kl * weight", "rlvr-kl-k3"),
    oracle("the KL is a plain mean", "return coef * kl * weight", "return coef * kl / kl.numel()", "rlvr-kl-k3"),
    oracle("the KL has one estimator", "run.mask, run.config.loss.kl_estimator)", 'run.mask, "k3")', "rlvr-kl-k2"),
    oracle(
        "the KL is to the policy itself",
        "run.config.temperature, models.reference)",
        "run.config.temperature, models.policy.model)",
        "rlvr-kl-k2",
    ),
    oracle(
        "the KL's reference is read at temperature 1",
        "run.config.temperature, models.reference)",
        "1.0, models.reference)",
        "rlvr-kl-k3",
    ),
    oracle(
        "the lower clip is the upper one",
        '"clip_low": settings.clip_low',
        '"clip_low": settings.clip_high',
        "rlvr-clipped",
    ),
    oracle(
        "the upper clip is the lower one",
        '"clip_high": settings.clip_high',
        '"clip_high": settings.clip_low',
        "rlvr-clipped",
    ),
    oracle("the dual clip is dropped", '"dual_clip": settings.dual_clip', '"dual_clip": None', "rlvr-clipped-dual"),
    oracle(
        "CISPO's clips are swapped",
        "clip_low=settings.clip_low, clip_high=settings.clip_high",
        "clip_low=settings.clip_high, clip_high=settings.clip_low",
        "rlvr-cispo",
    ),
    oracle("there is one surrogate", "SURROGATES[settings.surrogate]", 'SURROGATES["clipped"]', "rlvr-cispo"),
    oracle(
        "GSPO's ratio is a token's",
        '"gspo": (sequence_ratio, _clipped)',
        '"gspo": (token_ratio, _clipped)',
        "rlvr-gspo",
    ),
    oracle(
        "importance weights are always truncated",
        "mode=settings.rollout_correction,",
        'mode="truncate",',
        "rlvr-correction-mask",
    ),
    oracle(
        "importance weights are always a token's",
        "level=settings.rollout_correction_level,",
        'level="token",',
        "rlvr-correction-mask-sequence",
    ),
    oracle(
        "importance weights have no floor",
        "low=settings.rollout_correction_floor,",
        "low=0.0,",
        "rlvr-correction-truncate",
    ),
    oracle(
        "importance weights have the default cap",
        "high=settings.rollout_correction_cap,",
        "high=2.0,",
        "rlvr-correction-truncate",
    ),
    oracle(
        "importance weights are not applied",
        "return coef * found.loss * weight * sampler_weight",
        "return coef * found.loss * weight",
        "rlvr-correction-truncate",
    ),
    oracle(
        "a live teacher meets the student that has moved",
        'compared = self.old_logp if self.config.teacher.weights == "live" else logp',
        "compared = logp",
        "rlsd-live-two",
    ),
    oracle(
        "a frozen teacher meets the student that was",
        'compared = self.old_logp if self.config.teacher.weights == "live" else logp',
        "compared = self.old_logp",
        "rlsd-gspo",
    ),
    oracle(
        "a sampled token's gap has no bound", "kappa=settings.token_clip)", "kappa=None)", "opsd-sampled-token-clip"
    ),
    oracle(
        "the teacher does not read its view",
        "teacher_feature = features(policy, teacher, told.tokens, told.tokens.mask)",
        "teacher_feature = features(policy, teacher, run.batch.tokens, run.mask)",
        "opsd-forward",
    ),
    oracle(
        "the teacher is the policy",
        "teacher_feature = features(policy, teacher, told.tokens, told.tokens.mask)",
        "teacher_feature = features(policy, policy.model, told.tokens, told.tokens.mask)",
        "opsd-forward",
    ),
    oracle(
        "forward is reverse",
        '"forward_kl": 0.0, "reverse_kl": 1.0',
        '"forward_kl": 1.0, "reverse_kl": 0.0',
        "opsd-forward",
    ),
    oracle("beta is dropped", '"jsd": settings.beta}', '"jsd": 0.5}', "opsd-jsd"),
    oracle(
        "the tail is always kept",
        "k=settings.top_k, tail=settings.tail",
        "k=settings.top_k, tail=True",
        "opsd-reverse-top-k-no-tail",
    ),
    oracle(
        "the top k is dropped",
        "if settings.top_k and settings.top_k < student_logp.shape[-1]:",
        "if False:",
        "opsd-forward-top-k",
    ),
    oracle(
        "a token's divergence has no bound",
        "return loss if kappa is None else divergences.clip_token_loss(loss, kappa)",
        "return loss",
        "opsd-forward-token-clip",
    ),
    oracle(
        "a likelihood is a plain mean",
        "negative_log_likelihood(run.student.logp, run.mask) * weight",
        "negative_log_likelihood(run.student.logp, run.mask) / run.mask.sum()",
        "sft-two-updates",
    ),
    Mutation(
        "a policy gradient's coefficient is dropped",
        "return coef * found.loss * weight * sampler_weight",
        "return found.loss * weight * sampler_weight",
        TERMS + "a_coefficient_may_follow_the_step[PolicyGradient-forward_kl]",
    ),
    Mutation(
        "a credit is recorded without its coefficient",
        "torch.where(weight != 0, coef * credit.value, 0.0)",
        "torch.where(weight != 0, credit.value, 0.0)",
        TERMS + "a_coefficient_may_follow_the_step[PolicyGradient-forward_kl]",
    ),
    Mutation(
        "a likelihood's coefficient is dropped",
        "return coef * negative_log_likelihood(",
        "return negative_log_likelihood(",
        TERMS + "a_coefficient_may_follow_the_step[Likelihood-forward_kl]",
    ),
    Mutation(
        "a distillation's coefficient is dropped",
        "tokens, coef * weight, heat",
        "tokens, weight, heat",
        TERMS + "a_coefficient_may_follow_the_step[Distill-forward_kl]",
    ),
    Mutation(
        "a sampled token's coefficient is dropped",
        "torch.where(mask, values, 0.0) * (coef * weight)",
        "torch.where(mask, values, 0.0) * weight",
        TERMS + "a_coefficient_may_follow_the_step[Distill-sampled_token]",
    ),
    Mutation(
        "the loss is its first term",
        "loss=sum(losses[1:], start=losses[0])",
        "loss=losses[0]",
        TERMS + "two_terms_share_a_pass_of_the_student_and_add_up",
    ),
    Mutation(
        "each term reads the student anew",
        "    @cached_property\n    def feature(",
        "    @property\n    def feature(",
        TERMS + "two_terms_share_a_pass_of_the_student_and_add_up",
    ),
    Mutation(
        "what is not shown is distilled",
        "mask = run.mask & told.rows[:, None]",
        "mask = run.mask",
        TERMS + "beside_another_term_what_is_not_shown_stays_in_that_and_weighs_nothing_in_the_distillation",
    ),
    Mutation(
        "a sharded teacher waits for a pass",
        "features(policy, teacher, told.tokens, told.tokens.mask)  # other processes may wait for this pass",
        "pass",
        TERMS + "where_nobody_is_shown_anything_the_teacher_makes_its_pass_all_the_same",
    ),
    Mutation(
        "the last view is recorded alone",
        "torch.where(earlier.shown, earlier.teacher_logp, teacher_logp)",
        "teacher_logp",
        TERMS + "what_two_views_are_distilled_for_is_recorded_of_both",
    ),
    Mutation(
        "the student is recorded for the last view alone",
        "torch.where(mask, now, before)",
        "now",
        TERMS + "what_two_views_are_distilled_for_is_recorded_of_both",
    ),
)
STEPS = "tests/training/test_trainer.py"
NO_PASS = STEPS + "::test_no_teacher_pass_where_lambda_or_the_advantage_is_zero"
RLSD = (
    oracle("lambda starts at the default", "initial=settings.mix,", "initial=0.5,", "rlsd-frozen"),
    oracle("lambda has no warm-up", "warmup_steps=settings.mix_warmup_steps,", "warmup_steps=0,", "rlsd-snapshot"),
    oracle(
        "lambda decays in the default time", "decay_steps=settings.mix_decay_steps,", "decay_steps=50,", "rlsd-frozen"
    ),
    oracle("lambda's first step is always 1", "first_index=settings.mix_first_index,", "first_index=1,", "rlsd-frozen"),
    oracle("all tokens are reweighted", "weighted=reading.shown[:, 0], **bounds", "**bounds", "rlsd-live"),
    oracle("lambda has no schedule", '"mix": mix(settings, step)', '"mix": settings.mix', "rlsd-frozen"),
    oracle("the credit's clip is the default", '"clip": settings.clip}', '"clip": 0.2}', "rlsd-frozen"),
    oracle(
        "the wrong half of the rollouts is reweighted",
        'attempt.advantage < 0 or (attempt.advantage > 0 and settings.rollouts == "all")',
        'attempt.advantage > 0 or (attempt.advantage < 0 and settings.rollouts == "all")',
        "rlsd-negative",
    ),
    oracle("a method's thoughts are not told apart", "tokens=lambda settings: settings.tokens", "", "rlsd-live"),
    Mutation(
        "rollouts without advantage are read by the teacher",
        'attempt.advantage < 0 or (attempt.advantage > 0 and settings.rollouts == "all")',
        'attempt.advantage < 0 or settings.rollouts == "all"',
        NO_PASS,
    ),
    Mutation(
        "the teacher reads where lambda is 0",
        "return mix(settings, step) > 0 and settings.clip > 0",
        "return settings.clip > 0",
        NO_PASS,
    ),
)
REVERSED = "tests/methods/test_rlrt.py"
RLRT = (
    oracle(
        "there is no reversed gap",
        "student_logp=reading.logp[:, 0],",
        "student_logp=evidence.student_logp,",
        "rlrt-frozen",
    ),
    oracle("responses that lost are reversed", "attempt.advantage > 0", "attempt.advantage != 0", "rlrt-frozen"),
    oracle("the reversed weight has the default clip", '"clip": settings.clip}', '"clip": 0.5}', "rlrt-frozen"),
    oracle("the reversed weight has the default lambda", '"mix": mix(settings, step)', '"mix": 0.5', "rlrt-frozen"),
    Mutation(
        "wrong responses are reversed",
        "attempt.correct is True and ",
        "",
        f"{REVERSED}::test_only_correct_rollouts_above_their_group_are_read",
    ),
    Mutation(
        "all tokens have a reversed weight",
        "weighted=reading.shown[:, 0],",
        "weighted=None,",
        f"{REVERSED}::test_a_rollout_that_the_teacher_did_not_read_keeps_its_advantage_bit_for_bit",
    ),
    Mutation(
        "a reversed teacher reads where lambda is 0",
        "return settings.mix > 0 and settings.clip > 0",
        "return settings.clip > 0",
        f"{REVERSED}::test_no_teacher_is_asked_where_its_word_could_not_count",
    ),
)
READING = (
    oracle("thoughts are not told apart", 'if view.tokens(self.config.credit) == "thought":', "if False:", "rlsd-live"),
    Mutation(
        "views are read at steps at which the method does not",
        "if view.when(self.config.credit, step):",
        "if True:",
        NO_PASS,
    ),
    Mutation(
        "a view is shown to all",
        "if member.left_out is None and view.where(attempt, attempts, self.config.credit):",
        "if member.left_out is None:",
        TERMS + "a_rollout_that_a_distillation_shows_nothing_for_is_left_out_and_said",
    ),
    Mutation(
        "a reading goes to another rollout",
        "scored[place].append(found[at])",
        "scored[place].append(found[len(owners) - 1 - at])",
        TERMS + "a_view_of_several_texts_is_read_once_for_each",
    ),
)
PASSES = (
    oracle("the teacher reads at temperature 1", "= config.temperature", "= 1.0", "rlsd-ema"),
    Mutation(
        "there are no idle passes of readings",
        "for places in [*cuts, *self.idle(len(cuts))]:",
        "for places in cuts:",
        IDLE.format("rlsd"),
    ),
)
LEARNER = (
    oracle(
        "the learning rate has no schedule",
        "step, schedule=optim.schedule,",
        'step, schedule="constant",',
        "rlvr-linear",
    ),
    oracle(
        "the learning rate has no warm-up",
        "warmup_steps=optim.warmup_steps, total",
        "warmup_steps=0, total",
        "rlvr-linear",
    ),
    oracle(
        "the learning rate ends a step later",
        "total_steps=self.config.steps\n",
        "total_steps=self.config.steps + 1\n",
        "rlvr-linear",
    ),
    oracle(
        "the learning rate is a step late",
        "            step, schedule=optim.schedule,",
        "            step - 1, schedule=optim.schedule,",
        "rlvr-linear",
    ),
    oracle(
        "the learning rate is not scaled", 'group["lr"] = optim.lr * scale', 'group["lr"] = optim.lr', "rlvr-linear"
    ),
    oracle(
        "a snapshot is taken a step early",
        "self.teacher.after_update(step)",
        "self.teacher.after_update(step + 1)",
        "rlsd-snapshot",
    ),
    oracle(
        "gradients are clipped at 1",
        "self.policy.model.parameters(), self.config.optim.max_grad_norm)",
        "self.policy.model.parameters(), 1.0)",
        "rlvr-linear",
    ),
    oracle(
        "the loss of several updates is their sum",
        "Figures(sum(losses) / len(losses),",
        "Figures(sum(losses),",
        "rlvr-clipped",
    ),
    oracle(
        "the norm of several updates is the first's", "max(norms), totals)", "norms[0], totals)", "rlvr-three-updates"
    ),
    oracle(
        "later updates are taken for the first",
        "[first, *map(self._with_old_logp, later)]",
        "[first, *later]",
        "rlvr-clipped",
    ),
    oracle(
        "updates come in reverse",
        "in shares(kept, optim.updates_per_batch)]",
        "in reversed(shares(kept, optim.updates_per_batch))]",
        "rlvr-clipped",
    ),
    oracle(
        "there is one update a batch",
        "in shares(kept, optim.updates_per_batch)]",
        "in shares(kept, 1)]",
        "rlvr-clipped",
    ),
    oracle(
        "replaced groups stay",
        "kept = [each for each in taught if not is_replaced(each.group)]",
        "kept = [*taught]",
        "rlvr-refill-two",
    ),
    oracle(
        "gradients add up over steps",
        "        self.optimizer.step()\n        self.optimizer.zero_grad()\n",
        "        self.optimizer.step()\n",
        "rlvr-leave-one-out",
    ),
    oracle(
        "the old policy is the sampler's word",
        "old_logp = padded([scored[place] for place in range(len(batch.keys))], batch.columns.mask)",
        "old_logp = batch.columns.sampled_logp",
        "rlvr-clipped",
    ),
    Mutation(
        "the sampler keeps the old weights",
        "        self.sampler.update_weights()\n        losses, norms",
        "        losses, norms",
        STEPS + "::test_a_sampler_in_another_type_has_the_weights_of_the_last_update",
    ),
    Mutation(
        "what is said of a rollout goes to another",
        "Trace(*column) for place, column in zip(places, columns, strict=True)",
        "Trace(*column) for place, column in zip(sorted(places), columns, strict=True)",
        EVERY_METHOD + "what_is_recorded_of_a_rollout_is_its_own",
    ),
    Mutation(
        "a micro-batch has the weights of others",
        "select(batch.columns, torch.tensor(places), tokens.mask.shape[1])",
        "select(batch.columns, torch.arange(len(places)), tokens.mask.shape[1])",
        EVERY_METHOD + "neither_cuts_nor_padding_change_loss_and_gradient",
    ),
    Mutation(
        "idle passes have gradients",
        "micro_loss = losses.loss.sum() if places else 0.0 * losses.loss.sum()",
        "micro_loss = losses.loss.sum()",
        IDLE.format("rlvr"),
    ),
    Mutation(
        "idle passes are counted",
        "            if not places:\n                continue\n",
        "",
        IDLE.format("rlvr"),
    ),
    Mutation(
        "there are no idle passes in an update",
        "for places in [*own, *self.passes.idle(len(own))]:",
        "for places in own:",
        IDLE.format("rlvr"),
    ),
    Mutation(
        "an update without rollouts is made",
        "        if not batch.keys:\n            return 0.0, 0.0\n",
        "",
        EVERY_METHOD + "groups_without_signal_leave_only_finite_numbers",
    ),
)
ASSEMBLE = (
    oracle(
        "the constant reduction divides by the default length",
        "longest = config.rollout.max_new_tokens",
        "longest = 512",
        "rlvr-no-baseline",
    ),
    oracle("there is one reduction", "counted, config.loss.reduction,", 'counted, "sequence_mean",', "rlvr-kl-k3"),
    oracle(
        "what does not count stays in denominators",
        "[item for item in _items(taught) if item.member.left_out is None]",
        "[*_items(taught)]",
        "rlvr-truncated-masked-two",
    ),
    oracle(
        "the KL leaves rollouts without advantage",
        "            for term, to in zip(config.terms, routed, strict=True)",
        "            for term, to in zip(config.recipe.terms, routed)",
        "rlvr-kl-k2",
    ),
    Mutation(
        "every denominator is a term's own",
        'counted = everywhere if term.counted == "all" else part != 0',
        "counted = part != 0",
        TERMS + "a_term_is_divided_by_its_own_tokens_or_by_those_of_all",
    ),
    Mutation(
        "every denominator is that of all terms",
        'counted = everywhere if term.counted == "all" else part != 0',
        "counted = everywhere",
        TERMS + "a_term_is_divided_by_its_own_tokens_or_by_those_of_all",
    ),
    Mutation(
        "what a term alone counts is in every denominator",
        'strict=True) if term.counted == "all"]',
        "strict=True)]",
        TERMS + "what_a_term_alone_counts_is_in_no_other_denominator",
    ),
    Mutation(
        "every term is about every rollout",
        "return shown and term.route(item.attempt, item.group, config.credit)",
        "return shown",
        TERMS + "a_term_is_divided_by_its_own_tokens_or_by_those_of_all",
    ),
    Mutation(
        "a rule of tokens is ignored",
        "if term.tokens is None else",
        "if True else",
        TERMS + "a_rule_weighs_tokens_and_those_without_weight_are_not_counted",
    ),
    Mutation(
        "a rule's word on what is no token counts",
        "return torch.where(mask, rule(_before(columns._replace(mask=mask)), config.credit), 0.0)",
        "return rule(_before(columns._replace(mask=mask)), config.credit) * routed[:, None]",
        TERMS + "a_rule_weighs_tokens_and_those_without_weight_are_not_counted",
    ),
    Mutation(
        "what has no gradient is trained",
        "to[place] and term.moves(item.attempt, item.group, config.credit)",
        "to[place]",
        TERMS + "what_has_no_gradient_stays_in_the_denominator_and_what_no_term_is_about_does_not",
    ),
    Mutation(
        "what no term is about is said to lack a view",
        'return "no_view" if wanted else "no_term"',
        'return "no_view"',
        TERMS + "what_has_no_gradient_stays_in_the_denominator_and_what_no_term_is_about_does_not",
    ),
    Mutation(
        "what lacks a view is said to be in no term",
        'return "no_view" if wanted else "no_term"',
        'return "no_term"',
        TERMS + "a_rollout_that_a_distillation_shows_nothing_for_is_left_out_and_said",
    ),
    Mutation(
        "every text of a view is the first",
        "read.scored[k] if read and k < len(read.scored)",
        "read.scored[0] if read and read.scored",
        TERMS + "a_view_of_several_texts_is_read_once_for_each",
    ),
    Mutation(
        "a reading is about all tokens",
        "about = torch.tensor([read.tokens if read else 0 for read in reads], dtype=torch.long)",
        "about = mask.sum(1)",
        ORACLE.format("rlsd-live"),
    ),
)
DRAWS = STEPS + "::test_draws_are_those_of_the_step_and_the_seed"
EXPERIENCE = (
    Mutation(
        "a draw keeps everything",
        "draw.keep(attempts[index], attempts, settings)",
        "True",
        "tests/training/test_draws.py::test_what_is_drawn_has_no_advantage_and_is_in_no_baseline",
    ),
    Mutation(
        "what is drawn is read by the student",
        "told=Told(draw.under, prompts),",
        "",
        "tests/training/test_draws.py::test_more_is_drawn_where_the_method_asks_for_it_and_nowhere_else",
    ),
    oracle(
        "sampling ignores its temperature",
        "self.world.local(problems),\n            config,\n            self.pool,\n            samples=size,\n"
        "            sampling=Sampling(config.rollout.max_new_tokens, temperature=config.rollout.temperature)",
        "self.world.local(problems),\n            config,\n            self.pool,\n            samples=size,\n"
        "            sampling=Sampling(config.rollout.max_new_tokens, temperature=1.0)",
        "rlvr-kl-k3",
    ),
    Mutation(
        "every step draws the same",
        'seed=f"{config.seed}/rollouts/{step}"',
        'seed=f"{config.seed}/rollouts"',
        DRAWS,
    ),
    Mutation(
        "draws do not depend on the seed",
        'seed=f"{config.seed}/rollouts/{step}"',
        'seed=f"rollouts/{step}"',
        DRAWS,
    ),
    Mutation(
        "more is drawn than `rollout.refill` allows",
        "min(num_flat - num_replaced, left - num_drawn)",
        "num_flat - num_replaced",
        STEPS + "::test_groups_without_signal_are_drawn_anew_and_leave_the_loss",
    ),
)
OPTIMIZER = (
    oracle("the two betas are swapped", "(optim.beta1, optim.beta2)", "(optim.beta2, optim.beta1)", "rlvr-linear"),
    oracle("beta1 is the default", "(optim.beta1, optim.beta2)", "(0.9, optim.beta2)", "rlvr-linear"),
    oracle("beta2 is the default", "(optim.beta1, optim.beta2)", "(optim.beta1, 0.999)", "rlvr-linear"),
    oracle("AdamW's eps is the default", '"eps": optim.eps', '"eps": 1e-8', "rlvr-linear"),
    oracle("decay is the default", '"weight_decay": optim.weight_decay', '"weight_decay": 0.01', "rlvr-linear"),
    oracle(
        "vectors decay too",
        'if p.ndim < 2], "weight_decay": 0.0',
        'if p.ndim < 2], "weight_decay": optim.weight_decay',
        "rlvr-cosine",
    ),
)
PARTS = "tests/training/test_reward_parts.py::test_"
REWARDS = (
    oracle("parts weigh the same", "sum(weight * parts[name] for", "sum(parts[name] for", "rlvr-reward-parts"),
    oracle(
        "the penalty of length begins at the limit",
        "max(-1.0, (limit - buffer - num_tokens) / buffer))\n",
        "max(-1.0, (limit - num_tokens) / buffer))\n",
        "rlvr-reward-parts",
    ),
)
ASKED_REWARDS = (
    Mutation(
        "a group's function is called with one response at a time",
        "    if not _takes_group(name):\n",
        "    if True:\n",
        PARTS + "a_score_is_the_weighted_sum_of_its_parts_and_advantages_are_of_it",
    ),
    Mutation(
        "a group's failure is that of a response",
        "            if part.of_group:\n",
        "            if False:\n",
        PARTS + "a_function_of_groups_that_fails_stops_the_run_with_its_reason",
    ),
)
FINGERPRINT = (
    Mutation(
        "the source of a reward is no input",
        "for name in config.reward.functions}",
        "for name in ()}",
        PARTS + "a_run_is_not_continued_with_a_function_that_has_changed",
    ),
)
JUDGING = (
    oracle(
        "what is cut is always masked",
        'if rollout.truncated and config.rollout.truncated == "mask":',
        "if rollout.truncated:",
        "rlsd-ema",
    ),
    oracle(
        "what is cut is never masked",
        'if rollout.truncated and config.rollout.truncated == "mask":',
        "if False:",
        "rlvr-truncated-masked-two",
    ),
    oracle("what is cut keeps its answer", "ANSWER: 0.0 if is_zero else answer,", "ANSWER: answer,", "rlsd-ema"),
    Mutation(
        "what is masked has no answer",
        'is_zero = rollout.truncated and config.rollout.truncated == "zero"',
        "is_zero = rollout.truncated",
        PARTS + "a_response_that_is_cut_and_masked_is_in_no_baseline_whatever_its_parts",
    ),
    Mutation(
        "groups are named by their sums",
        "answers = {member.parts.get(ANSWER) for member, _ in compared}",
        "answers = {member.score for member, _ in compared}",
        PARTS + "a_group_has_no_signal_where_sums_are_equal_and_is_named_by_its_answers",
    ),
    Mutation(
        "a part without a value is no reason",
        "if verdict.is_verdict and (why := failure(pending.parts)):",
        "if verdict.is_verdict and (why := failure({})):",
        PARTS + "a_response_that_a_function_has_no_value_for_has_no_verdict",
    ),
    oracle(
        "the buffer of a length is its limit",
        "settings.buffer(limit)),",
        "limit),",
        "rlvr-reward-parts",
    ),
    oracle("there is one baseline", "baseline=settings.baseline,", 'baseline="mean",', "rlvr-leave-one-out"),
    oracle("there is one scale", "scale=settings.scale,", 'scale="group_std",', "rlvr-batch-std"),
    oracle("the deviation is always unbiased", "ddof=settings.ddof,", "ddof=1,", "rlvr-population-std"),
    oracle(
        "nothing but the default is added to a deviation", "eps=settings.eps,", "eps=1e-6,", "rlvr-leave-one-out-scaled"
    ),
    oracle(
        "no verdict is a score of 0",
        '"no_verdict" if score is None and config.recipe.scored else None',
        "None",
        "rlvr-kl-k2",
    ),
    oracle(
        "what is left of groups goes to the last share",
        "[round(index * len(groups) / parts) for index in range(parts + 1)]",
        "[*range(0, parts * (len(groups) // parts), max(1, len(groups) // parts))][:parts] + [len(groups)]",
        "rlvr-uneven-shares",
    ),
    Mutation(
        "without signal is what has equal scores",
        "if any(advantage != 0 for _, advantage in compared):",
        "if len({member.score for member, _ in compared}) > 1:",
        "tests/training/test_judging.py::test_without_a_baseline_equal_scores_are_advantages",
    ),
)
TEACHER = (
    oracle("an average goes the wrong way", "self.config.ema_rate)", "1 - self.config.ema_rate)", "rlsd-ema"),
    oracle(
        "a snapshot is taken after other steps",
        "step % self.config.sync_every == 0",
        "step % self.config.sync_every == 1",
        "rlsd-snapshot",
    ),
    oracle("a snapshot is taken after every step", "step % self.config.sync_every == 0", "step > 0", "rlsd-snapshot"),
    oracle("every teacher is live", 'if config.weights != "live":', "if False:", "rlsd-frozen"),
)
EVALUATION = "tests/evaluation/test_evaluate.py"
SAMPLING = EVALUATION + "::test_sampling_is_the_evaluations_own"
DIFFICULTY = (
    Mutation("an evaluation's temperature is 1", "temperature=settings.temperature,", "temperature=1.0,", SAMPLING),
    Mutation("an evaluation's top p is dropped", "top_p=settings.top_p,", "top_p=1.0,", SAMPLING),
    Mutation("an evaluation's top k is dropped", "top_k=settings.top_k,", "top_k=0,", SAMPLING),
    Mutation(
        "an evaluation's length is training's",
        "settings.max_new_tokens or config.rollout.max_new_tokens",
        "config.rollout.max_new_tokens",
        SAMPLING,
    ),
)
EVALUATE = (
    Mutation("an evaluation ignores the seed", 'f"{config.seed}/evaluation"', '"evaluation"', EVALUATION),
    Mutation(
        "an evaluation draws as step 1 does", 'f"{config.seed}/evaluation"', 'f"{config.seed}/rollouts/1"', EVALUATION
    ),
    Mutation("samples are counted wrongly", "index % samples, config", "index // samples, config", EVALUATION),
    Mutation(
        "no verdict is a score of 0 in an evaluation",
        '"score": verdict.score if verdict.is_verdict else None',
        '"score": verdict.score',
        EVALUATION,
    ),
)
MODELS = (
    oracle(
        "the reference moves with the policy",
        "reference=initial_copy(policy) if",
        "reference=policy.model if",
        "rlvr-kl-k2",
    ),
)
PROBLEMS = (
    Mutation(
        "problems are chosen by place",
        "sorted(problems, key=lambda problem: (problem.fingerprint, problem.id))[:limit]",
        "[*problems][:limit]",
        EVALUATION,
    ),
)
REPLAY = (
    Mutation(
        "a replay starts from the end",
        "int(path.name) < step]",
        "int(path.name) <= step]",
        REPLAYED + "a_step_repeats_to_the_last_bit",
    ),
    Mutation(
        "the other method reads the recorded one's keys",
        "_trainer(run, other, trainer.world, policy)",
        "_trainer(run, trainer.config, trainer.world, policy)",
        REPLAYED + "another_method_is_asked_about_the_same_rollouts_and_changes_nothing",
    ),
    Mutation(
        "weights are not compared",
        'COMPARED = ("loss", "grad_norm", "weights_digest")',
        'COMPARED = ("grad_norm", "weights_digest")',
        REPLAYED + "a_step_that_came_out_otherwise_is_said_to_differ",
    ),
)
RUNDIR = (
    Mutation(
        "changed rollouts are read",
        "if known != hashlib.sha256(lines).hexdigest():",
        "if False:",
        REPLAYED + "rollouts_with_a_flipped_bit_are_refused",
    ),
)
DIGEST = (
    Mutation(
        "all weights have one digest",
        "hashlib.sha256(repr(wrapped).encode())",
        "hashlib.sha256(b'')",
        REPLAYED + "the_digest_of_weights_tells_steps_apart_and_is_that_of_the_checkpoint",
    ),
)
RESPOND = (
    Mutation(
        "draws depend on the place of a problem",
        'keys.append(f"{problem.id}/{seen[problem.id]}")',
        'keys.append(f"{len(keys)}")',
        EVALUATION,
    ),
    Mutation(
        "a repeated problem gets the same draws",
        'keys.append(f"{problem.id}/{seen[problem.id]}")',
        'keys.append(f"{problem.id}")',
        EVALUATION,
    ),
)
STATISTICS = (
    Mutation(
        "pass@k is of complete problems",
        "for x in per_problem if len(x) >= k]",
        "for x in per_problem if len(x) == max(map(len, per_problem))]",
        "tests/statistics/test_rates.py",
    ),
    Mutation(
        "a partial score is a pass",
        "sum(score == 1 for score in x)",
        "sum(score > 0 for score in x)",
        "tests/statistics/test_rates.py",
    ),
    Mutation(
        "samples are the unit of an interval",
        "min(max(n_eff, num_problems), num_samples)",
        "num_samples",
        "tests/statistics/test_rates.py",
    ),
)
MEANS = "tests/training/test_metrics.py"
METRICS = (
    Mutation(
        "credit weights are a mean over all tokens",
        'self.mean(name, f"{name}_tokens") for name',
        'self.mean(name, "tokens") for name',
        MEANS,
    ),
    Mutation(
        "the gap is a mean over all tokens", 'totals.mean("gap", "shown_tokens")', 'totals.mean("gap", "tokens")', MEANS
    ),
    Mutation(
        "the ratio's clip rate is one of sampled tokens",
        'totals.mean("ratio_clipped", "tokens")',
        'totals.mean("ratio_clipped", "sampled_tokens")',
        MEANS,
    ),
    Mutation(
        "kept importance weights are raw ones",
        'totals.mean("kept_weight", "sampled_tokens")',
        'totals.mean("sampler_weight", "sampled_tokens")',
        MEANS,
    ),
    Mutation(
        "weights of other tokens are counted",
        "mean: torch.where(asked, values, 0)",
        "mean: values",
        MEANS,
    ),
    Mutation(
        "answers are counted over responses",
        'outcomes["no_answer"] / judged',
        'outcomes["no_answer"] / len(members)',
        MEANS,
    ),
    Mutation(
        "what assembly leaves out is not counted",
        " + Counter(nowhere.values())",
        "",
        MEANS + "::test_what_is_in_no_loss_is_counted_by_its_reason",
    ),
)
RUN = (
    Mutation(
        "a state between two updates is saved as the last step's",
        "if done and not moved_on and",
        "if done and",
        "tests/training/test_run.py::test_a_run_that_stops_on_a_loss_that_is_not_finite_says_what_is_kept",
    ),
)
SCHEMA = (
    oracle(
        "temperature is dropped",
        'return self.rollout.temperature if self.recipe.responses == "policy" else 1.0',
        "return 1.0",
        "rlvr-kl-k3",
    ),
    Mutation(
        "solutions are read at the sampling temperature",
        'return self.rollout.temperature if self.recipe.responses == "policy" else 1.0',
        "return self.rollout.temperature",
        STEPS + "::test_solutions_are_read_at_temperature_1_and_samples_at_the_one_they_were_drawn_at",
    ),
)
CHOICES = (
    Mutation(
        "GSPO's clips are swapped",
        '"loss.clip_low": 3e-4, "loss.clip_high": 4e-4',
        '"loss.clip_low": 4e-4, "loss.clip_high": 3e-4',
        "tests/config/test_schema.py",
    ),
)
READS = (
    Mutation(
        "the KL is taken for sft too",
        '"loss.kl_coef": _samples,',
        "",
        "tests/config/test_reads.py::test_each_method_reads_what_its_parts_need",
    ),
)
RECORDING = (
    Mutation(
        "what assembly leaves out is recorded as counted",
        "member = member._replace(left_out=updated.left_out.get(key, member.left_out))",
        "pass",
        TERMS + "a_rollout_that_a_distillation_shows_nothing_for_is_left_out_and_said",
    ),
)
VIEWS = (
    Mutation(
        "all texts of a view are shown",
        "return texts[:most]",
        "return texts",
        TERMS + "a_view_of_several_texts_is_read_once_for_each",
    ),
)
CHECKPOINT = (
    Mutation(
        "a checkpoint has no teacher",
        '"teacher": (self.teacher and self.teacher.state()) or {}',
        '"teacher": {}',
        EVERY_METHOD + "a_run_goes_on_from_a_checkpoint_as_if_nothing_had_been",
    ),
    Mutation(
        "the optimiser begins anew",
        '    set_optimizer_state_dict(policy.model, optimizer, state["optimizer"])\n',
        "",
        EVERY_METHOD + "a_run_goes_on_from_a_checkpoint_as_if_nothing_had_been",
    ),
)
DIVERGENCES = (
    Mutation(
        "the tail holds everything", "logp.scatter(-1, support, nothing)", "logp", "tests/core/test_divergences.py"
    ),
)
BATCH = "tests/policy/test_batch.py"
ATTENTION = (
    Mutation(
        "guards see the buckets",
        "@dataclass(frozen=True, eq=False)\nclass AttentionRows:",
        "from typing import NamedTuple\nclass AttentionRows(NamedTuple):",
        "tests/policy/test_compile_check.py::test_a_layer_is_compiled_once_for_batches_of_any_number_of_buckets",
    ),
    Mutation(
        "a row reads on after its end",
        "torch.arange(width), sizes - 1)",
        "torch.arange(width), sizes)",
        BATCH,
    ),
    Mutation(
        "a row's own tokens come one late", "parts.starts[own] - before])", "parts.starts[own] - before + 1])", BATCH
    ),
    Mutation("an own token is at home in the prompt", "home[own] = first + before", "home[own] = first", BATCH),
)
LAYOUT = (
    Mutation("the first token is predicted by nothing before it", "predictors[:, 0] = layout.last", "pass", BATCH),
    Mutation(
        "a token predicts itself", "layout.first[:, None] + (column - 1)", "layout.first[:, None] + column", BATCH
    ),
    Mutation("a response begins at position 0", "positions[own] = given[shared]", "pass", BATCH),
    Mutation("a packed response keeps its last token", "read[own] -= 1", "pass", BATCH),
    Mutation("padding counts", "mask = column < ", "mask = column <= ", BATCH),
)
PRESETS = "tests/config/test_schema.py"
FUTURE_KL = "tests/core/test_future_kl.py::test_"
CONTRAST = (
    Mutation(
        "a contrast may turn the sign of an advantage",
        "return torch.where(base == 0, value, bounded)",
        "return value",
        "tests/core/test_contrast.py::test_a_credit_falls_to_0_and_not_beyond[-0.1-expected1]",
    ),
    Mutation(
        "a mixture counts texts that were not shown",
        "total - count.clamp(min=1).log()",
        "total - torch.tensor(logp.shape[1]).log()",
        "tests/core/test_contrast.py::test_a_mixture_is_over_the_texts_that_there_are",
    ),
)
CEPO = (
    Mutation(
        "CEPO weighs where there was no wrong answer",
        "weighted=right.shown[:, 0] & wrong.shown[:, 0]",
        "weighted=right.shown[:, 0]",
        "tests/methods/test_signals.py::test_cepo_without_a_wrong_answer_is_grpo",
    ),
    Mutation(
        "CEPO takes the wrong answer for the right one",
        'right, wrong = evidence.readings["hint"], evidence.readings["wrong"]',
        'wrong, right = evidence.readings["hint"], evidence.readings["wrong"]',
        "tests/methods/test_signals.py::test_cepo_weighs_by_the_right_answer_against_a_wrong_one[1.0-expected0]",
    ),
)
SRPO = (
    Mutation(
        "SRPO distils a failure without a success beside it",
        "return attempt.correct is False and any(other.correct is True for other in group)",
        "return attempt.correct is False",
        "tests/methods/test_signals.py::test_srpo_distils_what_failed_beside_a_success_and_rewards_the_rest",
    ),
)
VALUES = (
    Mutation(
        "tokens before the first value take its gain",
        "return [*[0.0] * bounds[0], *gains]",
        "return [*gains]",
        "tests/rollout/test_values.py::test_tokens_before_the_first_value_and_all_without_one_have_no_gain",
    ),
    Mutation(
        "a continuation may be longer than the response",
        "limits=[limit - length for _, length in places]",
        "limits=[limit for _ in places]",
        "tests/rollout/test_values.py::test_a_value_is_the_mean_score_of_what_follows_the_prefix",
    ),
    Mutation(
        "a continuation that is cut has no score",
        "    if pending is None:\n        return 0.0",
        "    if pending is None:\n        return None",
        "tests/rollout/test_values.py::test_a_continuation_that_is_cut_scores_0",
    ),
)
MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "rlsd_cli/rollout/values.py": VALUES,
    "rlsd_cli/core/contrast.py": CONTRAST,
    "rlsd_cli/methods/cepo.py": CEPO,
    "rlsd_cli/methods/srpo.py": SRPO,
    "rlsd_cli/methods/rlsd.py": RLSD,
    "rlsd_cli/methods/rlrt.py": RLRT,
    "rlsd_cli/training/experience.py": EXPERIENCE,
    "rlsd_cli/training/judging.py": JUDGING,
    "rlsd_cli/core/rewards.py": REWARDS,
    "rlsd_cli/grading/rewards.py": ASKED_REWARDS,
    "rlsd_cli/evaluation/fingerprint.py": FINGERPRINT,
    "rlsd_cli/training/reading.py": READING,
    "rlsd_cli/training/passes.py": PASSES,
    "rlsd_cli/training/assemble.py": ASSEMBLE,
    "rlsd_cli/training/losses.py": LOSSES,
    "rlsd_cli/training/learner.py": LEARNER,
    "rlsd_cli/training/optimizer.py": OPTIMIZER,
    "rlsd_cli/training/recording.py": RECORDING,
    "rlsd_cli/training/checkpoint.py": CHECKPOINT,
    "rlsd_cli/data/views.py": VIEWS,
    "rlsd_cli/training/metrics.py": METRICS,
    "rlsd_cli/training/run.py": RUN,
    "rlsd_cli/policy/teacher.py": TEACHER,
    "rlsd_cli/policy/attention.py": ATTENTION,
    "rlsd_cli/policy/batch.py": LAYOUT,
    "rlsd_cli/core/divergences.py": DIVERGENCES,
    "rlsd_cli/evaluation/difficulty.py": DIFFICULTY,
    "rlsd_cli/evaluation/evaluate.py": EVALUATE,
    "rlsd_cli/policy/models.py": MODELS,
    "rlsd_cli/data/problems.py": PROBLEMS,
    "rlsd_cli/training/replay.py": REPLAY,
    "rlsd_cli/training/digest.py": DIGEST,
    "rlsd_cli/runs/rundir.py": RUNDIR,
    "rlsd_cli/rollout/respond.py": RESPOND,
    "rlsd_cli/statistics/rates.py": STATISTICS,
    "rlsd_cli/config/schema.py": SCHEMA,
    "rlsd_cli/config/choices.py": CHOICES,
    "rlsd_cli/config/reads.py": READS,
    "presets/rlsd-official.toml": (
        Mutation("the script's decay is the paper's", "mix_decay_steps = 60", "mix_decay_steps = 50", PRESETS),
        Mutation("the script's model thinks", "thinking = false", "thinking = true", PRESETS),
        Mutation("the script has no dual clip", "dual_clip = 3.0\n", "", PRESETS),
    ),
    "presets/rlsd-paper.toml": (
        Mutation("the paper's teacher is the script's", "sync_every = 10", "sync_every = 20", PRESETS),
        Mutation(
            "the paper's loss is the script's", 'reduction = "sequence_mean"', 'reduction = "token_mean"', PRESETS
        ),
        Mutation("the paper's model thinks", "thinking = false", "thinking = true", PRESETS),
    ),
    "presets/gsm8k-opsd.toml": (Mutation("OPSD has the learning rate of GRPO", "lr = 1e-5", "lr = 1e-6", PRESETS),),
    "rlsd_cli/methods/fipo.py": (
        Mutation(
            "FIPO compares the policy with itself",
            "evidence.advantage, evidence.logp, evidence.old_logp, evidence.mask",
            "evidence.advantage, evidence.logp, evidence.logp, evidence.mask",
            "tests/methods/test_fipo.py::test_in_a_step_the_first_update_has_the_advantage_and_the_second_its_weight",
        ),
        Mutation(
            "FIPO's settings are not passed on",
            "**settings.model_dump()",
            "**Settings().model_dump()",
            "tests/methods/test_fipo.py::test_without_a_band_it_is_rlvr_with_its_loss_bit_for_bit",
        ),
        Mutation(
            "FIPO trains with ratios of 1",
            "    fault=needs_ratios,\n",
            "",
            "tests/methods/test_fipo.py::test_one_update_a_batch_is_refused_with_the_reason",
        ),
    ),
    "rlsd_cli/core/future_kl.py": (
        Mutation(
            "the limit of ratios is for lost responses alone",
            "torch.where(beyond, 0.0, difference)",
            "torch.where(beyond & blame, 0.0, difference)",
            f"{FUTURE_KL}the_limit_does_not_ask_for_the_sign_of_the_advantage_and_the_other_two_rules_do",
        ),
        Mutation(
            "one token above the limit drops a response",
            "keepdim=True) > 1)",
            "keepdim=True) > 0)",
            f"{FUTURE_KL}a_token_whose_ratio_is_above_the_limit_is_in_no_sum_and_its_weight_is_held_below_one",
        ),
        Mutation(
            "the sum of later tokens has gaps",
            "2 * reach\n",
            "3 * reach\n",
            f"{FUTURE_KL}the_sum_is_that_of_the_formula_whatever_the_length",
        ),
    ),
    "rlsd_cli/methods/dr_grpo.py": (
        Mutation(
            "Dr. GRPO divides by the length of each response",
            '"loss.reduction": "constant", ',
            "",
            "tests/methods/test_policy_gradients.py::test_what_a_token_of_a_long_and_of_a_short_response_weighs",
        ),
    ),
    "rlsd_cli/methods/gspo.py": (
        Mutation(
            "GSPO has the bounds of a token's ratio",
            'clip_high": 4e-4',
            'clip_high": 0.28',
            "tests/methods/test_policy_gradients.py::test_gspo_clips_a_whole_response_with_its_own_narrow_bounds",
        ),
    ),
}


class Tree:
    """A copy of the project in which one fault at a time is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, folder / name)

    def passes(self, test: str) -> bool:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(self.folder / "verifiers")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{test} did not run:\n{done.stdout}{done.stderr}")
        return done.returncode == 0

    def survives(self, file: str, mutation: Mutation) -> bool:
        """Whether the test that is expected to fail passes with the fault in place."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        try:
            return self.passes(mutation.killer)
        finally:
            path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only faults with one of these words")
    words = parser.parse_args().words
    every = [(file, mutation) for file, mutations in MUTATIONS.items() for mutation in mutations]
    chosen = [each for each in every if not words or any(word in each[1].fault for word in words)]
    survivors: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as workers:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(WORKERS):
            trees.put(Tree(Path(folder, str(number))))

        def tried(file: str, mutation: Mutation) -> bool:
            tree = trees.get()
            try:
                return tree.survives(file, mutation)
            finally:
                trees.put(tree)

        def passes(killer: str) -> bool:
            tree = trees.get()
            try:
                return tree.passes(killer)
            finally:
                trees.put(tree)

        killers = sorted({mutation.killer for _, mutation in chosen})
        for killer, sound in zip(killers, workers.map(passes, killers), strict=True):
            if not sound:
                survivors.append(f"fails without a fault: {killer}")
        for (file, mutation), survived in zip(chosen, workers.map(lambda each: tried(*each), chosen), strict=True):
            print(f"{'SURVIVED' if survived else 'killed  '}  {file}: {mutation.fault}", flush=True)
            if survived:
                survivors.append(f"{file}: {mutation.fault} ({mutation.killer})")
    print(f"{len(chosen)} tried, {len(survivors)} left", *survivors, sep="\n  ")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
