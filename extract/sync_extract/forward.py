"""Runs a backbone on batches that fit into memory.

Axes: N frames, H and W decoded size, D feature width.
"""

import logging

import numpy as np
import numpy.typing as npt
import torch

from sync_extract.backbones import Backbone
from sync_store.errors import VideoError

log = logging.getLogger(__name__)

_CPU_ALLOCATOR = "DefaultCPUAllocator"
"""Named in torch's message where a processor's memory is too small: a plain RuntimeError (torch 2.13)."""


class AdaptiveForward:
    """Runs the backbone on batches, halving the batch for good where memory is too small."""

    def __init__(self, backbone: Backbone, batch_size: int) -> None:
        self._backbone = backbone
        self.batch_size = batch_size

    def __call__(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        """Features float16 (N, D) of uint8 (N, H, W, 3) frames.

        Raises:
            VideoError: If not even one frame fits.
        """
        frames_NHWC = torch.from_numpy(frames)
        rows: list[torch.Tensor] = []
        start = 0
        while start < len(frames):
            features_ND = self._features(frames_NHWC[start : start + self.batch_size])
            if features_ND is None:
                self._halve(frames.shape)
                continue
            rows.append(features_ND)
            start += len(features_ND)
        return torch.cat(rows).numpy()

    def _features(self, frames_NHWC: torch.Tensor) -> torch.Tensor | None:
        """Features on the processor, or None where memory is too small.

        A function of its own: the memory of a failed pass is free only once its exception is gone.
        """
        try:
            return self._backbone(frames_NHWC).cpu()
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if _CPU_ALLOCATOR not in str(error):
                raise
            return None

    def _halve(self, shape: tuple[int, ...]) -> None:
        if self.batch_size == 1:
            raise VideoError(
                f"not even one frame of {shape[2]}x{shape[1]} fits into the memory of {self._backbone.device}. Free "
                "memory there, take a smaller backbone, or run it with --device cpu"
            )
        self.batch_size = max(1, min(self.batch_size, shape[0]) // 2)
        log.warning("out of memory: going on with batches of %d frames", self.batch_size)
        torch.cuda.empty_cache()
