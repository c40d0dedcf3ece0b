"""Peak memory of `sync-extract` with the largest backbones, from the command line, at its default settings.

Weights are random, the networks of full size: DINOv2 ViT-L/14 and Omnivore's Swin3D-L. Two full-HD videos are decoded
ahead at a time, as short as lets decord hold them whole, which is what takes most memory. Measured is the largest
resident set of the command's process, file pages of the weights included. The target is 8 GB.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from transformers import Dinov2Config, Dinov2Model

from benchmarks.extraction import pictures
from benchmarks.measure import Timing, arguments, write_result
from sync_demo.encode import COLOR, write_video
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.swin3d import Swin3D

TARGET_BYTES = 8e9
FPS = Fraction(30)


def main() -> None:
    options = arguments("memory", __doc__)
    size, num_frames = ((96, 128), 33) if options.smoke else ((1080, 1920), 80)
    timings: dict[str, Any] = {}
    ratios = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, make_weights in backbones(small=options.smoke).items():
            project = make_project(folder / name, size, num_frames)
            peak_bytes, seconds = extract(project, name, make_weights(folder / f"{name} weights"))
            once = Timing(seconds=(seconds,)).summary(2 * num_frames, "frames")
            timings[name] = {**once, "peak_bytes": peak_bytes}
            room = round(TARGET_BYTES / peak_bytes, 3)
            ratios[f"8_gb_over_peak_of_{name}"] = {"of_medians": room, "least": room, "most": room}
    write_result(
        options.out,
        settings={"videos": 2, "frames": num_frames, "size": size, "device": "cpu", "weights": "random"},
        timings=timings,
        ratios=ratios,
        targets=dict.fromkeys(ratios, 1.0),
    )


def backbones(*, small: bool) -> Mapping[str, Callable[[Path], Path]]:
    """What to measure, and how its weights are made in a place and where they then are."""
    if small:
        return {"tsm-random-demo": lambda place: place}
    return {"dinov2-large": make_dinov2_large, "omnivore-swin-l": make_omnivore_l}


def make_dinov2_large(place: Path) -> Path:
    """A folder in transformers' form."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    Dinov2Model(config).save_pretrained(place)
    return place


def make_omnivore_l(place: Path) -> Path:
    """A file in the published form."""
    torch.manual_seed(0)
    torch.save({"trunk": Swin3D(SIZES["omnivore-swin-l"]).state_dict(), "heads": {}}, place)
    return place


def make_project(folder: Path, size: tuple[int, int], num_frames: int) -> Path:
    """Two recordings of one view."""
    for seed in range(2):
        video = folder / "videos" / f"r{seed}" / "e4.mp4"
        video.parent.mkdir(parents=True)
        write_video(video, pictures(size, num_frames, seed), COLOR, FPS, Fraction(0), size)
    (folder / "sync.toml").write_text('[views.e4]\nkind = "ego"\n')
    return folder


def extract(project: Path, backbone: str, weights: Path) -> tuple[int, float]:
    """Run the command; its largest resident set in bytes, and its time in seconds."""
    command = [sys.executable, "-c", "from sync_extract.cli import main; main()", "--project", str(project)]
    command += ["--backbone", backbone, "--device", "cpu", "--quiet"]
    if weights.exists():
        command += ["--weights", str(weights)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss * 1024, time.perf_counter() - start


if __name__ == "__main__":
    main()
