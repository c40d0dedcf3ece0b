"""Fits each kind of task alone and then together with the other processes that torchrun has started; compares weights.

Networks are float64, so that what the order of sums changes stays below Adam's epsilon: in float32 Adam makes steps
of full length of gradients that are nothing but rounding. Prints as JSON, for each task, the largest difference of a
weight and how far the fit moved one.

Usage: torchrun --nproc-per-node 2 shared_fits.py TASK ...
"""

import copy
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sync_train.batches import Windowing
from sync_train.distributed import share_batch_norms
from sync_train.fit_config import AdapterFitConfig, FitConfig, StudentConfig, TeacherConfig
from sync_train.loop import Task, fit
from sync_train.losses.config import GRLConfig, MMDConfig
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.pair_batches import PairBatches
from sync_train.pairs import Pair
from sync_train.sequences import IGNORE, Labeled, Recording
from sync_train.tasks.distillation import FeatureDistillationTask, TASDistillationTask
from sync_train.tasks.segmentation import SegmentationTask
from sync_train.torchrun import run_as_one

WIDTH, CLASSES, CPU = 16, 3, torch.device("cpu")
WINDOWING = Windowing(chunk_rows=2, max_chunks=384)
LENGTHS = (70, 90, 64)
"""Rows of the recordings. Batches of two: the third is alone, and one of two processes has nothing of it."""

BASE = {"max_epochs": 2, "batch_size": 2, "learning_rate": 1e-3}
STUDENTS = {
    "mse": StudentConfig(**BASE),
    "frozen": StudentConfig(**BASE, reduction="sum", freeze_batch_norm=True, levels=(1, 2, 3)),
    "random-frames": StudentConfig(**BASE, pairing="random-frames"),
    "mmd": StudentConfig(**BASE, loss="mmd", pairing="random", mmd=MMDConfig(max_samples=20)),
    "coral": StudentConfig(**BASE, loss="coral", match="representations"),
    "grl": StudentConfig(**BASE, loss="grl", selection="last", grl=GRLConfig(hidden_dim=8)),
    "tcc": StudentConfig(**BASE, loss="tcc"),
    "sdtw": StudentConfig(**BASE, loss="sdtw", levels=(1, 2)),
}


def rows(seed: int, length: int) -> torch.Tensor:
    return torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(seed)).half()


def segmenter(seed: int, *, adapted: bool = False) -> Segmenter:
    torch.manual_seed(seed)
    adapter = Adapter(AdapterConfig(feature_dim=WIDTH, num_layers=1, num_heads=2, ffn_dim=16, dropout=0))
    network = C2FTCN(feature_dim=WIDTH, num_classes=CLASSES)
    model = Segmenter(Standardizer(WIDTH), network, adapter if adapted else None).double()
    share_batch_norms(model)
    return model


def pairs(config: AdapterFitConfig | StudentConfig, lengths: tuple[int, ...]) -> PairBatches:
    made = [
        Pair(
            name=str(number),
            teacher_PD=rows(number, length),
            student_PD=rows(100 + number, length),
            coverage=1.0,
            max_distance_ns=0,
            seconds=1.0,
        )
        for number, length in enumerate(lengths)
    ]
    return PairBatches(
        made,
        WINDOWING,
        batch_size=config.batch_size,
        zoom=config.zoom,
        seed=0,
        device=CPU,
        pairing=config.pairing if isinstance(config, StudentConfig) else "synchronized",
    )


def teacher(config: TeacherConfig) -> Task:
    recordings = [
        Labeled(
            recording=Recording(
                name=str(seed), rows_TD=rows(seed, length), timestamps=torch.arange(length).numpy()
            ),
            classes_T=torch.where(
                torch.arange(length) < 5 * seed, IGNORE, torch.arange(length) // 30 % CLASSES
            ),
        )
        for seed, length in enumerate(LENGTHS)
    ]
    return SegmentationTask(segmenter(0), recordings, config, WINDOWING, seed=0, score=None)


def adapter(config: AdapterFitConfig) -> Task:
    return FeatureDistillationTask(
        segmenter(0, adapted=True), pairs(config, LENGTHS), pairs(config, LENGTHS[:2]), config
    )


def student(config: StudentConfig) -> Task:
    frozen = segmenter(0)
    torch.manual_seed(1)
    return TASDistillationTask(
        copy.deepcopy(frozen).requires_grad_(True),
        frozen,
        pairs(config, LENGTHS),
        pairs(config, LENGTHS[:2]),
        config,
    )


def fitted(make_task: Callable[[], Task], config: FitConfig) -> tuple[dict[str, torch.Tensor], float]:
    """All weights after a fit, and its score or last loss."""
    task = make_task()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(task, config, Path(folder), seed=3)
    return task.module.state_dict(), result.final_loss if result.score is None else result.score


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name].double() - b[name].double()).abs().max().item() for name in b)


def main() -> None:
    teacher_config = TeacherConfig(**BASE, selection="last")
    adapter_config = AdapterFitConfig(**BASE, optimizer="adam")
    tasks: dict[str, tuple[Callable[[], Task], FitConfig]] = {
        "teacher": (lambda: teacher(teacher_config), teacher_config),
        "adapter": (lambda: adapter(adapter_config), adapter_config),
        **{name: (partial(student, config), config) for name, config in STUDENTS.items()},
    }
    tasks = {name: tasks[name] for name in sys.argv[1:]}
    alone = {name: fitted(*task) for name, task in tasks.items()}

    def together() -> None:
        differences = {}
        for name, (make_task, config) in tasks.items():
            weights, score = fitted(make_task, config)
            differences[name] = {
                "moved": difference(weights, make_task().module.state_dict()),
                "weights": difference(weights, alone[name][0]),
                "score": abs(score - alone[name][1]),
            }
        print(json.dumps(differences))

    run_as_one(together)


if __name__ == "__main__":
    main()
