"""Backbones: frozen networks that turn frames into features.

Each kind is imported when it is loaded: transformers alone takes seconds.
"""

from pathlib import Path

from sync_extract.backbones.base import Backbone, Placement
from sync_store.config import suggest
from sync_store.errors import SyncError

__all__ = ["BACKBONES", "Backbone", "Placement", "load_backbone"]

DINOV2 = ("dinov2-small", "dinov2-base", "dinov2-large", "dinov2-giant", "dinov2", "dinov2-random-demo")
TSM = ("tsm", "tsm-random-demo")
OMNIVORE = ("omnivore-swin-t", "omnivore-swin-s", "omnivore-swin-b", "omnivore-swin-l")
BACKBONES = (*DINOV2, *TSM, *OMNIVORE)


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    preset: str = "official",
    tokens: tuple[str, ...] = ("cls",),
    shift: str = "none",
    position_embedding: str | None = None,
    placement: Placement | None = None,
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: One of `BACKBONES`.
        weights: A local file or folder; see the backbone's own module for its forms.
        preset: Preprocessing; each backbone has its own.
        tokens: For DINOv2: what a feature is joined from.
        shift: For TSM: "none" or "window8".
        position_embedding: For DINOv2: how position embeddings are resized; by default as the preset's authors did.
        placement: Device and precision.

    Raises:
        SyncError: If the name is unknown or the weights can't be had.
    """
    if name not in BACKBONES:
        raise SyncError(f"unknown backbone {name!r}{suggest(name, list(BACKBONES))}")
    _check_options(name, tokens=tokens, shift=shift, position_embedding=position_embedding)
    placement = placement or Placement.choose()
    if name in TSM:
        from sync_extract.backbones.tsm import load_tsm

        return load_tsm(name, weights=weights, preset=preset, shift=shift, placement=placement)
    if name in OMNIVORE:
        from sync_extract.backbones.omnivore import load_omnivore

        return load_omnivore(name, weights=weights, preset=preset, placement=placement)
    from sync_extract.backbones.dinov2 import load_dinov2

    return load_dinov2(
        name,
        weights=weights,
        preset=preset,
        tokens=tokens,
        position_embedding=position_embedding,
        placement=placement,
    )


def _check_options(name: str, *, tokens: tuple[str, ...], shift: str, position_embedding: str | None) -> None:
    """Refuse what would be ignored."""
    if shift != "none" and name not in TSM:
        raise SyncError(f"shift is an option of the backbone tsm; {name} has none")
    if name not in DINOV2 and tokens != ("cls",):
        raise SyncError(f"tokens are an option of DINOv2; {name} has none")
    if name not in DINOV2 and position_embedding is not None:
        raise SyncError(f"position_embedding is an option of DINOv2; {name} has none")
