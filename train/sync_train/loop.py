"""Fits one network: epochs, selection, early stopping, checkpoints, the journal.

A fit is a function of its arguments: random numbers come from (seed, epoch), never from a running state,
so that one that was killed and resumed ends with the weights of one that wasn't: bit for bit on a processor,
and up to the order of sums on a GPU, where the gradient of linear interpolation is added up atomically.
"""

import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from sync_store.atomic import write_atomic
from sync_store.errors import TrainingError
from sync_train.config import CHECKPOINT_SECONDS
from sync_train.distributed import average_gradients, first, is_first, process_seed, share_state
from sync_train.fit_config import FitConfig
from sync_train.journal import Journal

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
JOURNAL = "journal.jsonl"

State = dict[str, torch.Tensor]


class Task(Protocol):
    """What is fitted, and on what."""

    optimizers: list[torch.optim.Optimizer]

    @property
    def module(self) -> torch.nn.Module:
        """All that is trained or saved."""

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """Compute the losses of an epoch's batches, one batch at a time, with the module as it then is.

        Yields:
            Scalars: `loss`, which is minimised, and what else the journal should tell.
        """

    def validate(self) -> dict[str, float]:
        """Score on held-out recordings.

        Returns:
            Values to write in the journal, `score` among them: higher is better.
        """


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a fit ended. The module holds the selected weights."""

    num_epochs: int
    selected_epoch: int
    """Epoch whose weights were kept, from 0."""
    score: float | None
    """Its score; None where the last epoch is kept."""
    final_loss: float


def fit(
    task: Task,
    config: FitConfig,
    folder: Path,
    *,
    seed: int,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    tensorboard: bool = False,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, values: None,
) -> FitResult:
    """Train, resuming from a checkpoint in `folder` if there is one.

    Args:
        task: What to fit.
        config: Epochs, patience, selection.
        folder: Where checkpoint and journal are kept.
        seed: With the epoch it decides every random number of torch's (dropout).
        checkpoint_seconds: Least time from one checkpoint to the next.
        tensorboard: Write TensorBoard's events beside the journal.
        on_epoch: Told each epoch's values.

    Raises:
        TrainingError: If the loss or the score isn't a number any more.
    """
    state = _load(folder / CHECKPOINT, task) or _Progress()
    share_state(task.module)
    saved_at = time.monotonic()
    with _journal(folder / JOURNAL, state.next_epoch, tensorboard) as journal:
        while state.next_epoch < config.max_epochs and not state.out_of_patience(config):
            epoch = state.next_epoch
            torch.manual_seed(process_seed((seed << 20) + epoch))
            values = _values(task, config, epoch)
            _check_finite(values, folder, epoch)
            if config.selection != "last" and (state.best is None or values["score"] > state.best_score):
                state.best, state.best_score, state.best_epoch = _copy(task.module), values["score"], epoch
            state.next_epoch, state.loss = epoch + 1, values["loss"]
            if journal is not None:
                journal.write(epoch=epoch, **values)
            on_epoch(epoch, values)
            if is_first() and time.monotonic() - saved_at >= checkpoint_seconds:
                _save(folder / CHECKPOINT, task, state)
                saved_at = time.monotonic()
    if state.best is not None:
        task.module.load_state_dict(state.best)
    return FitResult(
        num_epochs=state.next_epoch,
        selected_epoch=state.best_epoch if state.best is not None else state.next_epoch - 1,
        score=state.best_score if state.best is not None else None,
        final_loss=state.loss,
    )


def _journal(path: Path, next_epoch: int, tensorboard: bool) -> AbstractContextManager[Journal | None]:
    """The journal in the process that writes it."""
    return Journal(path, next_epoch=next_epoch, tensorboard=tensorboard) if is_first() else nullcontext()


def _values(task: Task, config: FitConfig, epoch: int) -> dict[str, float]:
    """Train for one epoch and score; all processes decide by the first one's values."""
    values = train_epoch(task, epoch)
    if config.selection != "last":
        values.update(task.validate())
    return first(lambda: values)


def train_epoch(task: Task, epoch: int) -> dict[str, float]:
    """Train for one epoch, one step a batch.

    Returns:
        The mean of each loss over the batches.
    """
    task.module.train()
    totals: dict[str, float] = {}
    num_batches = 0
    for losses in task.losses(epoch):
        for optimizer in task.optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses["loss"])
        average_gradients(task.optimizers)
        for optimizer in task.optimizers:
            optimizer.step()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.item()
        num_batches += 1
    return {name: total / num_batches for name, total in totals.items()}


def _check_finite(values: dict[str, float], folder: Path, epoch: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{folder}: {name} of epoch {epoch + 1} is {value}. Try a smaller learning_rate"
            )


@dataclass(kw_only=True)
class _Progress:
    next_epoch: int = 0
    loss: float = float("nan")
    best: State | None = None
    best_score: float = float("-inf")
    best_epoch: int = -1

    def out_of_patience(self, config: FitConfig) -> bool:
        """Whether `patience` epochs in a row brought nothing better."""
        return self.best is not None and self.next_epoch - 1 - self.best_epoch >= config.patience


def _copy(module: torch.nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _save(path: Path, task: Task, state: _Progress) -> None:
    content: dict[str, Any] = {
        **vars(state),
        "module": task.module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in task.optimizers],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def _load(path: Path, task: Task) -> _Progress | None:
    content = first(lambda: _read(path))
    if content is None:
        return None
    try:
        task.module.load_state_dict(content.pop("module"))
        for optimizer, saved in zip(task.optimizers, content.pop("optimizers"), strict=True):
            optimizer.load_state_dict(saved)
        state = _Progress(**content)
    except Exception as error:  # what doesn't fit raises one of many errors
        raise _useless(path, error) from None
    log.info("%s: going on at epoch %d", path.parent, state.next_epoch)
    return state


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # a damaged file raises one of many errors
        raise _useless(path, error) from None


def _useless(path: Path, error: Exception) -> TrainingError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return TrainingError(f"{path}: can't be gone on with ({reason}); train anew with --overwrite")
