"""The contract of a backbone, and DINOv2's loading."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.base import weights_digest
from sync_extract.backbones.dinov2 import RANDOM_DEMO
from sync_extract.transforms import PREPROCESSING_RULES_VERSION
from sync_store.errors import SyncError

CPU = Placement(device=torch.device("cpu"), dtype=torch.float32)
ALL_TOKENS = ("cls", "mean", "max", "min", "std")


@pytest.fixture(scope="module")
def demo() -> Backbone:
    return load_backbone(RANDOM_DEMO, tokens=ALL_TOKENS, placement=CPU)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 96, 128, 3), dtype=np.uint8))


@pytest.fixture
def small_folder(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    config = Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_width_and_dtype(demo: Backbone, frames: torch.Tensor) -> None:
    features = demo(frames)
    assert features.shape == (5, demo.feature_dim) == (5, 640)
    assert features.dtype == torch.float16
    assert torch.isfinite(features).all()


def test_batch_size_does_not_matter(demo: Backbone, frames: torch.Tensor) -> None:
    singles = torch.cat([demo(frames[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(demo(frames), singles, rtol=2e-3, atol=2e-3)


def test_deterministic(demo: Backbone, frames: torch.Tensor) -> None:
    again = load_backbone(RANDOM_DEMO, tokens=ALL_TOKENS, placement=CPU)
    assert again.recipe == demo.recipe
    assert torch.equal(again(frames), demo(frames))


def test_loading_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_backbone(RANDOM_DEMO, placement=CPU)
    assert torch.equal(torch.rand(3), expected)


def test_class_token_is_transformers_pooled_output(small_folder: Path, frames: torch.Tensor) -> None:
    backbone = load_backbone(
        "dinov2",
        weights=small_folder,
        preset="published",
        position_embedding="transformers",
        placement=CPU,
    )
    model = Dinov2Model.from_pretrained(small_folder).eval()
    images = backbone.preprocessing(frames)
    with torch.inference_mode():
        expected = model(images).pooler_output
    torch.testing.assert_close(backbone(frames).float(), expected, rtol=1e-3, atol=1e-3)


def test_tokens_are_what_they_say(small_folder: Path, frames: torch.Tensor) -> None:
    backbone = load_backbone("dinov2", weights=small_folder, tokens=ALL_TOKENS, placement=CPU)
    with torch.inference_mode():
        tokens = backbone.module(backbone.preprocessing(frames)).last_hidden_state
    cls, mean, largest, least, deviation = backbone(frames).float().split(48, dim=1)
    for ours, expected in (
        (cls, tokens[:, 0]),
        (mean, tokens[:, 1:].mean(1)),
        (largest, tokens[:, 1:].amax(1)),
        (least, tokens[:, 1:].amin(1)),
        (deviation, tokens[:, 1:].std(1)),
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


def test_recipe_tells_presets_tokens_and_precision_apart(small_folder: Path) -> None:
    def recipe(**changes: object) -> str:
        placement = Placement(device=torch.device("cpu"), dtype=changes.pop("dtype", torch.float32))  # type: ignore[arg-type]
        return str(load_backbone("dinov2", weights=small_folder, placement=placement, **changes).recipe)  # type: ignore[arg-type]

    recipes = [
        recipe(),
        recipe(preset="published"),
        recipe(tokens=("cls", "max")),
        recipe(dtype=torch.bfloat16),
        recipe(position_embedding="hub"),
    ]
    assert len(set(recipes)) == 5
    assert recipe() == recipes[0]


@pytest.mark.parametrize(
    ("key", "value"), [("num_attention_heads", 6), ("layer_norm_eps", 1e-3), ("hidden_act", "relu")]
)
def test_recipe_tells_networks_of_the_same_weights_apart(
    small_folder: Path, frames: torch.Tensor, key: str, value: object
) -> None:
    before = load_backbone("dinov2", weights=small_folder, placement=CPU)
    config = json.loads((small_folder / "config.json").read_text())
    (small_folder / "config.json").write_text(json.dumps({**config, key: value}))
    after = load_backbone("dinov2", weights=small_folder, placement=CPU)
    assert after.recipe["weights_sha256"] == before.recipe["weights_sha256"]
    assert not torch.equal(after(frames), before(frames))
    assert after.recipe != before.recipe
    assert json.loads(json.dumps(after.recipe)) == after.recipe


def test_recipe_tells_how_the_device_resizes_and_by_which_rules(demo: Backbone) -> None:
    """A GPU has no kernel for bytes, and its values differ by a level here and there."""
    assert demo.recipe["resized_as"] == "bytes"
    assert demo.preprocessing.resized_as(torch.device("cuda")) == "floats"
    assert demo.recipe["preprocessing_rules"] == PREPROCESSING_RULES_VERSION


def test_digest_is_of_the_values(small_folder: Path) -> None:
    model = Dinov2Model.from_pretrained(small_folder)
    digest = weights_digest(model)
    assert weights_digest(Dinov2Model.from_pretrained(small_folder)) == digest
    with torch.no_grad():
        model.layernorm.bias[0] += 1e-6
    assert weights_digest(model) != digest


def test_bfloat16_agrees_with_float32(frames: torch.Tensor) -> None:
    half = Placement(device=torch.device("cpu"), dtype=torch.bfloat16)
    a = load_backbone(RANDOM_DEMO, placement=CPU)(frames).float()
    b = load_backbone(RANDOM_DEMO, placement=half)(frames).float()
    assert torch.nn.functional.cosine_similarity(a, b).min() > 0.999


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("dinov3-large", None, "unknown backbone 'dinov3-large', did you mean 'dinov2-large'"),
        ("dinov2", None, "give a folder or a file with --weights"),
        ("dinov2-large", "empty", "isn't a DINOv2 folder; expected config.json and model.safetensors"),
        ("dinov2-large", "small", "has width 48, but dinov2-large has 1024"),
        ("dinov2-large", "broken", "can't be loaded as a DINOv2"),
        ("dinov2", "other", "isn't a DINOv2 checkpoint"),
    ],
)
def test_bad_weights(tmp_path: Path, small_folder: Path, name: str, folder: str | None, message: str) -> None:
    (tmp_path / "empty").mkdir()
    paths = {
        "empty": tmp_path / "empty",
        "small": small_folder,
        "broken": small_folder,
        "other": small_folder,
    }
    if folder == "broken":
        (small_folder / "model.safetensors").write_bytes(b"not safetensors")
    if folder == "other":
        from safetensors.torch import load_file, save_file

        weights = load_file(small_folder / "model.safetensors")
        weights.pop("encoder.layer.0.norm1.weight")
        save_file(weights, small_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SyncError, match=message):
        load_backbone(name, weights=paths[folder] if folder else None, placement=CPU)


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(
        SyncError, match=r"hf download facebook/dinov2-large --local-dir dinov2-large.*--weights"
    ):
        load_backbone("dinov2-large", placement=CPU)


def test_unknown_preset_and_token(small_folder: Path) -> None:
    with pytest.raises(SyncError, match="unknown preset 'offical', did you mean 'official'"):
        load_backbone("dinov2", weights=small_folder, preset="offical", placement=CPU)
    with pytest.raises(SyncError, match="unknown token 'clss', did you mean 'cls'"):
        load_backbone("dinov2", weights=small_folder, tokens=("clss",), placement=CPU)
