"""One epoch of the adapter (eq. 1) and of TAS distillation (eq. 2): our trainer against padding to 1,200 chunks.

Recordings have Assembly101's lengths and width, but are few for the adapter, since the paper's of twelve layers takes a
processor some 450 MFLOP a chunk. The padded trainer is ours in float32 with every sequence padded as the published one
pads, so the ratio is what length groups and bfloat16 save; reading is left out. Axes: P rows of a pair.
"""

import copy
from dataclasses import replace

import torch

from benchmarks.measure import Timing, arguments, ratio, time_in_turn, write_result
from benchmarks.teacher.assembly101 import NUM_CLASSES, SEED, WINDOWING, lengths, make_model, make_recordings
from sync_store.memory import keep_freed_memory
from sync_train.batches import Windowing
from sync_train.fit_config import AdapterFitConfig, StudentConfig
from sync_train.loop import Task, train_epoch
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.pair_batches import PairBatches
from sync_train.pairs import Pair
from sync_train.tasks.distillation import FeatureDistillationTask, TASDistillationTask

NUM_PAIRS = {"adapter": 4, "TAS distillation": 48}
BATCH_SIZE = {"adapter": 2, "TAS distillation": 20}
"""The trainer's is 20. Few recordings leave groups of equal length small; padded ones are batched as many at a time."""


def main() -> None:
    options = arguments("distillation_epoch", __doc__)
    keep_freed_memory()
    feature_dim, shrink, num_rounds = (16, 20, 1) if options.smoke else (1024, 1, 2)
    num_pairs = {"adapter": 2, "TAS distillation": 2} if options.smoke else NUM_PAIRS
    windowing = replace(WINDOWING, max_chunks=64) if options.smoke else WINDOWING
    padded = replace(windowing, pad_to=max(windowing.max_chunks, 384))
    timings: dict[str, Timing] = {}
    num_rows = {}
    for name, make in {"TAS distillation": tas_task, "adapter": adapter_task}.items():
        pairs = make_pairs([length // shrink for length in lengths(num_pairs[name])], feature_dim)
        num_rows[name] = sum(len(pair.student_PD) for pair in pairs)
        candidates = {
            name: Epochs(make(pairs, feature_dim, windowing, torch.float32)),
            f"{name} bfloat16": Epochs(make(pairs, feature_dim, windowing, torch.bfloat16)),
            f"{name} padded": Epochs(make(pairs, feature_dim, padded, torch.float32)),
        }
        timings |= time_in_turn(
            {who: epochs.epoch for who, epochs in candidates.items()}, num_rounds=num_rounds
        )
        del pairs, candidates  # the padded adapter alone needs 10 GB
    write_result(
        options.out,
        settings={
            "pairs": num_pairs,
            "rows": num_rows,
            "feature_dim": feature_dim,
            "classes": NUM_CLASSES,
            "chunk_rows": windowing.chunk_rows,
            "max_chunks": windowing.max_chunks,
            "batch_size": dict(BATCH_SIZE),
            "rounds": num_rounds,
        },
        timings={
            name: timing.summary(num_rows[name.removesuffix(" bfloat16").removesuffix(" padded")], "rows")
            for name, timing in timings.items()
        },
        ratios={
            f"{name.replace(' ', '_')}_over_padded": ratio(
                timings[name], timings[f"{name.removesuffix(' bfloat16')} padded"]
            )
            for name in timings
            if not name.endswith("padded")
        },
        targets={"adapter_bfloat16_over_padded": 3.5, "TAS_distillation_bfloat16_over_padded": 3.5},
    )


class Epochs:
    """One epoch after the other of a task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._epoch = 0

    def epoch(self) -> None:
        """Train for the next epoch."""
        train_epoch(self._task, self._epoch)
        self._epoch += 1


def make_pairs(num_rows: list[int], feature_dim: int) -> list[Pair]:
    """Two views of the same moments: the student's rows are the teacher's and noise."""
    torch.manual_seed(SEED)
    return [
        Pair(
            name=labeled.recording.name,
            teacher_PD=labeled.recording.rows_TD,
            student_PD=labeled.recording.rows_TD + torch.randn_like(labeled.recording.rows_TD),
            coverage=1.0,
            max_distance_ns=0,
            seconds=len(labeled.classes_T) / 30,
        )
        for labeled in make_recordings(num_rows, feature_dim)
    ]


def adapter_task(pairs: list[Pair], feature_dim: int, windowing: Windowing, precision: torch.dtype) -> Task:
    """Eq. 1 with the paper's adapter."""
    model = make_model(feature_dim, SEED, precision)
    num_heads = 16 if feature_dim >= 16 else 1
    model.adapter = Adapter(AdapterConfig(feature_dim=feature_dim, num_heads=num_heads))
    return FeatureDistillationTask(model, batches(pairs, windowing, "adapter"), None, AdapterFitConfig())


def tas_task(pairs: list[Pair], feature_dim: int, windowing: Windowing, precision: torch.dtype) -> Task:
    """Eq. 2 with a student without adapter."""
    teacher = make_model(feature_dim, SEED, precision)
    return TASDistillationTask(
        copy.deepcopy(teacher), teacher, batches(pairs, windowing, "TAS distillation"), None, StudentConfig()
    )


def batches(pairs: list[Pair], windowing: Windowing, task: str) -> PairBatches:
    """Zoomed windows of the pairs."""
    return PairBatches(
        pairs, windowing, batch_size=BATCH_SIZE[task], zoom=True, seed=SEED, device=torch.device("cpu")
    )


if __name__ == "__main__":
    main()
