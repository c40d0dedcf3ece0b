"""What a backbone is to the pipeline.

Axes: N frames or rows, K frames of a clip, H and W decoded size, h and w network size, D feature width.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch

from sync_extract.clips import Clips
from sync_extract.transforms import PREPROCESSING_RULES_VERSION, Preprocessing
from sync_store.errors import SyncError


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A frozen network that turns clips of frames into features."""

    name: str
    module: torch.nn.Module
    """See `freeze`."""
    preprocessing: Preprocessing
    clips: Clips
    feature_dim: int
    """D."""
    placement: Placement
    encode: Callable[[torch.Tensor], torch.Tensor]
    """Normalised clips (N, K, 3, h, w) of the placement's device and dtype to features (N, D)."""
    network: Mapping[str, Any]
    """All of the network that changes a number, as JSON values: weights digest, sizes, what a feature is."""
    fps: Fraction | None = None
    """Rate of the sampling grid that its clips are meant for; None if the rows are to be at the label rate."""
    trained_on: tuple[str, ...] = ()
    """Views, recordings and labels it was trained on, where those could be the user's own."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.placement.device

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """All of the backbone that changes a number."""
        return {
            "backbone": self.name,
            **self.network,
            "preprocessing": as_json(self.preprocessing),
            "preprocessing_rules": PREPROCESSING_RULES_VERSION,
            "resized_as": self.preprocessing.resized_as(self.device),
            "clips": as_json(self.clips),
            "precision": str(self.placement.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def prepare(self, frames_NHWC: torch.Tensor) -> torch.Tensor:
        """Network input of frames.

        Args:
            frames_NHWC: uint8 (N, H, W, 3) RGB, on any device.

        Returns:
            (N, 3, h, w) of the placement's device and dtype.
        """
        images = self.preprocessing(frames_NHWC.to(self.device, non_blocking=True))
        return images.to(self.placement.dtype)

    @torch.inference_mode()
    def features(self, clips_NKCHW: torch.Tensor) -> torch.Tensor:
        """Features of clips.

        Args:
            clips_NKCHW: (N, K, 3, h, w), put together from what `prepare` gives.

        Returns:
            float16 (N, D) on the backbone's device.
        """
        return self.encode(clips_NKCHW).half()

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Features of frames, or of clips of them.

        Args:
            frames: uint8 (N, K, H, W, 3) RGB, or (N, H, W, 3) where K is 1.

        Returns:
            float16 (N, D) on the backbone's device.

        Raises:
            ValueError: If the clips have another number of frames.
        """
        clips = frames if frames.ndim == 5 else frames[:, None]
        if clips.shape[1] != self.clips.num_frames:
            raise ValueError(
                f"{self.name} sees clips of {self.clips.num_frames} frames, got {tuple(frames.shape)}"
            )
        images = self.prepare(clips.flatten(0, 1))
        return self.features(images.reshape(*clips.shape[:2], *images.shape[1:]))


def freeze(module: torch.nn.Module, placement: Placement) -> torch.nn.Module:
    """The module in evaluation mode, without gradients, where and as it is to run."""
    return module.eval().requires_grad_(False).to(placement.device, placement.dtype)


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of all weights: the same for every file form of them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().to(torch.float32 if tensor.is_floating_point() else torch.int64)
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()


def as_json(record: Any) -> dict[str, Any]:
    """A dataclass as JSON has it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}
