"""What the pipeline relies on, for every kind of backbone: width, dtype, batches, determinism, clips, recipe."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.swin3d import Swin3D
from sync_store.errors import SyncError

CPU = Placement(device=torch.device("cpu"), dtype=torch.float32)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A backbone and what it must be."""

    load: Callable[[Path], Backbone]
    """From a folder in which weights may be made."""
    feature_dim: int
    num_frames: int
    stride: int = 1


def dinov2_folder(folder: Path) -> Backbone:
    torch.manual_seed(3)
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=518, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return load_backbone("dinov2", weights=folder, preset="published", placement=CPU)


def omnivore_file(folder: Path) -> Backbone:
    torch.manual_seed(3)
    path = folder / "swinT_checkpoint.torch"
    torch.save({"trunk": Swin3D(SIZES["omnivore-swin-t"]).state_dict(), "heads": {}}, path)
    return load_backbone("omnivore-swin-t", weights=path, placement=CPU)


CASES = {
    "dinov2 demo": Case(
        load=lambda _: load_backbone("dinov2-random-demo", placement=CPU), feature_dim=128, num_frames=1
    ),
    "dinov2": Case(load=dinov2_folder, feature_dim=64, num_frames=1),
    "tsm without shift": Case(
        load=lambda _: load_backbone("tsm-random-demo", placement=CPU), feature_dim=512, num_frames=1
    ),
    "tsm window8": Case(
        load=lambda _: load_backbone("tsm-random-demo", shift="window8", placement=CPU),
        feature_dim=512,
        num_frames=8,
    ),
    "omnivore": Case(load=omnivore_file, feature_dim=768, num_frames=32, stride=16),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A backbone and what it makes of two clips."""

    case: Case
    backbone: Backbone
    clips: torch.Tensor
    features: torch.Tensor


@pytest.fixture(scope="module", params=list(CASES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    case = CASES[request.param]
    backbone = case.load(tmp_path_factory.mktemp("weights"))
    shape = (2, case.num_frames, 72, 96, 3)
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    return Run(case=case, backbone=backbone, clips=clips, features=backbone(clips))


def test_width_and_dtype(run: Run) -> None:
    assert run.features.shape == (2, run.backbone.feature_dim) == (2, run.case.feature_dim)
    assert run.features.dtype == torch.float16 and torch.isfinite(run.features).all()
    assert not run.backbone.module.training
    assert not any(weights.requires_grad for weights in run.backbone.module.parameters())


def test_neither_the_batch_nor_the_run_matters(run: Run) -> None:
    """The second clip alone, in a second pass: the same up to the order of sums."""
    torch.testing.assert_close(run.backbone(run.clips[1:]), run.features[1:], rtol=2e-3, atol=2e-3)


def test_the_same_clips_give_the_same_bits(run: Run) -> None:
    assert torch.equal(run.backbone(run.clips), run.features)


def test_a_row_sees_every_frame_of_its_clip_and_their_order(run: Run) -> None:
    """And nothing of another clip: the rows of both stay apart."""
    assert not torch.equal(run.features[0], run.features[1])
    if run.case.num_frames == 1:
        return
    backwards = run.backbone(run.clips[:1].flip(1))
    assert not torch.allclose(backwards.float(), run.features[:1].float(), atol=1e-3)


def test_clips_of_another_length_are_refused(run: Run) -> None:
    shape = (1, run.case.num_frames + 1, 72, 96, 3)
    with pytest.raises(ValueError, match=rf"sees clips of {run.case.num_frames} frames, got \(1, "):
        run.backbone(torch.zeros(shape, dtype=torch.uint8))


def test_rows_belong_to_one_moment_each(run: Run) -> None:
    clips = run.backbone.clips
    assert (clips.num_frames, clips.stride) == (run.case.num_frames, run.case.stride)
    rows = clips.rows(100)
    assert (np.diff(rows[:, clips.anchor]) > 0).all()
    middle = rows[len(rows) // 2]
    assert middle[clips.anchor] - middle[0] == clips.num_frames // 2


def test_the_recipe_is_plain_json_and_says_all(run: Run) -> None:
    recipe = run.backbone.recipe
    assert json.loads(json.dumps(recipe)) == recipe
    assert {"backbone", "weights_sha256", "preprocessing", "resized_as", "clips", "precision"} <= set(recipe)
    assert recipe["clips"]["num_frames"] == run.case.num_frames


def test_no_other_kind_is_imported() -> None:
    """transformers takes seconds, and TSM needs none of it."""
    code = (
        "import sys; from sync_extract.backbones import load_backbone; load_backbone('tsm-random-demo'); "
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tmp", {}, "unknown backbone 'tmp', did you mean 'tsm'"),
        ("dinov2-random-demo", {"shift": "window8"}, "shift is an option of the backbone tsm"),
        ("tsm-random-demo", {"tokens": ("cls", "max")}, "tokens are an option of DINOv2"),
        ("omnivore-swin-l", {"position_embedding": "hub"}, "position_embedding is an option of DINOv2"),
    ],
)
def test_options_of_other_kinds_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SyncError, match=message):
        load_backbone(name, placement=CPU, **options)
