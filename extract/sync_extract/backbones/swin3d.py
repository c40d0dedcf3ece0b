"""Swin3D, Omnivore's network: a transformer whose attention stays within windows of video that shift by halves.

Liu et al., "Video Swin Transformer", 2021; Girdhar et al., "Omnivore", 2022. Weights have the names and shapes of the
published trunk (facebookresearch/omnivore, omnivision/models/swin_transformer.py), and outputs are its outputs.

Axes: N clips, T, h and w input frames and pixels; then a grid of t, y and x tokens of C channels; D feature width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sync_extract.backbones.swin3d_windows import Sizes, WindowAttention, from_windows, to_windows

PATCH: Sizes = (2, 4, 4)
MLP_RATIO = 4


@dataclass(frozen=True, kw_only=True)
class Swin3DSize:
    """Size of a network."""

    embed_dim: int
    """Channels of the first stage; each further one has twice as many."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    num_heads: tuple[int, ...]
    """Of each stage."""
    window: Sizes
    """Tokens."""

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.embed_dim << (len(self.depths) - 1)


class Swin3D(nn.Module):
    """Video to the mean of its last tokens."""

    def __init__(self, size: Swin3DSize, *, has_depth: bool = True) -> None:
        """Build it.

        Args:
            size: Channels, blocks, heads and windows.
            has_depth: With weights for a depth channel, which video never uses.
        """
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(3, size.embed_dim)
        if has_depth:
            self.depth_patch_embed = PatchEmbed(1, size.embed_dim)
        self.layers = nn.ModuleList(
            Stage(
                size.embed_dim * 2**stage,
                depth=depth,
                num_heads=num_heads,
                window=size.window,
                is_last=stage == len(size.depths) - 1,
            )
            for stage, (depth, num_heads) in enumerate(zip(size.depths, size.num_heads, strict=True))
        )
        self.norm = nn.LayerNorm(size.feature_dim)

    def forward(self, clips_N3Thw: torch.Tensor) -> torch.Tensor:
        """Features of clips.

        Args:
            clips_N3Thw: Normalised RGB (N, 3, T, h, w) of any T, h and w.

        Returns:
            (N, D).
        """
        tokens = self.patch_embed(clips_N3Thw)
        for stage in self.layers:
            tokens = stage(tokens)
        features: torch.Tensor = self.norm(tokens).mean((1, 2, 3))
        return features


class PatchEmbed(nn.Module):
    """A token for each 2 frames of 4 x 4 pixels; what is missing at the end is filled with zeros."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, channels, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, clips_NcThw: torch.Tensor) -> torch.Tensor:
        """(N, c, T, h, w) to (N, t, y, x, C)."""
        missing = [-size % patch for size, patch in zip(clips_NcThw.shape[2:], PATCH, strict=True)]
        patches_NCtyx = self.proj(_pad_end(clips_NcThw, missing))
        tokens: torch.Tensor = self.norm(patches_NCtyx.permute(0, 2, 3, 4, 1))
        return tokens


class Stage(nn.Module):
    """Blocks on one grid, every second one shifted, then a grid of half as many rows and columns."""

    def __init__(self, channels: int, *, depth: int, num_heads: int, window: Sizes, is_last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(channels, num_heads=num_heads, window=window, is_shifted=block % 2 == 1)
            for block in range(depth)
        )
        self.downsample = None if is_last else PatchMerging(channels)

    def forward(self, tokens_NtyxC: torch.Tensor) -> torch.Tensor:
        """(N, t, y, x, C) to (N, t, y/2, x/2, 2C), or to the same shape in the last stage."""
        tokens = tokens_NtyxC
        for block in self.blocks:
            tokens = block(tokens)
        return tokens if self.downsample is None else self.downsample(tokens)


class PatchMerging(nn.Module):
    """Two by two tokens to one of twice the channels; odd sizes are filled with zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, tokens_NtyxC: torch.Tensor) -> torch.Tensor:
        """(N, t, y, x, C) to (N, t, y/2, x/2, 2C), rounded up."""
        _, _, num_rows, num_columns, _ = tokens_NtyxC.shape
        padded = F.pad(tokens_NtyxC, (0, 0, 0, num_columns % 2, 0, num_rows % 2))
        corners = [padded[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: torch.Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


class Block(nn.Module):
    """Attention within windows, then a perceptron, each on normalised tokens and added to them."""

    def __init__(self, channels: int, *, num_heads: int, window: Sizes, is_shifted: bool) -> None:
        super().__init__()
        self.window = window
        self.is_shifted = is_shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads=num_heads, window=window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, tokens_NtyxC: torch.Tensor) -> torch.Tensor:
        """(N, t, y, x, C) to the same shape."""
        tokens = tokens_NtyxC + self._attend(self.norm1(tokens_NtyxC))
        mixed: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed

    def _attend(self, tokens_NtyxC: torch.Tensor) -> torch.Tensor:
        num_t, num_y, num_x = tokens_NtyxC.shape[1:4]
        window, shift = self._fit((num_t, num_y, num_x))
        grid = _pad_end(
            tokens_NtyxC.movedim(-1, 1),
            [-size % side for size, side in zip((num_t, num_y, num_x), window, strict=True)],
        ).movedim(1, -1)
        rolled = grid.roll([-step for step in shift], dims=(1, 2, 3))
        mixed = from_windows(self.attn(to_windows(rolled, window), window, shift), window)
        return mixed.roll(shift, dims=(1, 2, 3))[:, :num_t, :num_y, :num_x]

    def _fit(self, grid: Sizes) -> tuple[Sizes, Sizes]:
        """Window and shift on a grid: along an axis of one window or less it is cut, and nothing shifts."""
        whole = [size <= side for size, side in zip(grid, self.window, strict=True)]
        t, y, x = (
            (size, 0) if is_whole else (side, side // 2 if self.is_shifted else 0)
            for size, side, is_whole in zip(grid, self.window, whole, strict=True)
        )
        return (t[0], y[0], x[0]), (t[1], y[1], x[1])


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., C) to the same shape."""
        mixed: torch.Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mixed


def _pad_end(tensor_NCtyx: torch.Tensor, missing: list[int]) -> torch.Tensor:
    """Zeros behind the end along the last three axes."""
    t, y, x = missing
    return F.pad(tensor_NCtyx, (0, x, 0, y, 0, t)) if any(missing) else tensor_NCtyx
