"""What every backbone offers the pipeline.

Axes: N frames, H and W decoded size, D feature width.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from sync_store.errors import SyncError


class Backbone(Protocol):
    """A frozen network that turns frames into features."""

    name: str
    feature_dim: int
    """D."""
    device: torch.device
    module: torch.nn.Module
    trained_on: tuple[str, ...]
    """Views, recordings and labels it was trained on, where those could be the user's own."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """All of the backbone that changes a number: weights digest, preprocessing, tokens, precision."""

    def __call__(self, frames_NHWC: torch.Tensor) -> torch.Tensor:
        """Features of frames.

        Args:
            frames_NHWC: uint8 (N, H, W, 3) RGB, on any device.

        Returns:
            float16 (N, D) on the backbone's device.
        """


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and in which precision a backbone runs."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> "Placement":
        """Resolve "auto": the first GPU if there is one; bfloat16 on it, float32 on a processor.

        Raises:
            SyncError: If there is no such device.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            chosen = torch.device(device)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
            reason = str(error).partition("\n")[0]
            raise SyncError(
                f"device {device!r} can't be used ({reason}). Known: auto, cpu, cuda, cuda:0, cuda:1, …"
            ) from None
        if precision == "auto":
            precision = "bfloat16" if chosen.type == "cuda" else "float32"
        return cls(device=chosen, dtype=getattr(torch, precision))


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of all weights: the same for every file form of them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().to(torch.float32 if tensor.is_floating_point() else torch.int64)
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
