"""DINOv2 as its authors have it (facebookresearch/dinov2, what torch.hub loads): checkpoints and position embeddings.

Axes: S positions (the class token's first), d model width; a grid of rows and columns of patches.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Dinov2Config, Dinov2Model

from sync_extract.weights import check_tensor, read_checkpoint
from sync_store.errors import SyncError

HEAD_WIDTH = 64
"""Of each attention head in every published size; the weights don't tell (dinov2/models/vision_transformer.py)."""

MLP_RATIO = 4
"""Of the published sizes with SwiGLU, whose layers are two thirds of it wide, rounded up to a multiple of 8."""

OFFSET = 0.1
"""Patches that are added to the wanted grid before the scale is taken (hub/backbones.py, interpolate_offset)."""

EXPECTED = "expected a DINOv2 checkpoint as torch.hub has it (for example dinov2_vitl14_pretrain.pth)"

_AROUND = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_IN_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.w12": "mlp.weights_in",
    "mlp.w3": "mlp.weights_out",
    "ls2.gamma": "layer_scale2.lambda1",
}
"""Names of the published folders, which transformers translates to those of its present classes."""

State = dict[str, torch.Tensor]


def load_hub(path: Path) -> Dinov2Model:
    """Load a checkpoint of the authors; sizes are read from the weights.

    Args:
        path: A dict of weights with fused query, key and value; of the published files those without registers.

    Returns:
        The same module as from the folder that has the same weights in transformers' form, float32.

    Raises:
        SyncError: If the file can't be read, or isn't just such a network.
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)  # from safetensors
    if not isinstance(state, dict):
        raise SyncError(f"{path}: holds no weights; {EXPECTED}")
    config = _config(path, state)
    _check(path, state, _shapes(config))
    model, info = Dinov2Model.from_pretrained(
        None, config=config, state_dict=_translated(state), output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model


def fix_positions(module: Dinov2Model, height: int, width: int) -> None:
    """Resize the position embeddings to one size of input as torch.hub's code does, once for all.

    Args:
        module: Changed in place; it then takes this size alone.
        height: Pixels.
        width: Pixels.
    """
    embeddings = module.embeddings
    patch = module.config.patch_size
    positions = hub_positions(embeddings.position_embeddings.detach(), height // patch, width // patch)
    embeddings.position_embeddings = torch.nn.Parameter(positions, requires_grad=False)

    def fixed(_tokens: torch.Tensor, got_height: int, got_width: int) -> torch.Tensor:
        if (got_height, got_width) != (height, width):
            raise ValueError(
                f"position embeddings are those of {height}x{width} pixels, got {got_height}x{got_width}"
            )
        resized: torch.Tensor = embeddings.position_embeddings
        return resized

    embeddings.interpolate_pos_encoding = fixed  # transformers' own would take any grid for a square one


def hub_positions(positions_1Sd: torch.Tensor, num_rows: int, num_columns: int) -> torch.Tensor:
    """Position embeddings of a grid of patches, as torch.hub's code interpolates them.

    It samples at steps of M / (rows + 0.1) of the M x M grid, bicubic and without smoothing, where transformers
    takes M / rows: at 224 pixels the last row lies 0.22 rows further up than there.

    Args:
        positions_1Sd: Of a square grid, behind the class token's.
        num_rows: Wanted.
        num_columns: Wanted.

    Returns:
        float32 (1, 1 + rows * columns, d).
    """
    side = math.isqrt(positions_1Sd.shape[1] - 1)
    if (num_rows, num_columns) == (side, side):
        return positions_1Sd.float()
    grid_1dyx = positions_1Sd[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((num_rows + OFFSET) / side, (num_columns + OFFSET) / side)
    resized_1dyx = F.interpolate(grid_1dyx, scale_factor=scale, mode="bicubic", antialias=False)
    assert resized_1dyx.shape[2:] == (num_rows, num_columns), resized_1dyx.shape
    return torch.cat([positions_1Sd[:, :1].float(), resized_1dyx.flatten(2).transpose(1, 2)], dim=1)


def _config(path: Path, state: dict[Any, Any]) -> Dinov2Config:
    """Sizes of the network that the weights are of."""
    if "register_tokens" in state:
        raise SyncError(
            f"{path}: is a DINOv2 with registers (register_tokens), another network; give the checkpoint without "
            "them: its name has no _reg4"
        )
    if "embeddings.cls_token" in state:
        raise SyncError(f"{path}: has transformers' names: give the folder that it and config.json lie in")
    _, num_positions, width = _shape(path, state, "pos_embed", 3)
    _, num_channels, _, patch_size = _shape(path, state, "patch_embed.proj.weight", 4)
    if width % HEAD_WIDTH:
        raise SyncError(f"{path}: has width {width}, not a multiple of {HEAD_WIDTH}, the width of a head")
    is_swiglu = "blocks.0.mlp.w12.weight" in state
    mlp_ratio = MLP_RATIO
    if not is_swiglu:
        mlp_ratio = _shape(path, state, "blocks.0.mlp.fc1.weight", 2)[0] // width
    return Dinov2Config(
        hidden_size=width,
        num_hidden_layers=len({key.split(".")[1] for key in state if str(key).startswith("blocks.")}),
        num_attention_heads=width // HEAD_WIDTH,
        mlp_ratio=mlp_ratio,
        image_size=math.isqrt(num_positions - 1) * patch_size,
        patch_size=patch_size,
        num_channels=num_channels,
        qkv_bias="blocks.0.attn.qkv.bias" in state,
        use_swiglu_ffn=is_swiglu,
    )


def _shape(path: Path, state: dict[Any, Any], key: str, num_axes: int) -> tuple[int, ...]:
    tensor = state.get(key)
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != num_axes or 0 in tensor.shape:
        raise SyncError(f"{path}: has no weights {key!r} of {num_axes} axes; {EXPECTED}")
    return tuple(tensor.shape)


def _shapes(config: Dinov2Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights of a checkpoint."""
    width, patch = config.hidden_size, config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "mask_token": (1, width),
        "pos_embed": (1, 1 + (config.image_size // patch) ** 2, width),
        "patch_embed.proj.weight": (width, config.num_channels, patch, patch),
        "patch_embed.proj.bias": (width,),
        **_linear("norm", width),
    }
    for block in range(config.num_hidden_layers):
        shapes |= {f"blocks.{block}.{key}": shape for key, shape in _block_shapes(config).items()}
    return shapes


def _block_shapes(config: Dinov2Config) -> dict[str, tuple[int, ...]]:
    width, hidden = config.hidden_size, config.hidden_size * config.mlp_ratio
    shapes = {
        **_linear("norm1", width),
        **_linear("attn.qkv", 3 * width, width),
        **_linear("attn.proj", width, width),
        "ls1.gamma": (width,),
        **_linear("norm2", width),
        "ls2.gamma": (width,),
    }
    if not config.qkv_bias:
        del shapes["attn.qkv.bias"]
    if config.use_swiglu_ffn:
        hidden = (hidden * 2 // 3 + 7) // 8 * 8
        return shapes | _linear("mlp.w12", 2 * hidden, width) | _linear("mlp.w3", width, hidden)
    return shapes | _linear("mlp.fc1", hidden, width) | _linear("mlp.fc2", width, hidden)


def _linear(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _check(path: Path, state: dict[Any, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    if missing := next((key for key in shapes if key not in state), None):
        raise SyncError(f"{path}: {missing} is missing; {EXPECTED}")
    if unexpected := next((key for key in state if key not in shapes), None):
        raise SyncError(f"{path}: unexpected key {unexpected!r}; {EXPECTED}")
    for key, shape in shapes.items():
        check_tensor(path, key, state[key], shape, f"{EXPECTED}, whose shapes fit each other")


def _translated(state: State) -> State:
    """A float32 copy under transformers' names."""
    translated: State = {}
    for key, tensor in state.items():
        values = tensor.to(torch.float32, copy=True)
        _, number, inside = key.split(".", 2) if key.startswith("blocks.") else ("", "", "")
        prefix = f"encoder.layer.{number}."
        if inside.startswith("attn.qkv."):
            for part, third in zip(("query", "key", "value"), values.chunk(3), strict=True):
                translated[f"{prefix}attention.attention.{part}.{inside.split('.')[2]}"] = third.clone()
        elif inside:
            translated[prefix + _renamed(inside, _IN_BLOCK)] = values
        else:
            translated[_renamed(key, _AROUND)] = values
    return translated


def _renamed(key: str, names: dict[str, str]) -> str:
    if key in names:
        return names[key]
    name, _, kind = key.rpartition(".")
    return f"{names[name]}.{kind}"
