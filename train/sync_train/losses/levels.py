"""A comparator in the place of eq. 2: one loss at each chosen level of student and teacher, summed over levels.

The two sequences of a pair may be of different recordings and lengths. MMD, CORAL and the discriminator see the
valid steps of the whole batch as two sets; TCC and SDTW see pairs of sequences.
Axes: B pairs, H width of a level, T steps, N and M valid steps of the batch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from sync_train.losses.config import CoralConfig, GRLConfig, LossConfig, MMDConfig, SDTWConfig, TCCConfig
from sync_train.losses.coral import coral
from sync_train.losses.distillation import LEVEL_NAMES, valid_at_level
from sync_train.losses.grl import Discriminator, adversarial
from sync_train.losses.mmd import mmd
from sync_train.losses.sdtw import sdtw
from sync_train.losses.tcc import tcc

LEAST_STEPS = 2
"""A set or sequence of fewer has no covariance and nothing to confuse; it is left out."""


class LevelLoss(nn.Module):
    """The loss that a configuration describes; with its discriminators, where that is the gradient reversal."""

    def __init__(self, config: LossConfig, *, levels: Sequence[int], widths: Mapping[str, int]) -> None:
        """Set up a loss.

        Args:
            config: Its class says which loss.
            levels: Numbers of `LEVEL_NAMES`.
            widths: H of each level, by name.
        """
        super().__init__()
        self.config = config
        self.names = [LEVEL_NAMES[number] for number in levels]
        self.discriminators = nn.ModuleDict()
        if isinstance(config, GRLConfig):
            for name in self.names:
                self.discriminators[name] = Discriminator(widths[name], config.hidden_dim)

    def forward(
        self,
        student: Mapping[str, torch.Tensor],
        teacher: Mapping[str, torch.Tensor],
        valid_student_BT: torch.Tensor,
        valid_teacher_BT: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        factor: float = 1.0,
    ) -> torch.Tensor:
        """Sum over the levels, times the weight.

        Args:
            student: (B, H, T_l) by level name.
            teacher: Likewise; gets no gradient. T_l may differ.
            valid_student_BT: bool, False where a sequence is padded, at its end.
            valid_teacher_BT: Likewise.
            generator: Draws MMD's subsets; without it they are the same each time.
            factor: Of the reversed gradient, `grl.reversal_factor`.
        """
        total = valid_student_BT.new_zeros((), dtype=torch.float32)
        for name in self.names:
            x_BHT, y_BHT = student[name], teacher[name].detach()
            x_BTH, y_BTH = x_BHT.transpose(1, 2), y_BHT.transpose(1, 2)
            valid_x_BT = valid_at_level(valid_student_BT, name, x_BHT.shape[-1])
            valid_y_BT = valid_at_level(valid_teacher_BT, name, y_BHT.shape[-1])
            if isinstance(self.config, TCCConfig | SDTWConfig):
                loss = self._of_pairs(x_BTH, y_BTH, valid_x_BT, valid_y_BT)
            else:
                loss = self._of_sets(name, x_BTH[valid_x_BT], y_BTH[valid_y_BT], generator, factor)
            total = total + loss
        return self.config.weight * total

    def _of_sets(
        self,
        name: str,
        x_NH: torch.Tensor,
        y_MH: torch.Tensor,
        generator: torch.Generator | None,
        factor: float,
    ) -> torch.Tensor:
        if min(len(x_NH), len(y_MH)) < LEAST_STEPS:
            return x_NH.sum() * 0
        match self.config:
            case MMDConfig():
                return mmd(x_NH, y_MH, self.config, generator)
            case CoralConfig():
                return coral(x_NH, y_MH, self.config)
            case GRLConfig():
                discriminator = self.discriminators[name]
                assert isinstance(discriminator, Discriminator)
                return adversarial(x_NH, y_MH, discriminator, factor)
        raise AssertionError(self.config)

    def _of_pairs(
        self, x_BTH: torch.Tensor, y_BTH: torch.Tensor, valid_x_BT: torch.Tensor, valid_y_BT: torch.Tensor
    ) -> torch.Tensor:
        long_enough_B = torch.minimum(valid_x_BT.sum(dim=1), valid_y_BT.sum(dim=1)) >= LEAST_STEPS
        if not long_enough_B.any():
            return x_BTH.sum() * 0
        x_BTH, valid_x_BT = _cut(x_BTH[long_enough_B], valid_x_BT[long_enough_B])
        y_BTH, valid_y_BT = _cut(y_BTH[long_enough_B], valid_y_BT[long_enough_B])
        if isinstance(self.config, TCCConfig):
            return tcc(x_BTH, y_BTH, valid_x_BT, valid_y_BT, self.config)
        assert isinstance(self.config, SDTWConfig)
        return sdtw(x_BTH, y_BTH, valid_x_BT, valid_y_BT, self.config)


def _cut(x_BTH: torch.Tensor, valid_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out the steps that no sequence has: the network pads to 384 what may be a tenth of that."""
    longest = int(valid_BT.sum(dim=1).max())
    return x_BTH[:, :longest], valid_BT[:, :longest]
