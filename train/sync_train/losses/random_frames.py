"""Rnd. MSE of Table 3: the teacher's steps in random order, so that the squared distance is of random pairs of steps.

Axes: B sequences, H width of a level, T steps.
"""

from collections.abc import Mapping

import torch

from sync_train.losses.distillation import valid_at_level


def shuffle_steps(
    levels: Mapping[str, torch.Tensor], valid_BT: torch.Tensor, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Permute the valid steps of each sequence at each level at random; padded ones stay where they are.

    Args:
        levels: (B, H, T_l) by level name.
        valid_BT: bool, False where a sequence is padded, at its end.
        generator: Draws the order.
    """
    shuffled = {}
    for name, x_BHT in levels.items():
        valid = valid_at_level(valid_BT, name, x_BHT.shape[-1])
        # random keys below 1 for valid steps; padded ones sort behind them, in their order
        keys_BT = torch.rand(valid.shape, generator=generator, device=generator.device).to(x_BHT.device)
        order_BT = torch.where(valid, keys_BT, 1 + torch.arange(valid.shape[1], device=x_BHT.device)).argsort(
            1
        )
        shuffled[name] = x_BHT.gather(2, order_BT[:, None].expand_as(x_BHT))
    return shuffled
