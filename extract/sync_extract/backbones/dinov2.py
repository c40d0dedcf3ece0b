"""DINOv2 through transformers: a feature a frame from the last layer's normalised tokens.

Axes: N frames, S tokens (class token first), D feature width, d model width.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones.base import Backbone, Placement, freeze, weights_digest
from sync_extract.backbones.dinov2_hub import fix_positions, load_hub
from sync_extract.clips import Clips
from sync_extract.config import POSITION_EMBEDDINGS, TOKENS
from sync_extract.transforms import PRESETS, PUBLISHED, Preprocessing
from sync_store.config import suggest
from sync_store.errors import SyncError

HUB_NAMES = {f"dinov2-{size}": f"facebook/dinov2-{size}" for size in ("small", "base", "large", "giant")}
"""Pretrained weights on the Hugging Face hub."""

WIDTHS = {"dinov2-small": 384, "dinov2-base": 768, "dinov2-large": 1024, "dinov2-giant": 1536}
"""Model widths (facebookresearch/dinov2, hub/backbones.py): a folder of another size isn't that backbone."""

OWN = "dinov2"
"""Any DINOv2 of the user's own, of whatever size; needs weights."""

RANDOM_DEMO = "dinov2-random-demo"
"""A small DINOv2 with random weights from a fixed seed: for demonstration, never for results."""

RANDOM_DEMO_SEED = 0

RANDOM_DEMO_CONFIG: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 4,
    "image_size": 112,
    "patch_size": 14,
    "layerscale_value": 1.0,
    "initializer_range": 0.05,
}

RANDOM_DEMO_PREPROCESSING = Preprocessing(name="demo", resize=(84, 112), interpolation="bilinear")

CONFIG_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "mlp_ratio",
    "hidden_act",
    "layer_norm_eps",
    "image_size",
    "patch_size",
    "num_channels",
    "qkv_bias",
    "use_swiglu_ffn",
)
"""What config.json says of the computation and the weights don't: other heads, for one, fit the same weights."""


def load_dinov2(
    name: str,
    *,
    weights: Path | None = None,
    preset: str = "official",
    tokens: tuple[str, ...] = ("cls",),
    position_embedding: str | None = None,
    placement: Placement | None = None,
) -> Backbone:
    """Load a DINOv2.

    Args:
        name: One of `HUB_NAMES`, `OWN` or `RANDOM_DEMO`.
        weights: A folder in transformers' form (config.json, model.safetensors), or a checkpoint file of the
            authors (see `load_hub`). Without it the weights come from the Hugging Face hub or its local cache.
        preset: Preprocessing: "official" or "published"; the demo backbone has its own.
        tokens: What a feature is joined from, of `TOKENS`. The paper's is the class token alone.
        position_embedding: Who resizes the position embeddings, of `POSITION_EMBEDDINGS`; see `hub_positions`. By
            default as the preset's authors did: "hub" for "published", whose script ran on torch.hub.
        placement: Device and precision.

    Raises:
        SyncError: If the weights can't be had or aren't a DINOv2.
    """
    for token in tokens:
        if token not in TOKENS:
            raise SyncError(f"unknown token {token!r}{suggest(token, list(TOKENS))}")
    if position_embedding not in (None, *POSITION_EMBEDDINGS):
        known = suggest(position_embedding, list(POSITION_EMBEDDINGS))
        raise SyncError(f"unknown position_embedding {position_embedding!r}{known}")
    placement = placement or Placement.choose()
    if name == RANDOM_DEMO:
        module, preprocessing = _random_demo(), RANDOM_DEMO_PREPROCESSING
    else:
        if preset not in PRESETS:
            raise SyncError(f"unknown preset {preset!r}{suggest(preset, list(PRESETS))}")
        module, preprocessing = _pretrained(name, weights), PRESETS[preset]
    positions = position_embedding or ("hub" if preprocessing is PUBLISHED else "transformers")
    network = {
        "weights_sha256": weights_digest(module),
        "config": {key: getattr(module.config, key) for key in CONFIG_KEYS},
        "position_embedding": positions,
        "tokens": list(tokens),
    }
    if positions == "hub":
        fix_positions(module, *_network_size(preprocessing))
    frozen = freeze(module, placement)
    return Backbone(
        name=name,
        module=frozen,
        preprocessing=preprocessing,
        clips=Clips(),
        feature_dim=module.config.hidden_size * len(tokens),
        placement=placement,
        encode=lambda clips_NKCHW: join_tokens(frozen(clips_NKCHW[:, 0]).last_hidden_state.float(), tokens),
        network=network,
    )


def join_tokens(tokens_NSd: torch.Tensor, tokens: tuple[str, ...]) -> torch.Tensor:
    """Features (N, D) from normalised tokens (N, S, d), the class token first."""
    patches = tokens_NSd[:, 1:]
    parts = {
        "cls": lambda: tokens_NSd[:, 0],
        "mean": lambda: patches.mean(1),
        "max": lambda: patches.amax(1),
        "min": lambda: patches.amin(1),
        "std": lambda: patches.std(1),
    }
    return torch.cat([parts[token]() for token in tokens], dim=1)


def _network_size(preprocessing: Preprocessing) -> tuple[int, int]:
    size = preprocessing.crop or preprocessing.resize
    assert isinstance(size, tuple), preprocessing
    return size


def _random_demo() -> Dinov2Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_DEMO_SEED)
        return Dinov2Model(Dinov2Config(**RANDOM_DEMO_CONFIG))


def _pretrained(name: str, weights: Path | None) -> Dinov2Model:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # retries without a network, ours says it once
    if weights is None:
        module = _from_hugging_face(name)
    else:
        module = load_hub(weights) if weights.is_file() else _from_folder(weights)
    if (width := module.config.hidden_size) != WIDTHS.get(name, width):
        raise SyncError(
            f"{weights or HUB_NAMES[name]}: has width {width}, but {name} has {WIDTHS[name]}; name the backbone "
            f"that it is, or {OWN!r}"
        )
    return module


def _from_hugging_face(name: str) -> Dinov2Model:
    if name == OWN:
        raise SyncError(f"backbone {OWN!r} has no weights of its own: give a folder or a file with --weights")
    source = HUB_NAMES[name]
    try:
        return _load(source, may_download=not os.environ.get("HF_HUB_OFFLINE"))
    except (OSError, ValueError, RuntimeError, SafetensorError):
        raise SyncError(
            f"the weights of {name} can't be had from the Hugging Face hub (no network, or not cached). "
            f"On a machine with network run: hf download {source} --local-dir {name}; then give the "
            f"folder with --weights {name}"
        ) from None


def _from_folder(folder: Path) -> Dinov2Model:
    if not ((folder / "config.json").is_file() and any(folder.glob("*.safetensors"))):
        raise SyncError(
            f"{folder}: isn't a DINOv2 folder; expected config.json and model.safetensors as transformers saves "
            "them, or a checkpoint file as torch.hub has it (for example dinov2_vitl14_pretrain.pth)"
        )
    try:
        return _load(str(folder), may_download=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise SyncError(f"{folder}: can't be loaded as a DINOv2 ({error})") from None


def _load(source: str, *, may_download: bool) -> Dinov2Model:
    """Load what is on disk, and ask the hub only for what isn't: without network each question takes 25 s."""
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
    try:
        module, info = Dinov2Model.from_pretrained(source, local_files_only=True, **options)
    except OSError:
        if not may_download:
            raise
        module, info = Dinov2Model.from_pretrained(source, **options)
    if info["missing_keys"] or module.config.model_type != "dinov2":
        missing = sorted(info["missing_keys"])[:1]
        raise SyncError(
            f"{source}: isn't a DINOv2 checkpoint (missing {missing[0] if missing else 'weights'})"
        )
    return module
