"""How far a training is: bars on a terminal, plain lines elsewhere. Everything goes to stderr."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sync_extract.tuning.run import Watcher


@contextmanager
def show_progress(name: str, *, quiet: bool = False) -> Iterator[Watcher]:
    """A watcher that suits where stderr goes: bars, lines, or nothing with `quiet`."""
    console = Console(stderr=True, quiet=quiet)
    if quiet or not console.is_terminal:
        yield _Lines(console, name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn("{task.fields[values]}"), TimeRemainingColumn(), console=console
    ) as bars:
        yield _Bars(console, name, bars)


class _Lines:
    """A line before decoding, and one an epoch."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name

    def decoding(self, num_films: int, num_pictures: int, size_bytes: int, folder: Path) -> None:
        self._print(
            f"{self._name}: {num_pictures} pictures of {num_films} videos take {size_bytes / 1e9:.2f} GB in "
            f"{folder} until training is done"
        )

    def decoded(self, num_done: int, num_films: int) -> None:
        if num_done == num_films:
            self._print(f"{self._name}: {num_films} videos decoded")

    def epoch(self, values: Mapping[str, Any], epochs: int) -> None:
        self._print(f"{self._name}: epoch {values['epoch']}/{epochs}: {_in_words(values)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Bars(_Lines):
    """A bar of videos, then one of epochs."""

    def __init__(self, console: Console, name: str, bars: Progress) -> None:
        super().__init__(console, name)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def decoded(self, num_done: int, num_films: int) -> None:
        self._draw("videos", num_done, num_films, "")

    def epoch(self, values: Mapping[str, Any], epochs: int) -> None:
        self._draw("epochs", values["epoch"], epochs, _in_words(values))

    def _draw(self, what: str, done: int, total: int, values: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(f"{self._name}: {what}", total=total, values="")
        self._bars.update(self._tasks[what], completed=done, values=values)


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "epoch")
