"""Runs a backbone on batches that fit into memory.

Axes: N frames or rows, K frames of a clip, H and W decoded size, h and w network size, D feature width.
"""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from sync_extract.backbones import Backbone
from sync_extract.transfers import Download, Uploads
from sync_store.errors import VideoError

log = logging.getLogger(__name__)

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Named in plain RuntimeErrors of a processor whose memory is too small, and of libraries that find none left on a
GPU (torch 2.13)."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that memory is too small."""
    return isinstance(error, torch.OutOfMemoryError) or any(name in str(error) for name in _OUT_OF_MEMORY)


class AdaptiveForward:
    """Runs the backbone on batches, halving the batch for good where memory is too small."""

    def __init__(self, backbone: Backbone, batch_size: int) -> None:
        self._backbone = backbone
        self._upload = Uploads(backbone.device)
        self.batch_size = batch_size
        """Frames, whether each is a row or several are; one clip at the least."""

    def prepare(self, frames: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Network input (N, 3, h, w) on the device of uint8 (N, H, W, 3) frames.

        Raises:
            VideoError: If not even one frame fits.
        """
        return self._in_parts(self._backbone.prepare, self._upload(frames), 1)

    def features(self, clips_NKCHW: torch.Tensor) -> Download:
        """Features float16 (N, D) of clips (N, K, 3, h, w), on their way from the device.

        Raises:
            VideoError: If not even one clip fits.
        """
        return Download(self._in_parts(self._backbone.features, clips_NKCHW, clips_NKCHW.shape[1]))

    def _in_parts(
        self, run: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, frames_each: int
    ) -> torch.Tensor:
        outputs: list[torch.Tensor] = []
        start = 0
        while start < len(inputs):
            part = inputs[start : start + max(1, self.batch_size // frames_each)]
            output = _unless_out_of_memory(run, part)
            if output is None:
                self._halve(part, frames_each)
                continue
            outputs.append(output)
            start += len(part)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _halve(self, part: torch.Tensor, frames_each: int) -> None:
        if len(part) == 1:
            what = "one frame" if frames_each == 1 else f"one clip of {frames_each} frames"
            raise VideoError(
                f"not even {what}, {tuple(part.shape)}, fits into the memory of {self._backbone.device}. Free "
                "memory there, take a smaller backbone, or run it with --device cpu"
            )
        self.batch_size = len(part) // 2 * frames_each
        log.warning("out of memory: going on with batches of %d frames", self.batch_size)
        torch.cuda.empty_cache()


def _unless_out_of_memory(
    run: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
) -> torch.Tensor | None:
    """What `run` gives, or None where memory is too small.

    A function of its own: the memory of a failed pass is free only once its exception is gone.
    """
    try:
        return run(inputs)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
