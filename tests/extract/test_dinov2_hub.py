"""DINOv2 from its authors' checkpoints, against a transformer written down here from their names and shapes."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from transformers import Dinov2Config

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.dinov2 import RANDOM_DEMO
from sync_extract.backbones.dinov2_hub import hub_positions
from sync_store.errors import SyncError

CPU = Placement(device=torch.device("cpu"), dtype=torch.float32)

WIDTH, NUM_HEADS, DEPTH, GRID = 128, 2, 3, 37
"""Heads of 64 and 518 / 14 patches a side, as published; the rest small."""

State = dict[str, torch.Tensor]
Floats = npt.NDArray[np.float64]


def hub_state(*, is_swiglu: bool = False, qkv_bias: bool = True) -> State:
    """Random weights under the names of the published checkpoints (facebookresearch/dinov2)."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, GRID**2 + 1, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": (WIDTH,),
    }
    hidden = 344 if is_swiglu else 4 * WIDTH  # two thirds of 512, rounded up to a multiple of 8
    layers = {"mlp.w12": (2 * hidden, WIDTH), "mlp.w3": (WIDTH, hidden)}
    if not is_swiglu:
        layers = {"mlp.fc1": (hidden, WIDTH), "mlp.fc2": (WIDTH, hidden)}
    layers |= {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    for block in (f"blocks.{number}." for number in range(DEPTH)):
        shapes |= {
            f"{block}{norm}.{kind}": (WIDTH,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")
        }
        shapes |= {f"{block}ls1.gamma": (WIDTH,), f"{block}ls2.gamma": (WIDTH,)}
        shapes |= {f"{block}{name}.weight": shape for name, shape in layers.items()}
        shapes |= {f"{block}{name}.bias": shape[:1] for name, shape in layers.items()}
        if not qkv_bias:
            del shapes[f"{block}attn.qkv.bias"]
    shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    torch.manual_seed(0)
    scale = {2: WIDTH**-0.5, 4: 588**-0.5}
    return {name: scale.get(len(shape), 1.0) * torch.randn(shape) for name, shape in shapes.items()}


def class_token(state: State, images: torch.Tensor, positions_1Sd: torch.Tensor) -> torch.Tensor:
    """Normalised class token (N, d) of a vision transformer with layer scale."""
    patches = F.unfold(images, 14, stride=14).transpose(1, 2)
    tokens = patches @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    tokens = torch.cat([state["cls_token"].expand(len(images), -1, -1), tokens], dim=1) + positions_1Sd
    for block in (f"blocks.{number}." for number in range(DEPTH)):
        mixed = attention(state, block, norm(state, block + "norm1", tokens))
        tokens = tokens + state[block + "ls1.gamma"] * mixed
        mixed = perceptron(state, block, norm(state, block + "norm2", tokens))
        tokens = tokens + state[block + "ls2.gamma"] * mixed
    return norm(state, "norm", tokens)[:, 0]


def norm(state: State, name: str, tokens: torch.Tensor) -> torch.Tensor:
    centred = tokens - tokens.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[name + ".weight"] + state[name + ".bias"]


def linear(state: State, name: str, tokens: torch.Tensor) -> torch.Tensor:
    product = tokens @ state[name + ".weight"].T
    return product + state[name + ".bias"] if name + ".bias" in state else product


def attention(state: State, block: str, tokens: torch.Tensor) -> torch.Tensor:
    fused = linear(state, block + "attn.qkv", tokens)
    heads = []
    for head in range(NUM_HEADS):
        query, key, value = (
            fused[..., part * WIDTH + 64 * head : part * WIDTH + 64 * (head + 1)] for part in range(3)
        )
        heads.append((query @ key.transpose(1, 2) / 8).softmax(-1) @ value)
    return linear(state, block + "attn.proj", torch.cat(heads, dim=-1))


def perceptron(state: State, block: str, tokens: torch.Tensor) -> torch.Tensor:
    if block + "mlp.w12.weight" in state:
        gate, up = linear(state, block + "mlp.w12", tokens).chunk(2, dim=-1)
        return linear(state, block + "mlp.w3", gate * gate.sigmoid() * up)
    hidden = linear(state, block + "mlp.fc1", tokens)
    return linear(state, block + "mlp.fc2", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def bicubic(grid_yxd: Floats, num_rows: int, num_columns: int, scales: tuple[float, float]) -> Floats:
    """Keys' cubic convolution with a = -0.75 at (i + 0.5) / scale - 0.5, ends repeated; not smoothed."""
    along_y = np.stack([_sample(grid_yxd, (i + 0.5) / scales[0] - 0.5) for i in range(num_rows)])
    across = along_y.swapaxes(0, 1)
    return np.stack([_sample(across, (i + 0.5) / scales[1] - 0.5) for i in range(num_columns)], axis=1)


def _sample(rows: Floats, at: float) -> Floats:
    a, first = -0.75, math.floor(at) - 1
    total = np.zeros_like(rows[0])
    for row in range(first, first + 4):
        x = abs(at - row)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        total += (near if x <= 1 else far) * rows[min(max(row, 0), len(rows) - 1)]
    return total


def naive_positions(
    positions_1Sd: torch.Tensor, num_rows: int, num_columns: int, offset: float
) -> torch.Tensor:
    """Offset 0.1 is the authors' way, 0 that of transformers."""
    side = math.isqrt(positions_1Sd.shape[1] - 1)
    grid = positions_1Sd[0, 1:].double().numpy().reshape(side, side, -1)
    scales = ((num_rows + offset) / side, (num_columns + offset) / side)
    resized = torch.from_numpy(bicubic(grid, num_rows, num_columns, scales)).flatten(0, 1)
    return torch.cat([positions_1Sd[:, :1], resized[None].float()], dim=1)


@pytest.fixture(scope="module")
def state() -> State:
    return hub_state()


@pytest.fixture(scope="module")
def checkpoint(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 224, 224)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8))


def load(weights: Path, position_embedding: str | None = None, preset: str = "official") -> Backbone:
    return load_backbone(
        "dinov2", weights=weights, preset=preset, position_embedding=position_embedding, placement=CPU
    )


@pytest.mark.parametrize(("position_embedding", "offset"), [("hub", 0.1), ("transformers", 0.0)])
@pytest.mark.parametrize("changes", [{}, {"is_swiglu": True}, {"qkv_bias": False}])
def test_class_token_equals_the_reference(
    tmp_path: Path, images: torch.Tensor, position_embedding: str, offset: float, changes: dict[str, bool]
) -> None:
    state = hub_state(**changes)
    torch.save(state, tmp_path / "weights.pth")
    backbone = load(tmp_path / "weights.pth", position_embedding)
    positions = naive_positions(state["pos_embed"], 16, 16, offset)
    expected = class_token(state, images, positions)
    with torch.inference_mode():
        ours = backbone.module(images).pooler_output
    assert ours.shape == (2, WIDTH)
    assert (ours - expected).norm() / expected.norm() < 1e-4
    assert torch.equal(backbone.features(images[:, None]), ours.half())


def test_the_two_ways_differ(state: State) -> None:
    """On noise by a third (relative norm), as measured with the authors' code."""
    ours = hub_positions(state["pos_embed"], 16, 16)
    authors = naive_positions(state["pos_embed"], 16, 16, 0.1)
    transformers = naive_positions(state["pos_embed"], 16, 16, 0.0)
    torch.testing.assert_close(ours, authors, rtol=1e-4, atol=1e-4)
    assert 0.2 < (authors - transformers).norm() / transformers.norm() < 0.5
    assert torch.equal(ours[:, 0], state["pos_embed"][:, 0])


@pytest.mark.parametrize(("num_rows", "num_columns"), [(6, 8), (8, 6), (37, 20), (40, 50), (1, 1)])
def test_positions_of_other_grids(state: State, num_rows: int, num_columns: int) -> None:
    ours = hub_positions(state["pos_embed"], num_rows, num_columns)
    expected = naive_positions(state["pos_embed"], num_rows, num_columns, 0.1)
    assert ours.shape == (1, 1 + num_rows * num_columns, WIDTH)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_the_trained_grid_stays_as_it_is(state: State) -> None:
    assert torch.equal(hub_positions(state["pos_embed"], GRID, GRID), state["pos_embed"])


def test_a_network_of_another_shape_than_square(frames: torch.Tensor) -> None:
    plain = load_backbone(RANDOM_DEMO, placement=CPU)
    hub = load_backbone(RANDOM_DEMO, position_embedding="hub", placement=CPU)
    trained = plain.module.state_dict()["embeddings.position_embeddings"]
    resized = hub.module.state_dict()["embeddings.position_embeddings"]
    assert trained.shape == (1, 1 + 8 * 8, 128)
    torch.testing.assert_close(resized, naive_positions(trained, 6, 8, 0.1), rtol=1e-4, atol=1e-4)
    assert plain.recipe["position_embedding"] == "transformers"
    assert hub.recipe["weights_sha256"] == plain.recipe["weights_sha256"]
    assert not torch.equal(hub(frames), plain(frames))


def test_resized_positions_are_for_one_size(checkpoint: Path) -> None:
    backbone = load(checkpoint, "hub")
    with pytest.raises(ValueError, match="are those of 224x224 pixels, got 112x448"):
        backbone.module(torch.zeros(1, 3, 112, 448))


def test_each_preset_has_its_authors_way(checkpoint: Path) -> None:
    ways = {
        (preset, chosen): load(checkpoint, chosen, preset).recipe["position_embedding"]
        for preset in ("official", "published")
        for chosen in (None, "hub", "transformers")
    }
    assert ways == {
        ("official", None): "transformers",
        ("official", "hub"): "hub",
        ("official", "transformers"): "transformers",
        ("published", None): "hub",
        ("published", "hub"): "hub",
        ("published", "transformers"): "transformers",
    }


def write_folder(folder: Path, state: State, *, is_swiglu: bool) -> Path:
    """The same weights as the published folders have them (facebook/dinov2-large, model.safetensors)."""
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": state["mask_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for number in range(DEPTH):
        ours, theirs = f"blocks.{number}.", f"encoder.layer.{number}."
        for kind in ("weight", "bias"):
            fused = state[f"{ours}attn.qkv.{kind}"]
            renamed[f"{theirs}attention.attention.query.{kind}"] = fused[:WIDTH].clone()
            renamed[f"{theirs}attention.attention.key.{kind}"] = fused[WIDTH : 2 * WIDTH].clone()
            renamed[f"{theirs}attention.attention.value.{kind}"] = fused[2 * WIDTH :].clone()
            renamed[f"{theirs}attention.output.dense.{kind}"] = state[f"{ours}attn.proj.{kind}"]
            for same in ("norm1", "norm2"):
                renamed[f"{theirs}{same}.{kind}"] = state[f"{ours}{same}.{kind}"]
            pairs = {"w12": "weights_in", "w3": "weights_out"} if is_swiglu else {"fc1": "fc1", "fc2": "fc2"}
            for mine, other in pairs.items():
                renamed[f"{theirs}mlp.{other}.{kind}"] = state[f"{ours}mlp.{mine}.{kind}"]
        renamed[f"{theirs}layer_scale1.lambda1"] = state[f"{ours}ls1.gamma"]
        renamed[f"{theirs}layer_scale2.lambda1"] = state[f"{ours}ls2.gamma"]
    folder.mkdir()
    safetensors.torch.save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=NUM_HEADS,
        image_size=518,
        patch_size=14,
        use_swiglu_ffn=is_swiglu,
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


@pytest.mark.parametrize("is_swiglu", [False, True])
@pytest.mark.parametrize("position_embedding", ["hub", "transformers"])
def test_both_forms_of_the_same_weights_are_the_same(
    tmp_path: Path, frames: torch.Tensor, is_swiglu: bool, position_embedding: str
) -> None:
    state = hub_state(is_swiglu=is_swiglu)
    torch.save(state, tmp_path / "weights.pth")
    folder = write_folder(tmp_path / "folder", state, is_swiglu=is_swiglu)
    of_file = load(tmp_path / "weights.pth", position_embedding)
    of_folder = load(folder, position_embedding)
    assert of_file.recipe == of_folder.recipe
    assert torch.equal(of_file(frames), of_folder(frames))
    assert of_file.recipe["config"]["use_swiglu_ffn"] == is_swiglu


def test_safetensors_of_the_authors_names(tmp_path: Path, state: State, checkpoint: Path) -> None:
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    assert load(tmp_path / "weights.safetensors").recipe == load(checkpoint).recipe


def test_weights_outlive_their_file(tmp_path: Path, state: State, frames: torch.Tensor) -> None:
    """A checkpoint is read through a map of the file, which another one may take the place of."""
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    backbone = load(path)
    before = backbone(frames)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size))
    assert torch.equal(backbone(frames), before)


def test_the_size_must_be_the_named_one(checkpoint: Path) -> None:
    with pytest.raises(
        SyncError, match="has width 128, but dinov2-large has 1024; name the backbone that it is"
    ):
        load_backbone("dinov2-large", weights=checkpoint, placement=CPU)


FC1 = "blocks.1.mlp.fc1.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"register_tokens": torch.zeros(1, 4, WIDTH)}, r"with registers \(register_tokens\).*no _reg4"),
        ({"embeddings.cls_token": torch.zeros(1)}, "has transformers' names: give the folder"),
        ({"pos_embed": None}, "has no weights 'pos_embed' of 3 axes; expected a DINOv2 checkpoint"),
        ({"pos_embed": "lost"}, "has no weights 'pos_embed' of 3 axes"),
        (
            {"pos_embed": torch.zeros(1, 11, WIDTH)},
            r"pos_embed has shape \(1, 11, 128\), expected \(1, 10, 128\)",
        ),
        ({"pos_embed": torch.zeros(1, 10, 100)}, "has width 100, not a multiple of 64"),
        ({"blocks.0.mlp.fc1.weight": None}, "has no weights 'blocks.0.mlp.fc1.weight' of 2 axes"),
        ({"blocks.2.ls1.gamma": None}, "blocks.2.ls1.gamma is missing; expected a DINOv2 checkpoint"),
        ({"head.weight": torch.zeros(1)}, "unexpected key 'head.weight'; expected a DINOv2 checkpoint"),
        ({FC1: torch.zeros(500, WIDTH)}, rf"{FC1} has shape \(500, 128\), expected \(512, 128\)"),
        ({FC1: torch.zeros(512, WIDTH, dtype=torch.int8)}, f"{FC1} holds int8, expected float32"),
        ({"norm.bias": 3}, "norm.bias is 3, not a tensor"),
    ],
)
def test_bad_checkpoints(tmp_path: Path, state: State, changes: dict[str, object], message: str) -> None:
    changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
    torch.save(changed, tmp_path / "bad.pth")
    with pytest.raises(SyncError, match=message):
        load(tmp_path / "bad.pth")


def test_unknown_way(checkpoint: Path) -> None:
    with pytest.raises(SyncError, match="unknown position_embedding 'hubb', did you mean 'hub'"):
        load(checkpoint, "hubb")
