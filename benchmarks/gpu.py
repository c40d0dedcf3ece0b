"""Extraction and training on a GPU, against what its matrix units, its processor's decoders and the paper's way do.

DINOv2-L is 162 GFLOP a frame at 224 pixels, so 790 TFLOP/s are 4,900 frames/s at most. Sections run one after the
other within one run; each has a time limit and may fail, and the result is written after each. Weights are random,
networks of full size, videos rendered.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import RESULTS
from benchmarks.on_gpu import networks, training, videos
from benchmarks.on_gpu.report import Report
from benchmarks.on_gpu.setup import Setup
from sync_extract.backbones import Placement
from sync_store.memory import keep_freed_memory


def main() -> None:
    options = _options()
    if options.device == "auto" and not torch.cuda.is_available() and not options.smoke:
        print("there is no GPU here: nothing is measured, and the result file stays as it is")
        return
    keep_freed_memory()
    device = Placement.choose(options.device).device
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(device=device, folder=Path(folder))
        run(setup.smoke() if options.smoke else setup, options.out, seconds=options.seconds)


def run(setup: Setup, out: Path, *, seconds: float) -> None:
    """All sections, those that others compare with first."""
    is_gpu = setup.device.type == "cuda"
    settings = {
        "device": torch.cuda.get_device_name(setup.device) if is_gpu else "cpu",
        "precision": str(setup.dtype).removeprefix("torch."),
        "seconds": seconds,
        "videos": setup.num_videos,
        "frames": setup.video_frames,
    }
    report = Report(out=out, settings=settings, deadline=time.monotonic() + seconds)
    dinov2 = setup.dinov2
    here = partial(partial, setup=setup, report=report)
    report.section("matrix", here(networks.matrix_rate), most_seconds=30)
    report.section("forward", here(networks.forward, name=dinov2), most_seconds=60)
    report.section("preprocessing", here(networks.preprocessing, name=dinov2), most_seconds=30)
    report.section("render", here(videos.render), most_seconds=60)
    report.section("decoding", here(videos.decoding), most_seconds=60)
    report.section("pipeline", here(videos.whole, name=dinov2), most_seconds=60)
    report.section("protocol", here(videos.protocol, name=dinov2), most_seconds=40)
    report.section("agreement", here(networks.agreement), most_seconds=40)
    report.section("memory", here(videos.memory, name=dinov2), most_seconds=30)
    for name in setup.clip_backbones:
        report.section(f"forward {name}", here(networks.forward, name=name), most_seconds=40)
        report.section(f"pipeline {name}", here(videos.whole, name=name), most_seconds=40)
    report.section("teacher", here(training.teacher), most_seconds=90)
    report.section("compiled", here(networks.compiled, name=dinov2), most_seconds=90)
    report.write()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="Result file.")
    parser.add_argument("--smoke", action="store_true", help="Tiny sizes: runs, and measures nothing.")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:0, … or cpu.")
    parser.add_argument("--seconds", type=float, default=420, help="For all sections together.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
