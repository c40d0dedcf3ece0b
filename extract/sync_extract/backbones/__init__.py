"""Backbones: frozen networks that turn frames into features."""

from pathlib import Path

from sync_extract.backbones.base import Backbone, Placement
from sync_extract.backbones.dinov2 import HUB_NAMES, OWN, RANDOM_DEMO, load_dinov2
from sync_store.config import suggest
from sync_store.errors import SyncError

__all__ = ["BACKBONES", "Backbone", "Placement", "load_backbone"]

BACKBONES = (*HUB_NAMES, OWN, RANDOM_DEMO)


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    preset: str = "official",
    tokens: tuple[str, ...] = ("cls",),
    placement: Placement | None = None,
) -> Backbone:
    """Load a backbone by name; see `load_dinov2` for the arguments.

    Raises:
        SyncError: If the name is unknown or the weights can't be had.
    """
    if name not in BACKBONES:
        raise SyncError(f"unknown backbone {name!r}{suggest(name, list(BACKBONES))}")
    return load_dinov2(name, weights=weights, preset=preset, tokens=tokens, placement=placement)
