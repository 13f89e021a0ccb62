"""Gradients, optimiser steps, and what follows the policy: the teacher and the sampler."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.core.schedules import learning_rate_scale
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_NO, RlsdError
from rlsd_cli.interrupts import Interrupts
from rlsd_cli.methods.base import Distill, PolicyGradient
from rlsd_cli.policy.model import ROUNDING_GAP
from rlsd_cli.policy.models import Models
from rlsd_cli.policy.sharding import full_tensor, reshard
from rlsd_cli.rollout.records import LeftOut
from rlsd_cli.rollout.sampler import Sampler
from rlsd_cli.training.assemble import Batch, Key, assemble, mapped, padded, select
from rlsd_cli.training.judging import is_replaced, shares
from rlsd_cli.training.losses import MicroBatch, TokenLoss, Told, token_loss
from rlsd_cli.training.metrics import Figures, TokenTotals
from rlsd_cli.training.optimizer import make_optimizer
from rlsd_cli.training.passes import Passes, rows
from rlsd_cli.training.reading import Taught


class Trace(NamedTuple):
    """What an update says of the tokens of a rollout, [n] each; None where the method has no such thing.

    student_logp: the policy during the update; old_logp: before it, where others came first
    teacher_logp: of the first view
    credit, pull: what policy-gradient terms and distillations make of it, see `losses.TokenLoss`
    clipped: True where the surrogate has no gradient, because the ratio is beyond its bound
    """

    student_logp: Tensor
    entropy: Tensor
    old_logp: Tensor | None
    teacher_logp: Tensor | None
    credit: Tensor | None
    pull: Tensor | None
    clipped: Tensor | None


class Updated(NamedTuple):
    """What the update of a step came to, for the rollouts that had a gradient, and why others were in no term."""

    figures: Figures
    traces: Mapping[Key, Trace]
    left_out: Mapping[Key, LeftOut]


class Learner:
    """The optimiser steps of a batch of rollouts: one, or `optim.updates_per_batch` on equal shares of its groups."""

    def __init__(self, config: Config, models: Models, sampler: Sampler, interrupts: Interrupts, world: World) -> None:
        self.config = config
        self.models = models
        self.policy = models.policy
        self.teacher = models.teacher
        self.sampler = sampler
        self.interrupts = interrupts
        self.world = world
        self.passes = Passes(self.policy, config, world)
        self.optimizer = make_optimizer(self.policy, config)

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, taught: Sequence[Taught], step: int) -> Updated:
        """Train on the groups of a step, and let teacher and sampler follow.

        From the first change of weights on, interrupts are held; the caller releases them once the step is recorded.
        """
        optim = self.config.optim
        scale = learning_rate_scale(
            step, schedule=optim.schedule, warmup_steps=optim.warmup_steps, total_steps=self.config.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = optim.lr * scale
        kept = [each for each in taught if not is_replaced(each.group)]
        assembled = [assemble(share, self.config) for share in shares(kept, optim.updates_per_batch)]
        first, *later = [batch for batch, _ in assembled]
        batches = [first, *map(self._with_old_logp, later)]
        totals, traces = TokenTotals(), dict[Key, Trace]()
        results = [self._update_once(batch, totals, traces, step) for batch in batches]
        self.interrupts.hold()
        if self.teacher:
            self.teacher.after_update(step)
        self.sampler.update_weights()
        losses, norms = zip(*results, strict=True)
        figures = Figures(sum(losses) / len(losses), max(norms), totals)
        left_out = {key: why for _, nowhere in assembled for key, why in nowhere.items()}
        return Updated(figures, traces, left_out)

    def gradient(self, taught: Sequence[Taught], step: int) -> tuple[Updated, list[Tensor]]:
        """The gradients of all groups in one update, flat, with which nothing is done; and what the update would be.

        Raises:
            RlsdError: the weights are split among processes, so that none has whole gradients.
        """
        if self.policy.layout != "whole":
            raise RlsdError("gradients of weights that are split are whole nowhere", hint="set `optim.layout=whole`")
        batch, left_out = assemble([each for each in taught if not is_replaced(each.group)], self.config)
        loss, totals, traces = self._backward(batch, step) if batch.keys else (0.0, TokenTotals(), {})
        norm = self._clip()
        found = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad.detach().clone()
            for weight in self.policy.model.parameters()
            if weight.requires_grad
        ]
        self.optimizer.zero_grad()
        return Updated(Figures(loss, norm, totals), traces, left_out), [each.flatten() for each in found]

    @torch.no_grad()
    def look(self, taught: Sequence[Taught], step: int) -> dict[Key, Trace]:
        """What an update of all groups would say of the tokens of each rollout, without gradients."""
        batch, _ = assemble([each for each in taught if not is_replaced(each.group)], self.config)
        traces: dict[Key, Trace] = {}
        for places in self.passes.cut(batch.longest_prompts, batch.responses):
            micro = self.micro_batch(batch, places)
            traces |= self._traces(batch, places, micro, token_loss(self.models, micro, self.config, step))
        return traces

    def _with_old_logp(self, batch: Batch) -> Batch:
        """A batch with log-probabilities under the policy as it is now, for an update that comes after others.

        They are read in the micro-batches of that update: weights that do not move give a ratio of exactly 1.
        """
        if not batch.keys or self.config.recipe.responses != "policy":
            return batch
        cuts = self.world.local(self.passes.cut(batch.longest_prompts, batch.responses))
        own = self.passes.score(batch.prompts, batch.responses, cuts, self.policy.model)
        scored = {place: found.logp for each in self.world.all_gather(own) for place, found in each.items()}
        old_logp = padded([scored[place] for place in range(len(batch.keys))], batch.columns.mask)
        return batch._replace(columns=batch.columns._replace(old_logp=old_logp))

    def _update_once(
        self, batch: Batch, totals: TokenTotals, traces: dict[Key, Trace], step: int
    ) -> tuple[float, float]:
        """One optimiser step: its loss and its gradient norm before clipping."""
        if not batch.keys:
            return 0.0, 0.0
        loss, own_totals, own_traces = self._backward(batch, step)
        loss = sum(self.world.all_gather(loss))
        totals.merge(self.world.all_gather(own_totals))
        for each in self.world.all_gather(own_traces):
            traces |= each
        norm = self._clip()
        if not torch.tensor([loss, norm]).isfinite().all():
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

    def _backward(self, batch: Batch, step: int) -> tuple[float, TokenTotals, dict[Key, Trace]]:
        """The gradients of this process's micro-batches, their loss, and what they say of tokens."""
        loss, totals, traces = 0.0, TokenTotals(), dict[Key, Trace]()
        cuts = self.passes.cut(batch.longest_prompts, batch.responses)
        own = self.world.local(cuts)
        for places in [*own, *self.passes.idle(len(own))]:
            micro = self.micro_batch(batch, places or cuts[-1])
            losses = token_loss(self.models, micro, self.config, step)
            micro_loss = losses.loss.sum() if places else 0.0 * losses.loss.sum()
            micro_loss.backward()  # type: ignore[no-untyped-call]
            if not places:
                continue
            loss += micro_loss.item()
            totals.add(micro, losses)
            traces |= self._traces(batch, places, micro, losses)
            self._check_live_teacher(losses)
        return loss, totals, traces

    def micro_batch(self, batch: Batch, places: Sequence[int]) -> MicroBatch:
        """The rollouts at places of a batch, on the device."""
        tokens = self.passes.tokens([batch.prompts[at] for at in places], [batch.responses[at] for at in places])
        told = {}
        for view, prompts in batch.told.items():
            shown = [at for at in places if prompts[at] is not None]
            ids = self.passes.tokens([prompts[at] or () for at in shown], [batch.responses[at] for at in shown])
            told[view] = Told(ids, torch.tensor([prompts[at] is not None for at in places], device=ids.mask.device))
        columns = select(batch.columns, torch.tensor(places), tokens.mask.shape[1])
        return MicroBatch(tokens, mapped(columns, lambda values: values.to(tokens.mask.device)), told)

    def _traces(self, batch: Batch, places: Sequence[int], micro: MicroBatch, losses: TokenLoss) -> dict[Key, Trace]:
        lengths = [len(batch.responses[place]) for place in places]
        shown = losses.shown.any(1).tolist()
        recipe, old_logp = self.config.recipe, micro.columns.old_logp
        nothing = [None] * len(places)
        columns = zip(
            rows(losses.student.logp.detach(), lengths),
            rows(losses.student.entropy, lengths),
            nothing if old_logp is None else rows(old_logp, lengths),
            (row if seen else None for row, seen in zip(rows(losses.teacher_logp, lengths), shown, strict=True)),
            rows(losses.credit.value, lengths) if recipe.has(PolicyGradient) else nothing,
            rows(losses.pull, lengths) if recipe.has(Distill) else nothing,
            rows(losses.ratio_clipped, lengths) if recipe.has(PolicyGradient) else nothing,
            strict=True,
        )
        return {batch.keys[place]: Trace(*column) for place, column in zip(places, columns, strict=True)}

    def _clip(self) -> float:
        """Add up the gradients of all processes and clip them; their norm before."""
        for model in self.models.sharded:
            reshard(model)
        if self.policy.layout == "whole":
            self.world.all_reduce_gradients(self.policy.model.parameters())
        norms = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.config.optim.max_grad_norm)
        return float(full_tensor(norms).item())

    def _check_live_teacher(self, losses: TokenLoss) -> None:
        """A live teacher that was shown nothing is the student: any gap is an alignment fault."""
        settings, first = self.config.teacher, next(iter(self.config.recipe.views.values()), None)
        if not (self.teacher and first and first.shows is None and first.by == "teacher"):
            return
        if settings.view != "none" or settings.weights != "live":
            return
        gap = losses.gap.abs().max().item()
        if gap > ROUNDING_GAP[self.policy.compute_dtype]:
            raise AssertionError(
                f"a live teacher without privileged information differs from the student by {gap:.2g} nats"
            )
