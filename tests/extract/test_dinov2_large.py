"""DINOv2 ViT-L/14 at its full size, with seeded random weights: sizes, loading and features."""

from pathlib import Path

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones import Placement, load_backbone

NUM_PARAMETERS = 304_368_640
"""facebookresearch/dinov2: ViT-L/14 at image size 518, without registers."""


def test_full_size(tmp_path: Path) -> None:
    config = Dinov2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    torch.manual_seed(0)
    Dinov2Model(config).save_pretrained(tmp_path)
    placement = Placement(device=torch.device("cpu"), dtype=torch.float32)
    backbone = load_backbone("dinov2-large", weights=tmp_path, placement=placement)
    assert sum(weights.numel() for weights in backbone.module.parameters()) == NUM_PARAMETERS
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 240, 320, 3), dtype=np.uint8))
    features = backbone(frame)
    assert features.shape == (1, 1024) and features.dtype == torch.float16
    with torch.inference_mode():
        images = backbone.preprocessing(frame)  # type: ignore[attr-defined]
        assert images.shape == (1, 3, 224, 224)
        expected = backbone.module(images).pooler_output
    torch.testing.assert_close(features.float(), expected, rtol=1e-3, atol=1e-3)
