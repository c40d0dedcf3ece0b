"""Batches of clips in an order and with draws that depend on seed and epoch alone.

Each clip's random numbers come from (seed, epoch, clip), so neither the batch that it is in nor the thread that reads
it matters, and a run that was interrupted goes on with the same.

Axes: N clips of a batch, S = 8 segments, h and w network size.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from sync_extract.transforms import Preprocessing
from sync_extract.tuning.augment import centre, draw_cut, network_size
from sync_extract.tuning.frames import FilmFrames
from sync_extract.tuning.video_clips import SEGMENTS, Int64s

Clip = tuple[FilmFrames, int]
"""A clip of a video, by its number there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Clips as the network is to see them, before normalisation."""

    views: tuple[torch.Tensor, ...]
    """uint8 (N, 8, h, w, 3) each: one, or two of the same moments."""
    classes_N: torch.Tensor | None
    """int64 (N,), where clips have labels."""

    def __len__(self) -> int:
        return len(self.views[0])

    def split(self, num_clips: int) -> Iterator["Batch"]:
        """In parts of at most so many clips."""
        for start in range(0, len(self), num_clips):
            part = slice(start, start + num_clips)
            classes = None if self.classes_N is None else self.classes_N[part]
            yield Batch(views=tuple(view[part] for view in self.views), classes_N=classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipLoader:
    """Clips of one view, or of several views of the same moments."""

    views: tuple[Sequence[Clip], ...]
    """As many clips each; clip n of all is drawn alike."""
    classes: Int64s | None
    preprocessing: Preprocessing
    augment: bool
    """Cut each clip anew in each epoch; else as extraction does."""
    batch_size: int
    seed: int
    workers: int

    def __len__(self) -> int:
        return len(self.views[0])

    def training(self, epoch: int) -> Iterator[Batch]:
        """All clips once, in an epoch's own order; the last batch may be smaller."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self))
        return self._batches(order, epoch)

    def held_out(self) -> Iterator[Batch]:
        """All clips in order, at the middles of their segments and cut as extraction does."""
        return self._batches(np.arange(len(self)), None)

    def _batches(self, order: Int64s, epoch: int | None) -> Iterator[Batch]:
        parts = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(max_workers=self.workers, thread_name_prefix="clips") as pool:
            try:
                for part in parts:
                    waiting.append(pool.submit(self._batch, part, epoch))
                    if len(waiting) > self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batch(self, part: Int64s, epoch: int | None) -> Batch:
        clips = [self._clip(clip, epoch) for clip in part.tolist()]
        views = tuple(torch.stack(frames) for frames in zip(*clips, strict=True))
        classes = None if self.classes is None else torch.from_numpy(self.classes[part])
        return Batch(views=views, classes_N=classes)

    def _clip(self, number: int, epoch: int | None) -> list[torch.Tensor]:
        """One clip of each view: uint8 (8, h, w, 3)."""
        rng = np.random.default_rng((self.seed, epoch or 0, number + 1))  # with 0 it would be the order's
        per_segment = self.views[0][number][0].frames_NSC.shape[2]
        draw_S = np.full(SEGMENTS, per_segment // 2)
        if epoch is not None:
            draw_S = rng.integers(per_segment, size=SEGMENTS)
        size = network_size(self.preprocessing)
        of_views = []
        for view in self.views:
            stored, clip = view[number]
            is_cut = self.augment and epoch is not None
            cut = draw_cut(rng, *stored.size, size) if is_cut else centre(*stored.size, size)
            of_views.append(cut(stored.read(clip, draw_S), size))
        return of_views


def normalised(
    frames_NSHWC: torch.Tensor, preprocessing: Preprocessing, device: torch.device
) -> torch.Tensor:
    """Network input of a batch's view: float32 (N * 8, 3, h, w)."""
    frames = frames_NSHWC.flatten(0, 1).to(device, non_blocking=True)
    images: torch.Tensor = replace(preprocessing, resize=network_size(preprocessing), crop=None)(frames)
    return images
