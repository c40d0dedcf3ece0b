"""Training on the device: all epochs of the teacher at Assembly101's shape, rows in its memory."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Timing, time_in_turn
from benchmarks.on_gpu.report import Report
from benchmarks.on_gpu.setup import Setup
from benchmarks.teacher.assembly101 import NUM_CLASSES, SEED, WINDOWING, lengths, make_recordings
from sync_train.fit_config import TeacherConfig
from sync_train.loop import fit
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.sequences import Labeled
from sync_train.tasks.segmentation import SegmentationTask

MOST_SECONDS = 30.0
"""That the whole fit should take."""


def teacher(setup: Setup, report: Report) -> dict[str, Any]:
    """Fit a teacher in bfloat16 for all its epochs, the last of which is kept."""
    feature_dim = 1024 // setup.shrink
    torch.manual_seed(SEED)
    recordings = [
        _on(setup.device, labeled)
        for labeled in make_recordings([n // setup.shrink for n in lengths(setup.recordings)], feature_dim)
    ]
    model = Segmenter(Standardizer(feature_dim), C2FTCN(feature_dim=feature_dim, num_classes=NUM_CLASSES))
    model.precision = torch.bfloat16
    config = TeacherConfig(max_epochs=setup.epochs, selection="last")
    windowing = WINDOWING if setup.shrink == 1 else replace(WINDOWING, max_chunks=64)
    task = SegmentationTask(model.to(setup.device), recordings, config, windowing, seed=SEED, score=None)
    losses: list[float] = []

    def whole_fit() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit(
                task,
                config,
                Path(folder),
                seed=SEED,
                on_epoch=lambda _epoch, values: losses.append(values["loss"]),
            )
        setup.wait()

    timing: Timing = time_in_turn({"fit": whole_fit}, num_rounds=1, num_warm_up=0)["fit"]
    num_rows = sum(len(labeled.classes_T) for labeled in recordings)
    report.add_timing("teacher bfloat16", timing, num_rows * setup.epochs, "rows")
    report.add_ratio("30_seconds_over_teacher", [MOST_SECONDS / timing.median_seconds], 1.0)
    return {"epochs": setup.epochs, "rows": num_rows, "first_loss": losses[0], "last_loss": losses[-1]}


def _on(device: torch.device, labeled: Labeled) -> Labeled:
    recording = replace(labeled.recording, rows_TD=labeled.recording.rows_TD.to(device))
    return replace(labeled, recording=recording)
