"""From files to the store: rendering, decoding alone, the whole pipeline, the paper's way, memory over length."""

import importlib.util
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.extraction import pictures, run_pipeline
from benchmarks.measure import time_in_turn
from benchmarks.on_gpu.report import Report
from benchmarks.on_gpu.setup import Setup, load
from sync_demo.encode import COLOR, write_video
from sync_extract.backbones import Backbone, Placement
from sync_extract.decode import decode_frames, probe

FPS = Fraction(30)
CORES = os.cpu_count() or 1

HAS_LMDB = importlib.util.find_spec("lmdb") is not None

LEAST_SHARE = 0.9
"""Of the slower of decoding and the network, that the whole should reach."""

OVER_PROTOCOL = 20.0
"""How many times as fast as the paper's way the whole should be."""

SMALL = (240, 320)
"""Height and width of videos for memory: what the network gets is as large as ever."""


def render(setup: Setup, report: Report) -> dict[str, Any]:
    """Make the videos, a process a file."""
    height, width = setup.video_size
    files = [setup.folder / "files" / f"{number}.mp4" for number in range(setup.num_files)]
    files[0].parent.mkdir()
    tasks = [(file, setup.video_size, setup.video_frames, seed) for seed, file in enumerate(files)]
    lengths = {"few": setup.few_frames, "many": setup.many_frames}
    tasks += [(setup.folder / f"{name}.mp4", SMALL, count, 0) for name, count in lengths.items()]
    context = multiprocessing.get_context("spawn")  # CUDA doesn't survive a fork
    with ProcessPoolExecutor(min(CORES, len(tasks)), mp_context=context) as pool:
        list(pool.map(_render, tasks))
    for number, place in enumerate(_places(setup)):
        place.parent.mkdir(exist_ok=True)
        os.link(files[number % len(files)], place)
    seconds = setup.video_frames / FPS
    megabits = sum(file.stat().st_size for file in files) * 8 / 1e6 / len(files) / float(seconds)
    return {"height": height, "width": width, "codec": COLOR.codec, "megabits_per_second": round(megabits, 1)}


def _render(task: tuple[Path, tuple[int, int], int, int]) -> None:
    path, size, num_frames, seed = task
    write_video(path, pictures(size, num_frames, seed), COLOR, FPS, Fraction(0), size)


def _places(setup: Setup) -> list[Path]:
    return [setup.folder / "videos" / f"r{number}.mp4" for number in range(setup.num_videos)]


def decoding(setup: Setup, report: Report) -> dict[str, Any]:
    """Decode all videos on all cores, a video a core, with one thread each and with FFmpeg's choice of threads."""
    videos = [probe(place) for place in _places(setup)]

    def decode(number: int, num_threads: int) -> int:
        video = videos[number]
        index = np.arange(video.num_frames)
        return sum(map(len, decode_frames(video, index, batch_frames=16, num_threads=num_threads)))

    def all_of_them(num_threads: int) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            counts = list(pool.map(lambda number: decode(number, num_threads), range(len(videos))))
        assert counts == [setup.video_frames] * len(videos), counts

    measured = time_in_turn(
        {"one thread a video": lambda: all_of_them(1), "threads by FFmpeg": lambda: all_of_them(0)},
        num_rounds=1,
        num_warm_up=0,
    )
    num_frames = setup.num_videos * setup.video_frames
    rates = {
        name: report.add_timing(f"decoding, {name}", timing, num_frames, "frames")
        for name, timing in measured.items()
    }
    report.rates["decoding"] = max(rates.values())
    return {"cores": CORES, "reader": videos[0].reader}


def whole(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """The pipeline of `sync-extract` from files to a committed store, against the slower of its two halves."""
    backbone = load(setup, name)
    batch = setup.batches[-1]
    timing = time_in_turn(
        {name: lambda: run_pipeline(backbone, setup.folder, _places(setup), batch_size=batch, workers=CORES)},
        num_rounds=2,
        num_warm_up=1,
    )[name]
    num_frames = setup.num_videos * setup.video_frames
    report.rates[f"pipeline {name}"] = report.add_timing(f"pipeline {name}", timing, num_frames, "frames")
    slower = min(report.rate(name), report.rate("decoding"))
    shares = [num_frames / seconds / slower for seconds in timing.seconds]
    report.add_ratio(f"pipeline_over_slower_half_{name}", shares, LEAST_SHARE)
    return {
        "batch": batch,
        "workers": CORES,
        "slower_half": "forward" if slower == report.rate(name) else "decoding",
    }


def protocol(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """The paper's script: float32, a frame at a time, resized by PIL, a key of LMDB a frame, all in one transaction.

    Loading the weights and a first frame aren't counted.
    """
    placement = Placement(device=setup.device, dtype=torch.float32)
    backbone = load(setup, name, placement=placement, preset="published")
    video = _places(setup)[0]
    count = setup.protocol_frames
    _keep_rows(setup, one_at_a_time(setup, backbone, video, 1))
    timing = time_in_turn(
        {"rows": lambda: _keep_rows(setup, one_at_a_time(setup, backbone, video, count))},
        num_rounds=1,
        num_warm_up=0,
    )["rows"]
    rate = report.add_timing(f"one frame at a time {name}", timing, count, "frames")
    report.add_ratio("pipeline_over_protocol", [report.rate(f"pipeline {name}") / rate], OVER_PROTOCOL)
    return {"frames": count, "kept_in": "LMDB" if HAS_LMDB else "memory, since lmdb isn't installed"}


def one_at_a_time(
    setup: Setup, backbone: Backbone, video: Path, count: int
) -> Iterator[tuple[bytes, npt.NDArray[np.float32]]]:
    """The first `count` frames' keys and rows float32 (D,), each frame decoded, resized and run alone."""
    with av.open(str(video)) as container, torch.inference_mode():
        for number, frame in zip(range(count), container.decode(video=0), strict=False):
            image = _by_pil(backbone, Image.fromarray(frame.to_ndarray(format="rgb24")))
            row = backbone.module(image.unsqueeze(0).to(setup.device)).last_hidden_state[0, 0]
            yield f"{video.stem}_{number + 1:010d}.jpg".encode(), row.cpu().numpy()


def _keep_rows(setup: Setup, rows: Iterable[tuple[bytes, npt.NDArray[np.float32]]]) -> None:
    if not HAS_LMDB:
        _ = dict(rows)
        return
    import lmdb

    with (
        lmdb.open(tempfile.mkdtemp(dir=setup.folder), map_size=1 << 30) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, row in rows:
            transaction.put(key, row.tobytes())


def _by_pil(backbone: Backbone, picture: Image.Image) -> torch.Tensor:
    """Network input (3, h, w)."""
    rules = backbone.preprocessing
    height, width = rules.size_after_resize(picture.height, picture.width)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if rules.crop is not None:
        top, left = (height - rules.crop[0]) // 2, (width - rules.crop[1]) // 2
        picture = picture.crop((left, top, left + rules.crop[1], top + rules.crop[0]))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (rules.mean, rules.std))
    return (torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 - mean) / std


def memory(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """Peak memory of the device for a short video and one ten times as long; on a processor, of the process."""
    backbone = load(setup, name)
    peaks = {}
    for length in ("few", "many"):
        if setup.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(setup.device)
        video = setup.folder / f"{length}.mp4"
        run_pipeline(backbone, setup.folder, [video], batch_size=setup.batches[-1], workers=CORES)
        peaks[length] = (
            torch.cuda.max_memory_allocated(setup.device)
            if setup.device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
    report.add_ratio("memory_of_short_over_long_video", [peaks["few"] / peaks["many"]], 0.99)
    host_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "peak_bytes": peaks,
        "frames": {"few": setup.few_frames, "many": setup.many_frames},
        "host_peak_bytes": host_bytes,
    }
