"""Preprocessing against PIL, which the published scripts use."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from sync_extract.transforms import OFFICIAL, PUBLISHED, Preprocessing, resize_bytes, resize_floats

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def picture(height: int, width: int) -> "np.ndarray":  # type: ignore[type-arg]
    """Gradients, an edge and noise."""
    y, x = np.mgrid[:height, :width]
    red = 255 * x / width
    green = 255 * ((x + y) % 64 < 32)
    blue = np.random.default_rng(height * width).integers(0, 256, (height, width))
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def with_pil(frame: "np.ndarray", preset: Preprocessing) -> "np.ndarray":  # type: ignore[type-arg]
    """torchvision's Resize, CenterCrop, ToTensor, Normalize, written with PIL."""
    image = Image.fromarray(frame)
    short = min(image.size)
    assert isinstance(preset.resize, int) and preset.crop is not None
    size = tuple(preset.resize if side == short else int(preset.resize * side / short) for side in image.size)
    image = image.resize(size, FILTERS[preset.interpolation])  # type: ignore[arg-type]
    crop_height, crop_width = preset.crop
    left, top = round((image.width - crop_width) / 2), round((image.height - crop_height) / 2)
    image = image.crop((left, top, left + crop_width, top + crop_height))
    values = np.asarray(image).astype(np.float64) / 255
    return ((values - preset.mean) / preset.std).transpose(2, 0, 1)


@pytest.mark.parametrize("preset", [OFFICIAL, PUBLISHED], ids=lambda preset: preset.name)
@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (477, 636), (640, 480), (200, 300)])
def test_presets_equal_pil_to_one_grey_level(preset: Preprocessing, size: tuple[int, int]) -> None:
    frame = picture(*size)
    ours = preset(torch.from_numpy(frame)[None])[0].double().numpy()
    theirs = with_pil(frame, preset)
    assert ours.shape == theirs.shape == (3, 224, 224)
    levels = np.abs(ours - theirs) * np.array(preset.std)[:, None, None] * 255
    assert levels.max() <= 1.01
    assert levels.mean() < 0.1


@pytest.mark.parametrize("resize", [resize_bytes, resize_floats])
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(84, 112), (256, 341), (120, 90), (119, 171)])
def test_both_ways_to_resize_equal_pil_to_one_grey_level(
    resize: Callable[[torch.Tensor, tuple[int, int], str], torch.Tensor],
    interpolation: str,
    size: tuple[int, int],
) -> None:
    """A GPU takes the one, a processor the other."""
    frame = picture(119, 171)
    expected = np.asarray(Image.fromarray(frame).resize(size[::-1], FILTERS[interpolation]))
    resized = resize(torch.from_numpy(frame).permute(2, 0, 1)[None], size, interpolation)
    difference = np.abs(resized[0].permute(1, 2, 0).double().numpy() - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.02


def test_batch_equals_single() -> None:
    frames = torch.from_numpy(np.stack([picture(120, 160), picture(120, 160)[::-1].copy()]))
    batch = OFFICIAL(frames)
    assert all(torch.equal(batch[i], OFFICIAL(frames[i : i + 1])[0]) for i in range(2))


def test_scaled_exactly_once() -> None:
    plain = Preprocessing(name="t", resize=(4, 4), interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    white = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    assert torch.equal(plain(white), torch.ones(1, 3, 4, 4))
    with pytest.raises(TypeError, match=r"must be uint8.*float32"):
        plain(white.float())
