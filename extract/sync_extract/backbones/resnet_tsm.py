"""TSM's network: a ResNet-50 that sees a little of the frames before and after.

A part of the channels that enter each bottleneck moves one frame back or on (Lin, Gan and Han, "TSM: Temporal Shift
Module for Efficient Video Understanding", 2019; mit-han-lab/temporal-shift-module, "blockres"). Weights have
torchvision's names and places (its ResNet v1.5: a bottleneck strides in its 3x3 convolution), without `fc`.

Axes: N clips, T frames of a clip, M = N*T frames, C channels, h and w network size, D feature width.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

Shift = Literal["none", "window8"]

CLIP_FRAMES = 8
"""T: segments in training, as in the published checkpoints of Assembly101 and EPIC-KITCHENS-100."""

SHIFT_DIV = 8
"""One eighth of the channels moves back, one on (`--shift_div 8` of both recipes)."""

WIDTH = 64
"""Channels after the first convolution; the published networks'. Features are 32 times as wide."""

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


def temporal_shift(frames_MChw: torch.Tensor, num_frames: int = CLIP_FRAMES) -> torch.Tensor:
    """Take the first eighth of the channels from the next frame, and the second from the one before.

    Args:
        frames_MChw: Clips of `num_frames` frames, one after the other.
        num_frames: T. Beyond a clip's ends all is 0.

    Returns:
        (M, C, h, w).
    """
    clips = frames_MChw.view(-1, num_frames, *frames_MChw.shape[1:])
    fold = clips.shape[2] // SHIFT_DIV
    shifted = clips.clone()
    shifted[:, :-1, :fold] = clips[:, 1:, :fold]
    shifted[:, -1, :fold] = 0
    shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    shifted[:, 0, fold : 2 * fold] = 0
    return shifted.view_as(frames_MChw)


class Bottleneck(nn.Module):
    """Three convolutions and a way around them; only the convolutions see shifted channels."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, shift: Shift) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.shift = shift
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, frames_MChw: torch.Tensor) -> torch.Tensor:
        """One block: (M, C, h, w) to (M, 4 * channels, h / stride, w / stride)."""
        shortcut = frames_MChw if self.downsample is None else self.downsample(frames_MChw)
        inside = temporal_shift(frames_MChw) if self.shift == "window8" else frames_MChw
        inside = self.relu(self.bn1(self.conv1(inside)))
        inside = self.relu(self.bn2(self.conv2(inside)))
        inside = self.bn3(self.conv3(inside))
        joined: torch.Tensor = self.relu(inside + shortcut)
        return joined


class ResNetTSM(nn.Module):
    """The trunk up to the average pool: a feature a frame, at any number of pixels."""

    def __init__(self, *, width: int = WIDTH, shift: Shift = "window8") -> None:
        super().__init__()
        self.width = width
        self.shift = shift
        self.feature_dim = width * 8 * EXPANSION
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = self._layers()

    def _layers(self) -> Iterator[nn.Sequential]:
        in_channels = self.width
        for number, num_blocks in enumerate(BLOCKS):
            channels = self.width * 2**number
            blocks = []
            for block in range(num_blocks):
                stride = 2 if number and not block else 1
                blocks.append(Bottleneck(in_channels, channels, stride=stride, shift=self.shift))
                in_channels = EXPANSION * channels
            yield nn.Sequential(*blocks)

    def forward(self, frames_MChw: torch.Tensor) -> torch.Tensor:
        """Features of frames.

        Args:
            frames_MChw: Normalised (M, 3, h, w); with shifts M is N * 8, clip after clip.

        Returns:
            (M, D).

        Raises:
            ValueError: If the frames aren't whole clips.
        """
        if self.shift == "window8" and len(frames_MChw) % CLIP_FRAMES:
            raise ValueError(
                f"expected clips of {CLIP_FRAMES} frames, one after the other, got {len(frames_MChw)}"
            )
        images = self.maxpool(self.relu(self.bn1(self.conv1(frames_MChw))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            images = layer(images)
        features: torch.Tensor = images.mean((2, 3))
        return features


def random_tsm(*, width: int, shift: Shift, seed: int) -> ResNetTSM:
    """A network with weights from a seed; the global random state is left alone.

    Convolutions as torchvision draws them (normal, by fan-out). The last norm of each block begins at a half: as
    each block adds to its input, untrained features of noise would else average 35 instead of 0.8 (width 16).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ResNetTSM(width=width, shift=shift)
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, Bottleneck):
                nn.init.constant_(part.bn3.weight, 0.5)
    return module
