"""The loop. One step is one walk down the data path:

1. problem    `step_problems`: a batch of problems, a function of seed and step
2. prompt     the student's view of each, through the chat template
3. rollout    the sampler draws `samples_per_prompt` responses to each; one that ends is verified while others go on
4. verify     a response without a verdict leaves baseline and loss; from here to 6 part by part, as verdicts arrive
5. advantage  scores against their group; where `rollout.refill` says so, groups without signal are drawn anew
6. rescore    the teacher's log-probabilities of the same response ids, where they can matter
7. credit, loss, update   by the method's row, in micro-batches that add up to the same loss however they are cut
8. record     one line for the step, one for every rollout

The loop is blind to the method: what differs is in the row of the method table and in `training.update`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.reduce import token_weights
from rlsd_cli.core.schedules import learning_rate_scale, mix_at
from rlsd_cli.data.curriculum import refill_problems, step_problems
from rlsd_cli.data.leakage import leaks
from rlsd_cli.data.problems import Problem
from rlsd_cli.data.prompts import prompt_ids, solution_ids, teacher_text
from rlsd_cli.data.room import teacher_limit
from rlsd_cli.data.sources import Splits
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.evaluation.evaluate import Evaluation, conclude, evaluate, select
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.policy.batch import TokenBatch, TokenIds, make_batch, micro_batches
from rlsd_cli.policy.model import ROUNDING_GAP, Policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.policy.sharding import full_tensor, reshard, shard
from rlsd_cli.policy.teacher import Teacher, initial_copy, visiting
from rlsd_cli.rollout.respond import draw_keys, respond, student_prompts
from rlsd_cli.rollout.sampler import Sampler, Sampling
from rlsd_cli.training.metrics import Clock, TokenTotals, Update, sample_metrics, update_metrics
from rlsd_cli.training.optimizer import make_optimizer
from rlsd_cli.training.rewards import (
    as_judged,
    assign_advantages,
    assign_scores,
    check_verdicts,
    groups_of,
    is_replaced,
    replace_dead_groups,
    shares,
)
from rlsd_cli.training.samples import Sample, padded, unpadded
from rlsd_cli.training.update import MicroBatch, Models, TokenLoss, temperature, token_loss
from rlsd_verifiers.pool import Pool


class Record(NamedTuple):
    """What an update says of the tokens of the rollout at a place."""

    place: int
    student_logp: list[float]
    credit: list[float]
    teacher_logp: list[float]

    def write(self, sample: Sample, config: Config) -> None:
        sample.student_logp = self.student_logp
        if config.row.needs_reward:
            sample.credit = self.credit
        if config.row.objective == "divergence":
            sample.teacher_logp = self.teacher_logp


class Trainer:
    """Policy, teacher, sampler, verifiers and optimiser of one run; `step` does one optimisation step."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        sampler: Sampler,
        pool: Pool,
        splits: Splits,
        interrupts: Interrupts,
        world: World | None = None,
    ) -> None:
        self.config = config
        self.world = world or World()
        self.row = config.row
        self.policy = policy
        self.sampler = sampler
        self.pool = pool
        self.splits = splits
        self.interrupts = interrupts
        self.teacher = Teacher(policy, config.teacher) if config.uses_teacher else None
        self.models = Models(
            policy=policy,
            teacher=self.teacher.model if self.teacher else None,
            reference=initial_copy(policy) if config.loss.kl_coef > 0 else None,
        )
        for model in self._sharded_models():
            shard(model, policy.device, offload=policy.layout == "offloaded")
        self.optimizer = make_optimizer(policy, config)

    def _sharded_models(self) -> list[Any]:
        """The distinct models whose weights are split among processes."""
        split = [] if self.policy.layout == "whole" else [self.policy.model, self.models.teacher, self.models.reference]
        return list({id(model): model for model in split if model is not None}.values())

    @cached_property
    def held_out(self) -> list[Problem]:
        return select(self.splits.held_out, self.config.evaluation.problems)

    def evaluate(self) -> Evaluation:
        """The policy as it is now, on the held-out problems."""
        started, share, samples = time.perf_counter(), self.world.local, self.config.evaluation.samples
        keys = share(draw_keys(self.held_out))
        rows = evaluate(self.policy, self.sampler, share(self.held_out), self.config, self.pool, keys)
        groups = self.world.all_items([rows[start : start + samples] for start in range(0, len(rows), samples)])
        return conclude(list(chain.from_iterable(groups)), self.config, started)

    # -- one step ---------------------------------------------------------------------------------------------------

    def step(self, step: int) -> tuple[dict[str, Any], list[Sample]]:
        """One optimisation step (from 1): its metrics, and its rollouts.

        From the first change of weights on, interrupts are held; the caller releases them once the step is recorded.
        """
        clock = Clock()
        mix = self.mix(step)
        samples: list[Sample] = []
        problems = step_problems(self.splits.train, self.config, step)
        while problems:
            with clock("rollout"):
                drawn = self.collect(problems, step)
            with visiting(self.models.teacher or self.policy.model, self.policy.device):
                self._judge(drawn, mix, clock)
            samples += chain.from_iterable(self.world.all_items(groups_of(drawn, self.config)))
            problems = self._replacements(samples, step)
        self.sampler.sleep()
        check_verdicts(samples, self.config)
        with clock("update"):
            update = self.update(samples, mix, step)
        metrics = {"step": step} | sample_metrics(samples, self.config) | update_metrics(update, samples, mix)
        metrics["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        metrics["tokens"] = sum(len(sample.token_ids) for sample in samples)
        return metrics | {f"{name}_seconds": seconds for name, seconds in clock.seconds.items()}, samples

    def mix(self, step: int) -> float:
        """Lambda at a step; 0 for methods whose credit is uniform."""
        credit = self.config.credit
        if self.row.credit == "uniform":
            return 0.0
        return mix_at(
            step,
            initial=credit.mix,
            warmup_steps=credit.mix_warmup_steps,
            decay_steps=credit.mix_decay_steps,
            first_index=1 if credit.mix_first_index else 0,
        )

    # -- prompt, rollout --------------------------------------------------------------------------------------------

    def collect(self, problems: Sequence[Problem], step: int) -> list[Sample]:
        """Responses to this process's share of problems, group by group: the policy's own, or the data's solutions."""
        config = self.config
        keys, problems = self.world.local(draw_keys(problems)), self.world.local(problems)
        if self.row.samples == "solution":
            prompts = student_prompts(problems, self.policy, config, config.rollout.max_new_tokens)
            return [self._demonstration(problem, prompt) for problem, prompt in zip(problems, prompts, strict=True)]
        responses = respond(
            self.policy,
            self.sampler,
            problems,
            config,
            self.pool,
            samples=config.group_size,
            sampling=Sampling(config.rollout.max_new_tokens, temperature=config.rollout.temperature),
            seed=f"{config.seed}/rollouts/{step}",
            keys=keys,
        )
        return [
            Sample(
                problem=response.problem,
                index=number % config.group_size,
                prompt=response.prompt,
                token_ids=response.rollout.token_ids,
                sampled_logp=response.rollout.sampled_logp,
                truncated=response.rollout.truncated,
                response=response.text,
                leaks=leaks(response.text, config.data),
                pending=response.verdict,
            )
            for number, response in enumerate(responses)
        ]

    def _demonstration(self, problem: Problem, prompt: list[int]) -> Sample:
        if not problem.solution:
            raise RlsdError(
                f"problem `{problem.id}` has no `solution` to learn from", hint="`sft` needs worked solutions"
            )
        ids = [*solution_ids(problem.solution, self.policy.tokenizer), self.policy.eos_id]
        too_long = len(ids) > self.config.rollout.max_new_tokens
        leak = leaks(problem.solution, self.config.data)
        return Sample(problem, 0, prompt, ids, None, too_long, problem.solution, leak, counted=not too_long)

    # -- verify, advantage ------------------------------------------------------------------------------------------

    def _judge(self, samples: Sequence[Sample], mix: float, clock: Clock) -> None:
        """Scores, advantages and the teacher's part, part by part as verdicts arrive."""
        groups = as_judged(samples, self.config)
        while True:
            with clock("verify"):
                judged = next(groups, None)
            if judged is None:
                return
            assign_scores(judged, self.config)
            self._assign_advantages(judged)
            with clock("teacher"):
                self.rescore(judged, mix)

    def _assign_advantages(self, samples: Sequence[Sample]) -> None:
        """From the scores of their groups, or those of all processes."""
        if self.config.advantage.scale != "batch_std":
            assign_advantages(samples, self.config)
            return
        groups = self.world.all_items(groups_of(samples, self.config))
        assign_advantages([sample for group in groups for sample in group], self.config)
        for sample, known in zip(samples, chain.from_iterable(self.world.local(groups)), strict=True):
            sample.advantage = known.advantage

    def _replacements(self, samples: Sequence[Sample], step: int) -> list[Problem]:
        """What to draw in place of groups without signal, while the step's refill lasts."""
        refill = self.config.rollout.refill
        if not (refill and self.row.needs_reward and self.row.samples == "policy"):
            return []
        num_dead = replace_dead_groups(samples, self.config)
        num_drawn = len(samples) // self.config.group_size - self.config.prompts_per_step
        return refill_problems(self.splits.train, self.config, step, num_drawn, min(num_dead, refill - num_drawn))

    # -- rescore ----------------------------------------------------------------------------------------------------

    def rescore(self, samples: Sequence[Sample], mix: float) -> None:
        """The teacher's log-probabilities of the responses, where they matter.

        That is where neither lambda nor the advantage is 0, and not where whole distributions are compared.
        """
        settings, chosen = self.config, list[Sample]()
        if self.row.objective == "divergence":
            for sample in samples:
                self._show_privileged(sample)
                sample.counted = sample.counted and sample.privileged is not None
        elif self.row.credit == "self_distilled" and mix > 0 and settings.credit.clip > 0:
            chosen = [s for s in samples if s.counted and s.advantage != 0 and self._is_reweighted(s)]
            for sample in chosen:
                self._show_privileged(sample)
            chosen = [sample for sample in chosen if sample.privileged is not None]
        prompts = [sample.privileged or [] for sample in chosen]
        read = self._read(prompts, chosen, self._micro_batches(prompts, chosen), self.models.teacher)
        for place, logp in read.items():
            chosen[place].teacher_logp = logp

    def _read_before_update(self, samples: Sequence[Sample]) -> None:
        """Log-probabilities under the policy as it is now, for an update that comes after others.

        They are read in the micro-batches of that update: weights that do not move give a ratio of exactly 1.
        """
        trained = [sample for sample in samples if self._contributes(sample) and sample.sampled_logp is not None]
        prompts = [sample.prompt for sample in trained]
        cuts = self.world.local(self._micro_batches(prompts, trained))
        for read in self.world.all_gather(self._read(prompts, trained, cuts, self.policy.model)):
            for place, logp in read.items():
                trained[place].old_logp = logp

    def _is_reweighted(self, sample: Sample) -> bool:
        return self.config.credit.rollouts == "all" or sample.advantage < 0

    def _show_privileged(self, sample: Sample) -> None:
        settings = self.config.teacher
        view = prompt_ids(teacher_text(sample.problem, self.config), self.config, self.policy.tokenizer)
        limit = teacher_limit(self.config, self.policy.context_length - len(sample.token_ids))
        if len(view) <= limit:
            sample.privileged = view
        elif settings.overlong == "skip":
            sample.teacher_skipped = True
        else:
            raise RlsdError(
                f"problem `{sample.problem.id}`: the teacher's prompt has {len(view)} tokens and {limit} fit",
                hint="set `teacher.overlong=skip`, raise `teacher.max_prompt_tokens`, or choose a shorter view",
            )

    @torch.no_grad()
    def _read(
        self, prompts: Sequence[TokenIds], samples: Sequence[Sample], cuts: Sequence[list[int]], model: Any
    ) -> dict[int, list[float]]:
        """Log-probabilities of each response's tokens after its prompt, by its place, for the places in `cuts`."""
        logps: dict[int, list[float]] = {}
        for places in [*cuts, *self._idle_passes(len(cuts))]:
            part = [samples[place] for place in places]
            ids = self._tokens([prompts[place] for place in places], part) if places else self._any_tokens()
            scores = score_tokens(self.policy, ids, ids.mask, temperature(self.config), model)
            logps |= zip(places, unpadded(scores.logp, part) if places else [], strict=True)
        return logps

    def _idle_passes(self, own: int) -> list[list[int]]:
        """No rollouts, as often as others have passes left to make: those of a sharded model all make together."""
        if self.policy.layout == "whole":
            return []
        return [[]] * (max(self.world.all_gather(own)) - own)

    def _any_tokens(self) -> TokenBatch:
        return make_batch([[self.policy.pad_id]], [[self.policy.pad_id]], self.policy.pad_id, self.policy.device)

    def _tokens(self, prompts: Sequence[TokenIds], samples: Sequence[Sample]) -> TokenBatch:
        responses = [sample.token_ids for sample in samples]
        return make_batch(prompts, responses, self.policy.pad_id, self.policy.device, packed=self.policy.packs)

    def _micro_batches(self, prompts: Sequence[TokenIds], samples: Sequence[Sample]) -> list[list[int]]:
        responses = [sample.token_ids for sample in samples]
        budget = self.config.optim.tokens_per_microbatch or self.policy.tokens_per_microbatch
        return micro_batches(prompts, responses, budget, packed=self.policy.packs)

    # -- credit, loss, update ---------------------------------------------------------------------------------------

    def update(self, samples: Sequence[Sample], mix: float, step: int) -> Update:
        """The optimiser steps of one batch of rollouts: one, or `updates_per_batch` on equal shares of its groups."""
        optim = self.config.optim
        scale = learning_rate_scale(
            step, schedule=optim.schedule, warmup_steps=optim.warmup_steps, total_steps=self.config.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = optim.lr * scale
        totals = TokenTotals()
        kept = [group for group in groups_of(samples, self.config) if not is_replaced(group)]
        first, *later = shares(kept, optim.updates_per_batch)
        for share in later:
            self._read_before_update(share)
        results = [self._update_once(share, mix, totals, step) for share in (first, *later)]
        self.interrupts.hold()
        if self.teacher:
            self.teacher.after_update(step)
        self.sampler.update_weights()
        losses, norms = zip(*results, strict=True)
        return Update(sum(losses) / len(losses), max(norms), totals)

    def _contributes(self, sample: Sample) -> bool:
        """Whether a rollout can move the weights: those without advantage cannot, unless a KL is kept."""
        without_signal = self.row.needs_reward and sample.advantage == 0 and self.config.loss.kl_coef == 0
        return sample.counted and not without_signal

    def _update_once(
        self, samples: Sequence[Sample], mix: float, totals: TokenTotals, step: int
    ) -> tuple[float, float]:
        trained = [sample for sample in samples if self._contributes(sample)]
        if not trained:
            return 0.0, 0.0
        weights = self._weights(samples)
        loss = 0.0
        longer_view = [max(sample.prompt, sample.privileged or [], key=len) for sample in trained]
        views = longer_view if self.row.objective == "divergence" else [sample.prompt for sample in trained]
        records: list[list[Record]] = []
        counted = TokenTotals()
        cuts = self._micro_batches(views, trained)
        own = self.world.local(cuts)
        for places in [*own, *self._idle_passes(len(own))]:
            part = [trained[place] for place in places or cuts[-1]]
            batch = self._microbatch(part, weights)
            losses = token_loss(self.models, batch, self.config, mix)
            micro_loss = losses.loss.sum() if places else 0.0 * losses.loss.sum()
            micro_loss.backward()  # type: ignore[no-untyped-call]
            if not places:
                continue
            loss += micro_loss.item()
            counted.add(batch, losses)
            records.append(self._records(places, part, losses))
            self._check_live_teacher(losses)
        loss = sum(self.world.all_gather(loss))
        totals.merge(self.world.all_gather(counted))
        for record in chain.from_iterable(self.world.all_items(records)):
            record.write(trained[record.place], self.config)
        for model in self._sharded_models():
            reshard(model)
        if self.policy.layout == "whole":
            self.world.all_reduce_gradients(self.policy.model.parameters())
        norms = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.config.optim.max_grad_norm)
        norm = full_tensor(norms).item()
        if not (torch.tensor([loss, norm]).isfinite().all()):
            self.optimizer.zero_grad()
            raise RlsdError(
                f"step {step}: the loss ({loss:g}) or gradient norm ({norm:g}) is not finite",
                hint="a run with a lower `optim.lr` is a new run",
                exit_code=EXIT_NO,
            )
        self.interrupts.hold()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm

    def _weights(self, samples: Sequence[Sample]) -> dict[int, Tensor]:
        """The weight of every token in the loss, by `id` of its rollout; rollouts that do not count weigh nothing.

        Counted rollouts without advantage add nothing to the numerator but stay in every denominator.
        """
        lengths = torch.tensor([len(sample.token_ids) if sample.counted else 0 for sample in samples])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        settings = self.config
        weights = token_weights(mask, settings.loss.reduction, max_tokens=settings.rollout.max_new_tokens)
        return {id(sample): row for sample, row in zip(samples, weights, strict=True)}

    def _microbatch(self, samples: list[Sample], weights: Mapping[int, Tensor]) -> MicroBatch:
        tokens = self._tokens([sample.prompt for sample in samples], samples)
        privileged = None
        if self.row.objective == "divergence":
            privileged = self._tokens([sample.privileged or [] for sample in samples], samples)
        if privileged and not torch.equal(privileged.response_ids, tokens.response_ids):
            raise AssertionError("teacher and student must score the same response ids")
        reweighted = tokens.mask & self._rows(sample.teacher_logp is not None for sample in samples)
        if self.config.credit.tokens == "thought":
            ends = torch.tensor([self._thought_length(sample) for sample in samples], device=reweighted.device)
            reweighted &= torch.arange(reweighted.shape[1], device=reweighted.device) < ends[:, None]
        weight = torch.stack([weights[id(sample)] for sample in samples])[:, : tokens.mask.shape[1]]
        return MicroBatch(
            tokens=tokens,
            weight=weight.to(tokens.mask.device),
            advantage=torch.tensor([sample.advantage for sample in samples], device=tokens.mask.device),
            sampled_logp=padded([sample.sampled_logp for sample in samples], tokens.mask),
            sampled=tokens.mask & self._rows(sample.sampled_logp is not None for sample in samples),
            old_logp=padded([s.old_logp for s in samples], tokens.mask) if samples[0].old_logp is not None else None,
            teacher_logp=padded([sample.teacher_logp for sample in samples], tokens.mask),
            reweighted=reweighted,
            privileged=privileged,
        )

    def _rows(self, flags: Iterable[bool]) -> Tensor:
        """A mask [B, 1] of rollouts."""
        return torch.tensor(list(flags), device=self.policy.device)[:, None]

    def _thought_length(self, sample: Sample) -> int:
        """Tokens up to and including the closing think tag; none without one."""
        return thought_length(sample.token_ids, lambda ids: self.policy.tokenizer.decode(ids))

    def _records(self, places: Sequence[int], samples: Sequence[Sample], losses: TokenLoss) -> list[Record]:
        columns = losses.student.logp.detach(), losses.credit.credit, losses.teacher_logp
        return [Record(*values) for values in zip(places, *(unpadded(part, samples) for part in columns), strict=True)]

    def _check_live_teacher(self, losses: TokenLoss) -> None:
        """A live teacher that was shown nothing is the student: any gap is an alignment fault."""
        settings = self.config.teacher
        if not (self.teacher and settings.view == "none" and settings.weights == "live"):
            return
        gap = losses.gap.abs().max().item()
        if gap > ROUNDING_GAP[self.policy.compute_dtype]:
            raise AssertionError(
                f"a live teacher without privileged information differs from the student by {gap:.2g} nats"
            )


# -- helpers ----------------------------------------------------------------------------------------------------------


def thought_length(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> int:
    """Tokens up to and including the one that completes the last closing think tag; 0 when there is none."""
    tags = ("</think>", "</thought>")

    def closings(count: int) -> int:
        text = decode(token_ids[:count])
        return sum(text.count(tag) for tag in tags)

    wanted = closings(len(token_ids))
    if not wanted:
        return 0
    low, high = 0, len(token_ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if closings(middle) >= wanted else (middle + 1, high)
    return low
