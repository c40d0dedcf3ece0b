"""How far training is: bars on a terminal, plain lines elsewhere. Everything goes to stderr."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sync_train.distributed import is_first
from sync_train.stage import Watcher


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Watcher]:
    """A watcher that suits where stderr goes: bars or lines; nothing with `quiet`, or if another process shows them."""
    quiet = quiet or not is_first()
    console = Console(stderr=True, quiet=quiet)
    if quiet or not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Lines:
    """A line at each stage's end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = ""

    def started(self, stage: str, seed: int, max_epochs: int) -> None:
        self._name = f"seed {seed}, {stage}"

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        pass

    def finished(self, result: Mapping[str, Any], again: bool) -> None:
        line = f"{self._name}: {_summary(result, again)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """A bar a stage; finished ones stay."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._max_epochs = 0

    def started(self, stage: str, seed: int, max_epochs: int) -> None:
        self._max_epochs = max_epochs
        self._task = self._progress.add_task(f"seed {seed} {stage}", total=max_epochs, values="")

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        assert self._task is not None
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name in _SHOWN)
        self._progress.update(self._task, completed=epoch + 1, values=shown)

    def finished(self, result: Mapping[str, Any], again: bool) -> None:
        assert self._task is not None
        epochs = result["num_epochs"]
        self._progress.update(self._task, total=epochs, completed=epochs, values=_summary(result, again))


_SHOWN = ("loss", "score", "held_out_loss")


def _summary(result: Mapping[str, Any], again: bool) -> str:
    if again:
        return "done before"
    kept = f"kept epoch {result['selected_epoch'] + 1} of {result['num_epochs']}"
    score = "" if result["score"] is None else f", score {result['score']:.4g}"
    return f"{kept}, loss {result['final_loss']:.4g}{score}"
