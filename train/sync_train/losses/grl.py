"""Adversarial learning by a gradient reversal: the student hides from a discriminator which view it sees.

Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation" (the paper's reference 14). Here one side is
the frozen teacher's output, so that only the student's gets the reversed gradient.
Axes: N and M steps, D width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sync_train.losses.config import GRLConfig


class Discriminator(nn.Module):
    """Which view a step is from, as a logit: two hidden layers with batch norm, sizes as TLLIB's."""

    def __init__(self, width: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, 1),
        )

    def forward(self, x_ND: torch.Tensor) -> torch.Tensor:
        """(N,); above 0 is the teacher's view."""
        logits_N1: torch.Tensor = self.layers(x_ND)
        return logits_N1.squeeze(-1)


def adversarial(
    student_ND: torch.Tensor, teacher_MD: torch.Tensor, discriminator: Discriminator, factor: float
) -> torch.Tensor:
    """Cross-entropy of the discriminator, the teacher's view being 1; both weigh alike, whatever their numbers.

    Minimising it trains the discriminator, and moves what `student_ND` comes from the other way.

    Args:
        student_ND: Steps, padded ones left out: they would enter the batch norm.
        teacher_MD: Likewise; gets no gradient.
        discriminator: Sees both views in one batch, as TLLIB's does.
        factor: Of the reversed gradient, `reversal_factor`.
    """
    both = torch.cat([reverse_gradient(student_ND, factor), teacher_MD.detach()])
    student_N, teacher_M = discriminator(both).split([len(student_ND), len(teacher_MD)])
    of_student = F.binary_cross_entropy_with_logits(student_N, torch.zeros_like(student_N))
    of_teacher = F.binary_cross_entropy_with_logits(teacher_M, torch.ones_like(teacher_M))
    return (of_student + of_teacher) / 2


def reversal_factor(config: GRLConfig, *, step: int, num_steps: int) -> float:
    """Lambda at a step of the optimizer, counted from 0, of a fit of at most `num_steps`.

    "ganin" is 2 / (1 + exp(-gamma p)) - 1 with p from 0 to 1 over the fit; "warm-start" has the same form over
    `warm_steps` and goes on after them, as TLLIB grl.py does: 0.46 of the most at `warm_steps`.
    """
    if config.schedule == "constant":
        return config.max_lambda
    if config.schedule == "ganin":
        exponent = config.gamma * step / num_steps
    else:
        exponent = config.warm_alpha * step / config.warm_steps
    return config.max_lambda * (2 / (1 + math.exp(-exponent)) - 1)


def reverse_gradient(x: torch.Tensor, factor: float) -> torch.Tensor:
    """The same values; their gradient is turned around and multiplied."""
    reversed_x: torch.Tensor = _ReverseGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return reversed_x


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.factor * gradients[0], None
