"""Decode, preprocess and run the demo backbone: our pipeline against one frame at a time.

The plain loop does what the paper's script does: decode a frame, resize it with PIL, run the network on it alone,
keep the feature. It writes nothing; ours includes probing, digests and the committed store, and is timed in bfloat16,
too. Axes: T frames, H and W video size, D feature width.
"""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.measure import Timing, arguments, ratio, time_in_turn, write_result
from sync_demo.encode import COLOR, write_video
from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.dinov2 import RANDOM_DEMO, RANDOM_DEMO_PREPROCESSING
from sync_extract.pipeline import Settings, extract, make_feature_set
from sync_extract.plan import Failure, Job
from sync_store.datasets import VideoSource
from sync_store.layout import FeatureSet
from sync_store.memory import keep_freed_memory
from sync_store.reader import FeatureStore

FPS = Fraction(30)

SIZES = {"96x128": (96, 128), "480x640": (480, 640)}
"""Height and width: the demo's own, and that of Assembly101's headset cameras (paper, section 4)."""

BATCH_SIZE = 64
WORKERS = 2
"""Defaults of `sync-extract`."""


class Nobody:
    """A `Watcher` that doesn't look."""

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """See `Watcher.started`."""

    def advanced(self, job: Job, num_rows: int) -> None:
        """See `Watcher.advanced`."""

    def finished(self, job: Job, failure: Failure | None) -> None:
        """See `Watcher.finished`."""
        if failure is not None:
            raise RuntimeError(failure.message)


def main() -> None:
    options = arguments("extraction", __doc__)
    keep_freed_memory()
    num_videos, num_frames, num_rounds = (1, 12, 1) if options.smoke else (4, 300, 5)
    exact, brief = (
        load_backbone(RANDOM_DEMO, placement=Placement(device=torch.device("cpu"), dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    )
    timings: dict[str, dict[str, Any]] = {}
    ratios = {}
    for name, size in SIZES.items():
        measured = measure(exact, brief, size, num_videos, num_frames, num_rounds)
        for who, timing in measured.items():
            timings[f"{who} {name}"] = timing.summary(num_videos * num_frames, "frames")
        ratios[f"pipeline_over_loop_{name}"] = ratio(measured["pipeline"], measured["loop"])
        ratios[f"bfloat16_over_float32_{name}"] = ratio(measured["pipeline bfloat16"], measured["pipeline"])
    write_result(
        options.out,
        settings={
            "backbone": RANDOM_DEMO,
            "videos": num_videos,
            "frames": num_frames,
            "codec": COLOR.codec,
            "batch_size": BATCH_SIZE,
            "workers": WORKERS,
            "rounds": num_rounds,
        },
        timings=timings,
        ratios=ratios,
        targets={name: 3.0 for name in ratios if name.startswith("pipeline")},
    )


def measure(
    backbone: Backbone,
    brief: Backbone,
    size: tuple[int, int],
    num_videos: int,
    num_frames: int,
    num_rounds: int,
) -> dict[str, Timing]:
    """Time both ways on the same videos of one size, after checking that they give the same features.

    Args:
        backbone: In float32.
        brief: The same in bfloat16, for the pipeline alone.
        size: Height and width.
        num_videos: Of this size.
        num_frames: A video.
        num_rounds: Timed rounds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        videos = [folder / f"r{index}.mp4" for index in range(num_videos)]
        for seed, video in enumerate(videos):
            write_video(video, pictures(size, num_frames, seed), COLOR, FPS, Fraction(0), size)
        check_equal(backbone, folder, videos)
        return time_in_turn(
            {
                "pipeline": lambda: run_pipeline(backbone, folder, videos),
                "pipeline bfloat16": lambda: run_pipeline(brief, folder, videos),
                "loop": lambda: [one_at_a_time(backbone, video) for video in videos],
            },
            num_rounds=num_rounds,
        )


def pictures(size: tuple[int, int], num_frames: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """A camera that glides over a coarse random scene with fine grain: uint8 (H, W, 3) each."""
    generator = np.random.default_rng(seed)
    height, width = size
    patch = height // 12
    cells = generator.integers(30, 226, (14, (width + num_frames) // patch + 2, 3), dtype=np.uint8)
    scene = cells.repeat(patch, axis=0).repeat(patch, axis=1)
    grain = generator.integers(0, 12, (height, width, 3), dtype=np.uint8)
    for frame in range(num_frames):
        yield scene[:height, frame : frame + width] + grain


def run_pipeline(
    backbone: Backbone,
    folder: Path,
    videos: list[Path],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = WORKERS,
) -> tuple[FeatureStore, FeatureSet]:
    """Extract the videos into a new store with the pipeline of `sync-extract`."""
    store = Path(tempfile.mkdtemp(dir=folder)) / "features.zarr"
    feature_set = make_feature_set(backbone.name, backbone, FPS)
    jobs = [
        Job(
            source=VideoSource(
                recording=video.stem, view="e4", path=video, offset=Fraction(0), clock="container"
            ),
            state="new",
        )
        for video in videos
    ]
    settings = Settings(store=store, fps=FPS, batch_size=batch_size, workers=workers, min_coverage=1.0)
    extract(jobs, backbone, feature_set, settings, Nobody())
    return FeatureStore(store), feature_set


@torch.inference_mode()
def one_at_a_time(backbone: Backbone, video: Path) -> npt.NDArray[np.float32]:
    """Features float32 (T, D), a frame decoded, preprocessed and run alone."""
    resize = RANDOM_DEMO_PREPROCESSING.resize
    assert isinstance(resize, tuple)
    mean = torch.tensor(RANDOM_DEMO_PREPROCESSING.mean).view(3, 1, 1)
    std = torch.tensor(RANDOM_DEMO_PREPROCESSING.std).view(3, 1, 1)
    rows = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
            picture = picture.resize(resize[::-1], Image.Resampling.BILINEAR)
            image = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
            tokens = backbone.module(((image - mean) / std).unsqueeze(0)).last_hidden_state
            rows.append(tokens[0, 0].numpy())
    return np.stack(rows)


def check_equal(backbone: Backbone, folder: Path, videos: list[Path]) -> None:
    """Fail unless both ways give the same features, float16, rounding to bytes and the order of sums aside."""
    store, feature_set = run_pipeline(backbone, folder, videos)
    for video in videos:
        ours = store.read(feature_set.name, "e4", video.stem).features.astype(np.float32)
        theirs = one_at_a_time(backbone, video)
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        if (least := ((ours * theirs).sum(axis=1) / norms).min()) < 0.9999:
            raise RuntimeError(f"{video.name}: the features don't agree, least cosine {least:.6f}")


if __name__ == "__main__":
    main()
