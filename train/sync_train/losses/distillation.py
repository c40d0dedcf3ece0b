"""Distillation on synchronized pairs: features (eq. 1 of the paper) and TAS model (eq. 2).

Axes: B sequences, T steps, D width of the features, H width of a level (classes or hidden), L levels.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from sync_train.models.c2f_tcn import LEVELS

LEVEL_NAMES = dict(enumerate(("y5", "y4", "y3", "y2", "y1", "y"), start=1))
"""Levels in the paper's count: 1 at T/2 up to 5 at T/32 (supplement Table 1), and 6, the final output, ours."""


def feature_distillation(
    student_BTD: torch.Tensor, teacher_BTD: torch.Tensor, valid_BT: torch.Tensor
) -> torch.Tensor:
    """Mean squared distance over all values of valid steps."""
    return _masked_mean((student_BTD - teacher_BTD).square(), valid_BT[..., None])


def tas_distillation(
    student: Mapping[str, torch.Tensor],
    teacher: Mapping[str, torch.Tensor],
    valid_BT: torch.Tensor,
    *,
    levels: Sequence[int],
    reduction: Literal["mean", "sum"] = "mean",
) -> torch.Tensor:
    """Squared distance between the levels of student and teacher, summed over levels.

    Args:
        student: (B, H, T_l) by level name, on the ego view.
        teacher: Likewise, on the exo view of the same moments.
        valid_BT: bool, False where a sequence is padded.
        levels: Numbers of `LEVEL_NAMES`.
        reduction: "mean" over each level's valid elements, so that levels weigh alike; "sum" over each
            sequence's valid elements and the mean over sequences, which is eq. 2 to the letter.
    """
    total = valid_BT.new_zeros((), dtype=torch.float32)
    for number in levels:
        name = LEVEL_NAMES[number]
        squared_BHT = (student[name] - teacher[name]).square()
        valid_B1T = valid_at_level(valid_BT, name, squared_BHT.shape[-1])[:, None]
        if reduction == "mean":
            total = total + _masked_mean(squared_BHT, valid_B1T)
        else:
            total = total + (squared_BHT * valid_B1T).sum() / len(valid_BT)
    return total


def valid_at_level(valid_BT: torch.Tensor, name: str, num_steps: int) -> torch.Tensor:
    """Which steps of a level begin within the sequence: bool (B, T_l)."""
    stride = 2 ** LEVELS.index(name)
    return valid_BT[:, ::stride][:, :num_steps]


def _masked_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    counted = valid.expand_as(values)
    return (values * counted).sum() / counted.sum()
