"""Attention within windows of video, as Swin3D's trunk has it, with what is particular about it.

Tokens that padding adds are attended to like others, tokens of another region are weakened by 100 and not cut off,
and a window that is cut to a smaller grid reads the first rows and columns of the index of relative positions
(facebookresearch/omnivore, omnivision/models/swin_transformer.py).

Axes: N clips with a grid of t, y and x tokens of C channels, cut into windows of L tokens; W windows of one kind,
H heads of c channels.
"""

import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

Sizes = tuple[int, int, int]
"""Along time, height and width."""

OTHER_REGION = -100.0
"""Added to the logit of two tokens that lie in one window only because the grid was rolled."""


class WindowAttention(nn.Module):
    """Attention of the tokens of a window to each other, with a learned bias for each difference of places."""

    relative_position_index: torch.Tensor
    """int64 (L, L): row of the table for a pair of tokens; it lies in checkpoints."""

    def __init__(self, channels: int, *, num_heads: int, window: Sizes) -> None:
        super().__init__()
        self.num_heads = num_heads
        num_differences = math.prod(2 * side - 1 for side in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(num_differences, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: torch.Tensor, window: Sizes, shift: Sizes) -> torch.Tensor:
        """Attend within windows.

        Windows whose tokens lie in the same regions share a mask, so one mask of each kind, eight at most, is all
        that is ever in memory: a mask for each window would be 472 MB in the first stage of Swin-L.

        Args:
            windows: (N, windows along time, height and width, L, C), of a grid rolled by `shift`.
            window: Tokens of a window.
            shift: By how many tokens the grid was rolled.

        Returns:
            The same shape.
        """
        num_tokens = windows.shape[-2]
        index = self.relative_position_index[:num_tokens, :num_tokens]
        bias_HLL = self.relative_position_bias_table[index].permute(2, 0, 1).contiguous()
        mixed = torch.empty_like(windows)
        for place, regions_L in window_kinds(window, shift, windows.device):
            part = windows[:, *place]
            is_other_LL = regions_L[:, None] != regions_L
            mask_HLL = torch.where(is_other_LL, bias_HLL + OTHER_REGION, bias_HLL)
            mixed[:, *place] = self._attend(part.flatten(0, 3), mask_HLL).view_as(part)
        return mixed

    def _attend(self, windows_WLC: torch.Tensor, mask_HLL: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(windows_WLC).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mask_WHLL = mask_HLL.expand(len(windows_WLC), -1, -1, -1)
        mixed_WHLc = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_WHLL)
        projected: torch.Tensor = self.proj(mixed_WHLc.transpose(1, 2).flatten(2))
        return projected


def relative_position_index(window: Sizes) -> torch.Tensor:
    """Row of the table of biases for every pair of tokens.

    Args:
        window: Tokens of a window.

    Returns:
        int64 (L, L), by the difference of the two tokens' places, which counts from -(side - 1) along each axis.
    """
    place_L3 = torch.cartesian_prod(*(torch.arange(side) for side in window))
    difference_LL3 = place_L3[:, None] - place_L3 + torch.tensor(window) - 1
    _, height, width = (2 * side - 1 for side in window)
    return (difference_LL3 * torch.tensor([height * width, width, 1])).sum(-1)


def window_kinds(
    window: Sizes, shift: Sizes, device: torch.device | None = None
) -> Iterator[tuple[tuple[slice, slice, slice], torch.Tensor]]:
    """The windows of a rolled grid by the regions that meet in them.

    Rolling brings the grid's first tokens behind its last ones, in the last window along each axis. Attention must
    not pass from one to the other.

    Args:
        window: Tokens of a window.
        shift: By how many tokens the grid was rolled.
        device: Where the numbers are made: a copy from the processor would wait for a GPU, block by block.

    Yields:
        Which windows along time, height and width, and int64 (L,): equal numbers for tokens that are neighbours.
    """
    for is_last in product(*((False, True) if step else (None,) for step in shift)):
        t, y, x = (_ALL if last is None else _LAST if last else _BUT_LAST for last in is_last)
        came_round = [
            (torch.arange(side, device=device) >= side - step).long()
            if last
            else torch.zeros(side, dtype=torch.int64, device=device)
            for side, step, last in zip(window, shift, is_last, strict=True)
        ]
        by_time, by_row, by_column = torch.meshgrid(*came_round, indexing="ij")
        yield (t, y, x), (4 * by_time + 2 * by_row + by_column).flatten()


_ALL, _BUT_LAST, _LAST = slice(None), slice(None, -1), slice(-1, None)


def to_windows(grid_NtyxC: torch.Tensor, window: Sizes) -> torch.Tensor:
    """(N, t, y, x, C) to (N, windows along time, height and width, L, C); sizes are multiples of the window's."""
    num_t, num_y, num_x = (size // side for size, side in zip(grid_NtyxC.shape[1:4], window, strict=True))
    split = grid_NtyxC.reshape(
        len(grid_NtyxC), num_t, window[0], num_y, window[1], num_x, window[2], grid_NtyxC.shape[-1]
    )
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6)


def from_windows(windows: torch.Tensor, window: Sizes) -> torch.Tensor:
    """The inverse of `to_windows`."""
    split = windows.reshape(*windows.shape[:4], *window, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return split.flatten(5, 6).flatten(3, 4).flatten(1, 2)
