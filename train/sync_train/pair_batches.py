"""Batches of pairs: windows of both views, pooled and padded, and which of them are compared.

Axes: B sequences, L padded steps, D feature width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sync_store.errors import TrainingError
from sync_train.batches import (
    Batch,
    Draw,
    Window,
    Windowing,
    draw_batches,
    draw_sizes,
    group_by_length,
    split_windows,
    stack,
)
from sync_train.fit_config import UNSYNCHRONIZED, Pairing
from sync_train.kept import pooled_rows
from sync_train.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class PairDraw:
    """Windows of both views that make one batch."""

    teacher: Draw
    student: Draw


class PairBatches:
    """Windows of pairs, the teacher's view and the student's.

    Synchronized windows are pooled over the same bins: one draw serves both. Where another recording's window is
    the partner, each has a draw of its own, and only windows that are equally long in both views share a batch. Where
    recordings vary in length, an epoch then has more and smaller batches, and so more steps of the optimizer.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        windowing: Windowing,
        *,
        batch_size: int,
        zoom: bool,
        seed: int,
        device: torch.device,
        pairing: Pairing = "synchronized",
        procedures: Mapping[str, str | None] | None = None,
        others: Sequence[Pair] = (),
    ) -> None:
        """Cut pairs into windows.

        Args:
            pairs: What is learnt from or selected on.
            windowing: Windows and chunks.
            batch_size: Windows a batch at the most.
            zoom: Whether chunk sizes are drawn anew each epoch.
            seed: Decides order, zoom and partners.
            device: Where batches are needed.
            pairing: What a window's partner is.
            procedures: What is done in each recording, for "same-procedure".
            others: Where `pairs` are held out, those that are learnt from: they have no windows of their own here, but
                may be partners. Few are held out, and of few procedures.

        Raises:
            TrainingError: If no window has a partner.
        """
        self._pairs = [*pairs, *others]
        self._batch_size = batch_size
        self._windowing = windowing
        self._zoom = zoom
        self._seed = seed
        self._device = device
        self._teacher_rows = pooled_rows([pair.teacher_PD for pair in self._pairs], device)
        self._student_rows = pooled_rows([pair.student_PD for pair in self._pairs], device)
        self._teachers = split_windows([len(pair.teacher_PD) for pair in self._pairs], windowing.window_rows)
        self._windows = [window for window in self._teachers if window.index < len(pairs)]
        self._partners: list[list[int]] | None = None
        if pairing in UNSYNCHRONIZED:
            same = {}
            if pairing == "same-procedure":
                same = {pair.name: _known(procedures, pair.name) for pair in self._pairs}
            self._partners = [self._possible_partners(window, same) for window in self._windows]
            if not any(self._partners):
                partner = "another pair" if pairing == "random" else "another pair of its procedure"
                raise TrainingError(
                    f"pairing {pairing!r} compares a pair with {partner}, and none of the {len(pairs)} to "
                    f"{'select on' if others else 'learn from'} has one. Add pairs, or keep the last epoch with "
                    'selection = "last", which holds none out'
                )

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Batch]]:
        """The teacher's and the student's batches of one epoch, shuffled and zoomed."""
        for draw in self._draws(epoch):
            yield (
                stack(self._teacher_rows.of(draw.teacher), draw.teacher.steps, self._device),
                stack(self._student_rows.of(draw.student), draw.student.steps, self._device),
            )

    def num_batches(self, epoch: int) -> int:
        """How many batches an epoch has."""
        return sum(1 for _ in self._draws(epoch))

    def _draws(self, epoch: int) -> Iterator[PairDraw]:
        if self._partners is None:
            for draw in draw_batches(
                self._windows,
                self._windowing,
                zoom=self._zoom,
                batch_size=self._batch_size,
                seed=self._seed,
                epoch=epoch,
            ):
                yield PairDraw(teacher=draw, student=draw)
            return
        yield from self._strangers(self._partners, epoch)

    def _strangers(self, possible: list[list[int]], epoch: int) -> Iterator[PairDraw]:
        """Draw a partner and two chunk sizes for each window that may have one, and batches of these."""
        base = len(self._windows)  # a window's own draws have smaller numbers
        rng = np.random.default_rng([self._seed, epoch, base + 1])
        chosen = [
            (number, partners[int(rng.integers(len(partners)))])
            for number, partners in enumerate(possible)
            if partners
        ]
        students = [self._windows[number] for number, _ in chosen]
        teachers = [self._teachers[partner] for _, partner in chosen]
        student_sizes = draw_sizes(students, self._windowing, zoom=self._zoom, seed=[self._seed, epoch])
        teacher_sizes = draw_sizes(
            teachers, self._windowing, zoom=self._zoom, seed=[self._seed, epoch, base + 2]
        )
        lengths = [
            (self._steps(teacher, of_teacher), self._steps(student, of_student))
            for teacher, of_teacher, student, of_student in zip(
                teachers, teacher_sizes, students, student_sizes, strict=True
            )
        ]
        shuffle = np.random.default_rng([self._seed, epoch, base + 3])
        for numbers in group_by_length(lengths, self._batch_size, shuffle):
            teacher_steps, student_steps = lengths[numbers[0]]
            yield PairDraw(
                teacher=_draw(teachers, teacher_sizes, numbers, teacher_steps),
                student=_draw(students, student_sizes, numbers, student_steps),
            )

    def _steps(self, window: Window, chunk_rows: int) -> int:
        return self._windowing.padded_steps(window.num_rows, chunk_rows)

    def _possible_partners(self, window: Window, procedures: Mapping[str, str | None]) -> list[int]:
        """Windows of other recordings, of the same procedure where `procedures` tells it."""
        name = self._pairs[window.index].name
        return [
            number
            for number, other in enumerate(self._teachers)
            if other.index != window.index
            and procedures.get(self._pairs[other.index].name) == procedures.get(name)
        ]


def _known(procedures: Mapping[str, str | None] | None, name: str) -> str:
    procedure = (procedures or {}).get(name)
    if procedure is None:
        raise TrainingError(
            f"pairing 'same-procedure' needs to know what is done in recording {name}, and the dataset doesn't "
            "say. Give it in recordings.csv (columns recording, procedure)"
        )
    return procedure


def _draw(windows: Sequence[Window], sizes: Sequence[int], numbers: Sequence[int], steps: int) -> Draw:
    return Draw(
        windows=[windows[number] for number in numbers],
        chunk_rows=[sizes[number] for number in numbers],
        steps=steps,
    )
