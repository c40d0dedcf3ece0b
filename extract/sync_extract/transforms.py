"""Decoded frames to network input, on the device.

Axes: N frames, H and W decoded size, h and w network size. Resizing is antialiased as PIL's is, and uint8
is divided by 255 exactly once, here. PIL resizes across, then down, and rounds to uint8 after each: so do we,
which matters where bicubic overshoots at strong edges.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a frame becomes network input. Part of the fingerprint."""

    name: str
    """The preset's name."""
    resize: int | tuple[int, int]
    """Length of the short side in pixels, aspect ratio kept; or height and width."""
    interpolation: Literal["bilinear", "bicubic"]
    crop: tuple[int, int] | None = None
    """Height and width of the centre crop after resizing."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def size_after_resize(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing an image of this size; the long side is cut to whole pixels."""
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = min(height, width), max(height, width)
        scaled = self.resize * long // short
        return (self.resize, scaled) if height <= width else (scaled, self.resize)

    def __call__(self, frames_NHWC: torch.Tensor) -> torch.Tensor:
        """Resize, crop, scale to 0–1 and normalise.

        Args:
            frames_NHWC: uint8 (N, H, W, 3) RGB.

        Returns:
            float32 (N, 3, h, w) on the same device.
        """
        if frames_NHWC.dtype != torch.uint8:
            raise TypeError(f"frames must be uint8, so that they are scaled once; got {frames_NHWC.dtype}")
        _, height, width, _ = frames_NHWC.shape
        images = frames_NHWC.permute(0, 3, 1, 2).float()
        new_height, new_width = self.size_after_resize(height, width)
        for size in ((height, new_width), (new_height, new_width)):
            if size != images.shape[-2:]:
                images = F.interpolate(
                    images, size=size, mode=self.interpolation, antialias=True, align_corners=False
                )
                images = images.round_().clamp_(0, 255)
        if self.crop is not None:
            top, left = (
                round((have - want) / 2) for have, want in zip(images.shape[-2:], self.crop, strict=True)
            )
            images = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        return (images / 255 - mean) / std


OFFICIAL = Preprocessing(name="official", resize=256, interpolation="bicubic", crop=(224, 224))
"""DINOv2's evaluation transform (facebookresearch/dinov2, data/transforms.py)."""

PUBLISHED = Preprocessing(
    name="published",
    resize=224,
    interpolation="bilinear",
    crop=(224, 224),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
"""The paper's script (fpv-iplab/synchronization-is-all-you-need, DINOv2_feature_extractor.py)."""

PRESETS = {preset.name: preset for preset in (OFFICIAL, PUBLISHED)}
