"""C2F-TCN, the field's encoder-decoder for temporal action segmentation with a head at each decoder level.

Singhania et al., "Coarse to Fine Multi-Resolution Temporal Convolutional Network"; the sizes are those of
dipika-singhania/C2F-TCN and of the copy that Assembly101 and the paper use. Modules have the names of the
published checkpoints, so that their state dictionaries load as they are.

Axes: B sequences, D feature width, H hidden width, T steps, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

MIN_STEPS = 384
"""The pyramid at the bottom pools six steps of T/64; shorter input is padded with zeros to this length."""

LEVELS = ("y", "y5", "y4", "y3", "y2", "y1")
"""Outputs, finest first: y has T steps, y5 has T/2, … and y1 has T/32."""

HIDDEN = 128
"""Width of what the heads see."""

_POOLS = (2, 3, 5, 6)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the network says at each level of `LEVELS`."""

    logits: dict[str, torch.Tensor]
    """(B, K, T_l) of each level."""
    representations: dict[str, torch.Tensor]
    """(B, 128, T_l) of each level: what the level's head sees."""


class C2FTCN(nn.Module):
    """The network; 5,578,045 parameters at 1,024 features and 202 classes."""

    def __init__(self, *, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.num_classes = num_classes
        self.inc = _Wrapped(feature_dim, 256)
        self.down1 = _Down(256, 256)
        self.down2 = _Down(256, 256)
        self.down3 = _Down(256, HIDDEN)
        self.down4 = _Down(HIDDEN, HIDDEN)
        self.down5 = _Down(HIDDEN, HIDDEN)
        self.down6 = _Down(HIDDEN, HIDDEN)
        self.tpp = _TemporalPyramid(HIDDEN)
        self.up = _Up(2 * HIDDEN + len(_POOLS), HIDDEN)
        self.outcc0 = _Head(HIDDEN, num_classes)
        self.up0 = _Up(2 * HIDDEN, HIDDEN)
        self.outcc1 = _Head(HIDDEN, num_classes)
        self.up1 = _Up(2 * HIDDEN, HIDDEN)
        self.outcc2 = _Head(HIDDEN, num_classes)
        self.up2 = _Up(256 + HIDDEN, HIDDEN)
        self.outcc3 = _Head(HIDDEN, num_classes)
        self.up3 = _Up(256 + HIDDEN, HIDDEN)
        self.outcc4 = _Head(HIDDEN, num_classes)
        self.up4 = _Up(256 + HIDDEN, HIDDEN)
        self.outcc = _Head(HIDDEN, num_classes)
        # A parameter in the published network that nothing uses; here a buffer, so that it loads and is no
        # parameter without a gradient.
        self.register_buffer("weights", torch.ones(len(LEVELS)))

    def forward(self, rows_BDT: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of every level by name; see `levels`."""
        return self.levels(rows_BDT).logits

    def levels(self, rows_BDT: torch.Tensor) -> Outputs:
        """Run the network.

        From `MIN_STEPS` steps on the result is the published network's. Shorter input, on which that one
        fails, is padded with zeros and each level cropped again, to T steps at the finest and half as many,
        rounded up, at each coarser one.

        Args:
            rows_BDT: float (B, D, T), any T from 1.

        Returns:
            Logits and representations of each level.

        Raises:
            ValueError: If the width isn't D or there are no steps.
        """
        if rows_BDT.ndim != 3 or rows_BDT.shape[1] != self.feature_dim or not rows_BDT.shape[2]:
            raise ValueError(
                f"expected features (B, {self.feature_dim}, T) with T of at least 1, got {tuple(rows_BDT.shape)}"
            )
        num_steps = rows_BDT.shape[2]
        if num_steps < MIN_STEPS:
            rows_BDT = F.pad(rows_BDT, (0, MIN_STEPS - num_steps))
        decoded = self._decode(self._encode(rows_BDT))
        if num_steps < MIN_STEPS:
            decoded = {
                name: x[..., : -(-num_steps // 2**depth)] for depth, (name, x) in enumerate(decoded.items())
            }
        heads = (self.outcc, self.outcc4, self.outcc3, self.outcc2, self.outcc1, self.outcc0)
        logits = {name: head(x) for head, (name, x) in zip(heads, decoded.items(), strict=True)}
        return Outputs(logits=logits, representations=decoded)

    def _encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Skip connections from T down to T/32, and the pyramid at T/64."""
        skips = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4, self.down5):
            skips.append(down(skips[-1]))
        return [*skips, self.tpp(self.down6(skips[-1]))]

    def _decode(self, encoded: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Representations of every level, finest first."""
        *skips, x = encoded
        levels = []
        for up, skip in zip(
            (self.up, self.up0, self.up1, self.up2, self.up3, self.up4), reversed(skips), strict=True
        ):
            x = up(x, skip)
            levels.append(x)
        return dict(zip(LEVELS, reversed(levels), strict=True))


class _DoubleConv(nn.Module):
    """Two convolutions over five steps, each normalised and rectified."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (width_in, width_out):
            convolution = nn.Conv1d(width, width_out, kernel_size=5, padding=2)
            layers += [convolution, nn.BatchNorm1d(width_out), nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x)
        return result


class _Wrapped(nn.Module):
    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = _DoubleConv(width_in, width_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x)
        return result


class _Down(nn.Module):
    """Halves the steps."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.max_pool_conv = nn.Sequential(nn.MaxPool1d(2), _DoubleConv(width_in, width_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.max_pool_conv(x)
        return result


class _Up(nn.Module):
    """Doubles the steps and joins the encoder's features of that resolution."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = _DoubleConv(width_in, width_out)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, scale_factor=2, mode="linear", align_corners=True)
        missing = skip.shape[2] - x.shape[2]
        x = F.pad(x, (missing // 2, missing - missing // 2))
        result: torch.Tensor = self.conv(torch.cat([skip, x], dim=1))
        return result


class _TemporalPyramid(nn.Module):
    """Adds one channel for each of four pooling lengths; the convolution is shared."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = [
            F.interpolate(
                self.conv(F.max_pool1d(x, length)), size=x.shape[2], mode="linear", align_corners=True
            )
            for length in _POOLS
        ]
        return torch.cat([*pooled, x], dim=1)


class _Head(nn.Module):
    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, num_classes, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x)
        return result
