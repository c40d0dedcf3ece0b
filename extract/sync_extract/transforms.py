"""Decoded frames to network input, on the device.

Axes: N frames, C channels, H and W decoded size, h and w network size. Resizing is antialiased as PIL's is, and
uint8 is divided by 255 exactly once, here. PIL resizes across, then down, and rounds to uint8 after each: so do
we, which matters where bicubic overshoots at strong edges. Halves are rounded up, as PIL does: at a reduction by
two a tenth of all values are halves.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F

PREPROCESSING_RULES_VERSION = 1
"""Raised with every change of this module that can change a value; part of a feature set's fingerprint."""

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
    antialias: bool = True
    """Resize as PIL does: smoothed where it shrinks, and rounded to whole levels; else neither."""

    def resized_as(self, device: torch.device) -> Literal["bytes", "floats", "plain floats"]:
        """How a device resizes.

        A processor has a kernel for bytes, a GPU hasn't. The two differ by one level in up to 1.3 % of the values,
        so they make two recipes.
        """
        if not self.antialias:
            return "plain floats"
        return "bytes" if device.type == "cpu" else "floats"

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
        resize = _RESIZES[self.resized_as(frames_NHWC.device)]
        size = self.size_after_resize(height, width)
        images = resize(frames_NHWC.permute(0, 3, 1, 2), size, self.interpolation)
        if self.crop is not None:
            top, left = (
                round((have - want) / 2) for have, want in zip(images.shape[-2:], self.crop, strict=True)
            )
            images = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        mean, std = _channels(self.mean, images.device), _channels(self.std, images.device)
        return (images / 255).sub_(mean).div_(std)


@cache
def _channels(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """float32 (1, 3, 1, 1); kept, since a copy to a GPU waits for what it is doing."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def resize_bytes(images_NCHW: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Resize uint8 (N, C, H, W) to uint8 (N, C, h, w) with torch's own kernel for bytes, which a processor has.

    It rounds after each direction, as PIL does, and is within one level of PIL. From 640x480, with 2 threads, a
    frame took 0.2 to 0.4 ms, and 1.7 to 4.5 ms by `resize_floats` (torch 2.13, AVX-512).
    """
    if images_NCHW.shape[-2:] == size:
        return images_NCHW
    return F.interpolate(images_NCHW, size=size, mode=interpolation, antialias=True, align_corners=False)


def resize_floats(images_NCHW: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Resize uint8 (N, C, H, W) to whole-numbered float32 (N, C, h, w) in 0–255, on any device."""
    images = images_NCHW.float()
    for step in ((images.shape[-2], size[1]), size):
        if images.shape[-2:] != step:
            images = F.interpolate(images, size=step, mode=interpolation, antialias=True, align_corners=False)
            images = images.add_(0.5).floor_().clamp_(0, 255)
    return images


def resize_plain(images_NCHW: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Resize uint8 (N, C, H, W) to float32 (N, C, h, w) in 0–255, neither smoothed nor rounded, on any device."""
    return F.interpolate(images_NCHW.float(), size=size, mode=interpolation, align_corners=False)


_RESIZES = {"bytes": resize_bytes, "floats": resize_floats, "plain floats": resize_plain}

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
