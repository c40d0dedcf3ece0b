"""Fits one network to clips: epochs, selection, a checkpoint an epoch, the journal.

Random numbers come from (seed, epoch), never from a running state, so a fit that was killed and resumed ends with the
weights of one that wasn't: bit for bit on a processor.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from sync_extract.forward import is_out_of_memory
from sync_extract.tuning.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from sync_extract.tuning.config import TuningConfig
from sync_extract.tuning.loader import Batch
from sync_extract.tuning.optimizer import set_learning_rate
from sync_store.atomic import write_atomic
from sync_store.errors import TrainingError

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
JOURNAL = "journal.jsonl"


class Task(Protocol):
    """What is fitted, and on what."""

    optimizer: torch.optim.SGD

    @property
    def module(self) -> nn.Module:
        """All that is trained and kept."""

    def train(self) -> None:
        """Put the module into the mode in which it learns."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """An epoch's batches."""

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Scalars, means over the batch's clips: `loss`, which is minimised, and what else the journal tells."""

    def validate(self) -> dict[str, float]:
        """Values of held-out clips for the journal, `score` among them: higher is better."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a fit ended. The module holds the selected weights."""

    epochs: int
    selected_epoch: int
    """From 1, as the journal counts."""
    score: float | None
    """Its score; None where the last epoch is kept."""
    final_loss: float


def fit(
    task: Task, config: TuningConfig, folder: Path, *, on_epoch: Callable[[Mapping[str, Any]], None]
) -> FitResult:
    """Train, resuming from a checkpoint in `folder` if there is one.

    Args:
        task: What to fit.
        config: Epochs, rates, selection.
        folder: Where checkpoint and journal are kept.
        on_epoch: Told each epoch's line of the journal.

    Raises:
        TrainingError: If a value isn't a number any more, or the GPU's memory is too small.
    """
    progress, best = load_checkpoint(folder / CHECKPOINT, task.module, task.optimizer) or (Progress(), None)
    if progress.next_epoch:
        log.info("%s: going on at epoch %d", folder, progress.next_epoch + 1)
        _write_journal(folder, progress)
    while progress.next_epoch < config.epochs:
        epoch = progress.next_epoch
        torch.manual_seed((config.seed << 20) + epoch)
        set_learning_rate(task.optimizer, config, epoch)
        values = _train_epoch(task, config, epoch)
        if config.selection == "held-out":
            values.update(task.validate())
        _check_finite(values, folder, epoch)
        if config.selection == "held-out" and (
            progress.best_score is None or values["score"] > progress.best_score
        ):
            progress.best_epoch, progress.best_score, best = epoch, values["score"], _copy(task.module)
        progress.next_epoch = epoch + 1
        progress.history.append({"epoch": epoch + 1, **values})
        save_checkpoint(folder / CHECKPOINT, task.module, task.optimizer, best, progress)
        _write_journal(folder, progress)
        on_epoch(progress.history[-1])
    if best is not None:
        task.module.load_state_dict(best)
    selected = progress.next_epoch - 1 if progress.best_epoch is None else progress.best_epoch
    return FitResult(
        epochs=progress.next_epoch,
        selected_epoch=selected + 1,
        score=progress.best_score,
        final_loss=progress.history[-1]["loss"],
    )


def _train_epoch(task: Task, config: TuningConfig, epoch: int) -> dict[str, float]:
    """One step a batch; the mean of each value over the clips."""
    task.train()
    totals: dict[str, torch.Tensor] = {}
    num_clips = 0
    for batch in task.batches(epoch):
        step(task, batch, config, totals)
        num_clips += len(batch)
    return {name: total.item() / num_clips for name, total in totals.items()}


def step(task: Task, batch: Batch, config: TuningConfig, totals: dict[str, torch.Tensor]) -> None:
    """One step of the optimizer, in as many passes as memory asks for; adds the clips' values to `totals`."""
    task.optimizer.zero_grad(set_to_none=True)
    for part in batch.split(config.pass_clips or len(batch)):
        with _explained_memory(part):
            losses = task.losses(part)
            torch.autograd.backward(losses["loss"] * (len(part) / len(batch)))
        _add(totals, losses, len(part))
    nn.utils.clip_grad_norm_(task.module.parameters(), config.gradient_clip)
    task.optimizer.step()


@torch.no_grad()
def mean_values(task: Task, batches: Iterable[Batch], config: TuningConfig) -> dict[str, float]:
    """Means over all clips of what `losses` gives, without learning, in passes as large as those of training."""
    totals: dict[str, torch.Tensor] = {}
    num_clips = 0
    for batch in batches:
        for part in batch.split(config.pass_clips or len(batch)):
            with _explained_memory(part):
                _add(totals, task.losses(part), len(part))
        num_clips += len(batch)
    return {name: total.item() / num_clips for name, total in totals.items()}


def _add(totals: dict[str, torch.Tensor], means: Mapping[str, torch.Tensor], num_clips: int) -> None:
    for name, mean in means.items():
        of_clips = mean.detach().double() * num_clips
        totals[name] = totals[name] + of_clips if name in totals else of_clips


@contextmanager
def _explained_memory(part: Batch) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(part) == 1:
            raise TrainingError(
                "not even one clip a pass fits into memory. Free some, or take another --device"
            ) from None
        raise TrainingError(
            f"{len(part)} clips a pass don't fit into memory. Take fewer, such as --pass-clips {len(part) // 2}; "
            "decoded pictures are kept"
        ) from None


def _check_finite(values: Mapping[str, float], folder: Path, epoch: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{folder}: {name} of epoch {epoch + 1} is {value}. Try a smaller learning_rate"
            )


def _copy(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _write_journal(folder: Path, progress: Progress) -> None:
    """One line an epoch. Those of the checkpoint, so that the two never tell different things."""
    lines = "".join(json.dumps(values) + "\n" for values in progress.history)
    write_atomic(folder / JOURNAL, lines.encode())
