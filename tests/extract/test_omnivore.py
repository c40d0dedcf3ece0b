"""Omnivore as a backbone, from files in the published form."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.swin3d import Swin3D
from sync_store.errors import SyncError
from sync_store.reader import FeatureStore

CPU = Placement(device=torch.device("cpu"), dtype=torch.float32)
NAME = "omnivore-swin-t"

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trunk() -> State:
    """Random weights of Swin-T."""
    torch.manual_seed(0)
    state = Swin3D(SIZES[NAME]).state_dict()
    for name in state:
        if "bias_table" in name:
            state[name] = torch.randn(state[name].shape)
    return state


@pytest.fixture(scope="module")
def published(trunk: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with what the published ones hold."""
    heads = {}
    for key, num_classes in {"image": 1000, "rgbd": 19, "video.1": 400}.items():
        heads[f"{key}.weight"] = torch.zeros(num_classes, 768)
        heads[f"{key}.bias"] = torch.zeros(num_classes)
    path = tmp_path_factory.mktemp("omnivore") / "swinT_checkpoint.torch"
    torch.save({"trunk": trunk, "heads": heads}, path)
    return path


@pytest.fixture(scope="module")
def backbone(published: Path) -> Backbone:
    return load_backbone(NAME, weights=published, placement=CPU)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    """Normalised, smaller than the network's own size (N, K, 3, h, w)."""
    torch.manual_seed(1)
    return torch.randn(3, 32, 3, 64, 64)


def test_width_and_dtype_of_whole_frames(backbone: Backbone) -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 32, 90, 120, 3), dtype=np.uint8))
    features = backbone(frames)
    assert features.shape == (1, backbone.feature_dim) == (1, 768)
    assert features.dtype == torch.float16 and torch.isfinite(features).all()
    with torch.inference_mode():
        images = torch.stack([backbone.prepare(frame[None])[0] for frame in frames[0]])
        assert images.shape == (32, 3, 224, 224)
        expected = backbone.module(images.movedim(0, 1)[None])
    torch.testing.assert_close(features.float(), expected, rtol=1e-3, atol=1e-3)


def test_another_number_of_frames(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="omnivore-swin-t sees clips of 32 frames, got"):
        backbone(torch.zeros(1, 16, 48, 48, 3, dtype=torch.uint8))


def test_batch_size_does_not_matter(backbone: Backbone, clips: torch.Tensor) -> None:
    singles = torch.cat([backbone.features(clip[None]) for clip in clips])
    torch.testing.assert_close(backbone.features(clips), singles, rtol=2e-3, atol=2e-3)


def test_deterministic(backbone: Backbone, published: Path, clips: torch.Tensor) -> None:
    again = load_backbone(NAME, weights=published, placement=CPU)
    assert again.recipe == backbone.recipe
    assert torch.equal(again.features(clips[:1]), backbone.features(clips[:1]))


def test_bfloat16_agrees_with_float32(backbone: Backbone, published: Path, clips: torch.Tensor) -> None:
    placement = Placement(device=torch.device("cpu"), dtype=torch.bfloat16)
    half = load_backbone(NAME, weights=published, placement=placement)
    a = backbone.features(clips[:1]).float()
    b = half.features(clips[:1].bfloat16()).float()
    assert F.cosine_similarity(a, b).min() > 0.999
    assert half.recipe["weights_sha256"] == backbone.recipe["weights_sha256"]


def test_time_and_frames_of_rows(backbone: Backbone) -> None:
    """Windows of 32 frames every 16, the middle one's time, and a last window that ends with the video."""
    rows = backbone.clips.rows(75)
    assert [(row[0], row[-1]) for row in rows.tolist()] == [(0, 31), (16, 47), (32, 63), (43, 74)]
    assert rows[:, backbone.clips.anchor].tolist() == [16, 32, 48, 59]


def test_windows_have_their_length_in_seconds_whatever_the_label_rate(
    published: Path, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    make_video(tmp_path / "videos/r/ego.mp4", count=48)
    text = '[dataset]\nlabel_fps = 10\n[views.ego]\nkind = "ego"\n[extract]\ndevice = "cpu"\n'
    (tmp_path / "sync.toml").write_text(text)
    command = str(Path(sys.executable).with_name("sync-extract"))
    options = ["--project", str(tmp_path), "--backbone", NAME, "--weights", str(published)]
    done = subprocess.run([command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = FeatureStore(tmp_path / "features.zarr").read(NAME, "ego", "r")
    assert stored.timestamps.tolist() == [round(16 / 30 * 1e9), round(32 / 30 * 1e9)]


def test_frames_are_prepared_as_the_released_features_were(backbone: Backbone) -> None:
    """Scaled to 0–1, normalised, then resized without smoothing, then cropped (Ego4d, features/models/omnivore.py)."""
    frames = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (2, 400, 711, 3), dtype=np.uint8))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = ((frames / 255 - mean) / std).permute(0, 3, 1, 2)
    width = 711 * 256 // 400
    resized = F.interpolate(normalised, size=(256, width), mode="bilinear", align_corners=False)
    left = round((width - 224) / 2)
    expected = resized[:, :, 16:240, left : left + 224]
    torch.testing.assert_close(backbone.prepare(frames), expected, rtol=1e-4, atol=1e-4)


def test_recipe(backbone: Backbone) -> None:
    recipe = backbone.recipe
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["backbone"] == NAME
    assert recipe["config"]["window"] == [8, 7, 7]
    assert recipe["resized_as"] == "plain floats"
    assert recipe["clips"]["num_frames"] == 32
    assert backbone.trained_on == ()


@pytest.mark.parametrize("form", ["trunk alone", "safetensors", "half precision"])
def test_other_forms_of_the_same_weights(
    backbone: Backbone, trunk: State, tmp_path: Path, form: str, clips: torch.Tensor
) -> None:
    path = tmp_path / ("trunk.safetensors" if form == "safetensors" else "trunk.pth")
    if form == "safetensors":
        safetensors.torch.save_file(trunk, path)
    else:
        halves = {key: value.half() if value.is_floating_point() else value for key, value in trunk.items()}
        torch.save(halves if form == "half precision" else trunk, path)
    other = load_backbone(NAME, weights=path, placement=CPU)
    if form == "half precision":
        assert other.module.state_dict()["norm.weight"].dtype == torch.float32
    else:
        assert other.recipe == backbone.recipe
    torch.testing.assert_close(other.features(clips[:1]), backbone.features(clips[:1]), rtol=2e-2, atol=2e-2)


def test_weights_without_a_depth_channel(
    backbone: Backbone, trunk: State, tmp_path: Path, clips: torch.Tensor
) -> None:
    """As in the checkpoint that was fine-tuned on EPIC-KITCHENS-100; video gives the same features."""
    path = tmp_path / "no-depth.pth"
    no_depth = {key: value for key, value in trunk.items() if not key.startswith("depth_")}
    torch.save({"trunk": no_depth, "heads": {"1.weight": torch.zeros(3806, 768)}}, path)
    other = load_backbone(NAME, weights=path, placement=CPU)
    assert torch.equal(other.features(clips[:1]), backbone.features(clips[:1]))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("omnivore-swin-t", "swinT_checkpoint"),
        ("omnivore-swin-s", "swinS_checkpoint"),
        ("omnivore-swin-b", "swinB_In21k_checkpoint"),
        ("omnivore-swin-l", "swinL_In21k_checkpoint"),
    ],
)
def test_without_weights_says_where_they_are(name: str, file: str) -> None:
    with pytest.raises(
        SyncError, match=rf"download {file}\.torch, which.*facebookresearch/omnivore.*--weights FILE"
    ):
        load_backbone(name, placement=CPU)


def test_unknown_preset(published: Path) -> None:
    with pytest.raises(SyncError, match="unknown preset 'published' of omnivore-swin-t; known: official"):
        load_backbone(NAME, weights=published, preset="published", placement=CPU)


@pytest.mark.parametrize(
    ("embed_dim", "depth", "message"),
    [
        (
            96,
            18,
            "96 channels and 18 blocks in its third stage, but omnivore-swin-t has 96 and 6.*'omnivore-swin-s'",
        ),
        (128, 18, "128 channels and 18 blocks.*name the backbone 'omnivore-swin-b'"),
        (192, 18, "192 channels and 18 blocks.*name the backbone 'omnivore-swin-l'"),
        (64, 6, "64 channels and 6 blocks.*no Omnivore has these"),
    ],
)
def test_another_size(tmp_path: Path, embed_dim: int, depth: int, message: str) -> None:
    blocks = {f"layers.2.blocks.{block}.norm1.weight": torch.zeros(1) for block in range(depth)}
    projection = torch.zeros(embed_dim, 3, 2, 4, 4)
    torch.save({"trunk": {"patch_embed.proj.weight": projection, **blocks}}, tmp_path / "other.torch")
    with pytest.raises(SyncError, match=message):
        load_backbone(NAME, weights=tmp_path / "other.torch", placement=CPU)


TABLE = "layers.2.blocks.3.attn.relative_position_bias_table"
INDEX = "layers.1.blocks.1.attn.relative_position_index"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({TABLE: None}, f"{TABLE} is missing from the weights of {NAME}; expected an Omnivore checkpoint"),
        ({"layers.2.attn_mask": torch.zeros(1)}, f"unexpected key 'layers.2.attn_mask' for {NAME}"),
        (
            {TABLE: torch.zeros(5239, 12)},
            rf"{TABLE} has shape \(5239, 12\), expected \(2535, 12\); .*, of {NAME}",
        ),
        ({TABLE: "lost"}, f"{TABLE} is 'lost', not a tensor"),
        ({INDEX: torch.zeros(392, 392, dtype=torch.int64)}, f"{INDEX} isn't that of Omnivore's windows"),
        ({TABLE: torch.zeros(2535, 12, dtype=torch.int8)}, f"{TABLE} holds int8, expected float32"),
        ({"patch_embed.proj.weight": None}, "has no weights 'patch_embed.proj.weight'; expected an Omnivore"),
    ],
)
def test_bad_trunk(trunk: State, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    changed = {key: value for key, value in {**trunk, **changes}.items() if value is not None}
    torch.save({"trunk": changed}, tmp_path / "bad.torch")
    with pytest.raises(SyncError, match=message):
        load_backbone(NAME, weights=tmp_path / "bad.torch", placement=CPU)


def test_bad_files(tmp_path: Path) -> None:
    torch.save({"trunk": [1, 2]}, tmp_path / "list.torch")
    with pytest.raises(SyncError, match=r"list\.torch: 'trunk' holds list; expected an Omnivore checkpoint"):
        load_backbone(NAME, weights=tmp_path / "list.torch", placement=CPU)
    with pytest.raises(SyncError, match="there is no such file of weights"):
        load_backbone(NAME, weights=tmp_path / "absent.torch", placement=CPU)
