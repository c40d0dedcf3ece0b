"""Networks alone: the matrix rate of the device, forward passes as a share of it, preprocessing, bfloat16.

Axes: N rows, K frames of a clip, H and W decoded size, h and w network size, D feature width.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Timing, time_in_turn
from benchmarks.on_gpu.captured import EAGER_CALLS, Captured
from benchmarks.on_gpu.report import Report
from benchmarks.on_gpu.setup import Setup, load
from sync_extract.backbones import Backbone, Placement

LEAST_SHARE = 0.6
"""Of the matrix rate that a forward pass should reach."""

LEAST_COSINE = 0.999
"""Between a row in bfloat16 and in float32."""


def matrix_rate(setup: Setup, report: Report) -> dict[str, Any]:
    """Operations a second of one large product of matrices, which no network exceeds."""
    side = setup.matrix_side
    left, right = (torch.randn(side, side, device=setup.device, dtype=setup.dtype) for _ in range(2))
    out = torch.empty_like(left)
    timing = _timed(setup, {"matrix": lambda: torch.mm(left, right, out=out)})["matrix"]
    operations = setup.repeats * 2 * side**3
    report.add_timing("matrix product", timing, operations / 1e12, "teraflop")
    report.rates["matrix"] = operations / min(timing.seconds)  # the best: a bound on the others
    return {"teraflop_per_second": round(report.rates["matrix"] / 1e12, 1), "side": side}


def forward(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """A backbone's forward pass, eager and as a CUDA graph, at several sizes of batch."""
    backbone = load(setup, name)
    graph = replace(backbone, encode=Captured(backbone.encode))
    operations = operations_a_row(backbone)
    remarks: dict[str, Any] = {"gigaflop_per_row": round(operations / 1e9, 1)}
    for frames in setup.batches:
        clips = random_clips(backbone, max(1, frames // backbone.clips.num_frames))
        for _ in range(EAGER_CALLS):
            graph.features(clips)
        remarks[f"graph equals eager at {frames}"] = torch.equal(
            graph.features(clips), backbone.features(clips)
        )
        measured = _timed(
            setup, {"eager": _call(backbone.features, clips), "graph": _call(graph.features, clips)}
        )
        rows = len(clips) * setup.repeats
        rates = {
            way: report.add_timing(f"{name} {way} {frames}", timing, rows * backbone.clips.stride, "frames")
            for way, timing in measured.items()
        }
        if rates["eager"] > report.rates.get(name, 0):
            report.rates[name] = rates["eager"]
            remarks["best_batch"] = frames
            shares = [
                rows * operations / seconds / report.rate("matrix") for seconds in measured["eager"].seconds
            ]
            report.add_ratio(f"forward_over_matrix_rate_{name}", shares, LEAST_SHARE)
            report.add_ratio(f"graph_over_eager_{name}", _over(measured["graph"], measured["eager"]))
    return remarks


def compiled(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """The forward pass through torch.compile, in turn with the eager one, at the middle size of batch."""
    backbone = load(setup, name)
    frames = setup.batches[len(setup.batches) // 2]
    clips = random_clips(backbone, max(1, frames // backbone.clips.num_frames))
    fused = replace(backbone, encode=torch.compile(backbone.encode, dynamic=False))
    eager, other = backbone.features(clips).float(), fused.features(clips).float()
    measured = _timed(
        setup,
        {"eager": _call(backbone.features, clips), "compiled": _call(fused.features, clips)},
    )
    rows = len(clips) * setup.repeats
    report.add_timing(
        f"{name} compiled {frames}", measured["compiled"], rows * backbone.clips.stride, "frames"
    )
    report.add_ratio(f"compiled_over_eager_{name}", _over(measured["compiled"], measured["eager"]))
    rate = rows * operations_a_row(backbone) / measured["compiled"].median_seconds
    return {
        "share_of_matrix_rate": round(rate / report.rate("matrix"), 3),
        "least_cosine_with_eager": round(F.cosine_similarity(eager, other).min().item(), 6),
    }


def preprocessing(setup: Setup, report: Report, name: str) -> dict[str, Any]:
    """Resizing, cropping and normalising decoded frames that lie on the device, and copying them there."""
    backbone = load(setup, name)
    shape = (setup.batches[0], *setup.video_size, 3)
    frames_NHWC = torch.randint(0, 256, shape, dtype=torch.uint8, device=setup.device)
    host = frames_NHWC.cpu()
    pinned = host.pin_memory() if setup.device.type == "cuda" else host
    measured = _timed(
        setup,
        {
            "preprocessing": _call(backbone.prepare, frames_NHWC),
            "upload pinned": lambda: pinned.to(setup.device, non_blocking=True),
            "upload pageable": lambda: host.to(setup.device, non_blocking=True),
        },
    )
    rates = {
        way: report.add_timing(f"{way} {name}", timing, len(host) * setup.repeats, "frames")
        for way, timing in measured.items()
    }
    report.rates["preprocessing"] = rates["preprocessing"]
    share = rates["preprocessing"] / report.rate(name)
    report.add_ratio("preprocessing_over_forward", [share])
    return {"forward_and_preprocessing_frames_per_second": round(report.rate(name) / (1 + 1 / share), 1)}


def agreement(setup: Setup, report: Report) -> dict[str, Any]:
    """Least cosine between rows in bfloat16 and in float32, for each backbone."""
    remarks = {}
    for name in (setup.dinov2, setup.tsm, setup.omnivore):
        rows = []
        for dtype in (torch.float32, torch.bfloat16):
            backbone = load(setup, name, placement=Placement(device=setup.device, dtype=dtype))
            generator = torch.Generator().manual_seed(0)
            shape = (2, backbone.clips.num_frames, 96, 128, 3)
            frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            rows.append(backbone(frames.to(setup.device)).float())
        cosines = F.cosine_similarity(rows[0], rows[1]).tolist()
        remarks[name] = round(min(cosines), 6)
        report.add_ratio(f"cosine_of_bfloat16_{name}", [min(cosines)], LEAST_COSINE)
    return remarks


def operations_a_row(backbone: Backbone) -> float:
    """Additions and multiplications of one row, as torch counts them; elementwise ones aren't.

    Attention is spelt out for it: of the fused forms torch counts some, and none on a processor (2.13).
    """
    clips = random_clips(backbone, 1)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.encode(clips)
    return float(counter.get_total_flops())


def random_clips(backbone: Backbone, num_rows: int) -> torch.Tensor:
    """Network input (N, K, 3, h, w) of the backbone's size, device and precision."""
    size = backbone.preprocessing.crop or backbone.preprocessing.resize
    assert isinstance(size, tuple)
    shape = (num_rows, backbone.clips.num_frames, 3, *size)
    return torch.randn(shape, device=backbone.device, dtype=backbone.placement.dtype)


def _call(run: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> Callable[[], object]:
    return lambda: run(inputs)


def _over(fast: Timing, slow: Timing) -> list[float]:
    return [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]


def _timed(setup: Setup, calls: dict[str, Callable[[], object]]) -> dict[str, Timing]:
    """Time calls in turn, several in a row each, until the device is done with them."""

    def repeated(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(setup.repeats):
                call()
            setup.wait()

        return run

    return time_in_turn({name: repeated(call) for name, call in calls.items()}, num_rounds=setup.num_rounds)
