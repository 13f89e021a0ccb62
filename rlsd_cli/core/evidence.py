"""What a credit rule or a token rule may look at, and what it returns. Constants all: no graph goes through them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Reading(NamedTuple):
    """The same responses read by the teacher after one view of K texts.

    Attributes:
        logp: Log-probability of each sampled token (nats); 0 where nothing was shown.
        entropy: Entropy of the distribution that it was compared with (nats); 0 where nothing was shown.
        shown: True where the teacher was shown text k and its reading of the token counts.
    """

    logp: Float[Tensor, "B K T"]
    entropy: Float[Tensor, "B K T"]
    shown: Bool[Tensor, "B K T"]


class Evidence(NamedTuple):
    """B responses of at most T tokens, and all that is known of them.

    Attributes:
        mask: True at the tokens of a response.
        advantage: One advantage a response.
        score: One score a response; NaN where there was no verdict.
        logp: Log-probability of each token under the policy as it is now (nats).
        old_logp: The same under the policy before the update of this batch.
        sampled_logp: The same as the sampler gave it; 0 where nobody sampled.
        student_logp: The student that a teacher's reading is compared with: the policy now, or the policy before the
            update where the teacher is the live policy, which read then.
        readings: What teachers read, by the name of the view.
        group: Which responses answer the same prompt: they have the same number.
        gain: What the step that a token is in did to the estimated chance of a right answer; 0 where nobody estimated.
    """

    mask: Bool[Tensor, "B T"]
    advantage: Float[Tensor, " B"]
    score: Float[Tensor, " B"]
    logp: Float[Tensor, "B T"]
    old_logp: Float[Tensor, "B T"]
    sampled_logp: Float[Tensor, "B T"]
    student_logp: Float[Tensor, "B T"]
    readings: Mapping[str, Reading]
    group: Int[Tensor, " B"]
    gain: Float[Tensor, "B T"]

    def gap(self, view: str) -> Float[Tensor, "B K T"]:
        """Log-probability of the teacher less that of the student, 0 where nothing was shown."""
        reading = self.readings[view]
        return torch.where(reading.shown, reading.logp - self.student_logp[:, None], 0.0)


class Credit(NamedTuple):
    """What each token is told it earned.

    Attributes:
        value: Replaces the advantage in the policy objective; 0 outside the mask.
        diagnostics: What else to record, by name: numbers become means, and bools rates, over the tokens that a teacher
            was asked about, or all tokens for a rule that asks none.
    """

    value: Float[Tensor, "B T"]
    diagnostics: Mapping[str, Tensor]
