"""Action segments of labelled recordings, each as one vector: the average over its rows (paper, supplement J).

Axes: S segments, T rows of a recording, C steps, D feature width.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sync_store.datasets import Dataset
from sync_store.errors import DatasetError
from sync_store.labels import Int64s
from sync_train.batches import Windowing, split_windows, stack
from sync_train.checks.config import Average
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.pooling import pool_rows
from sync_train.sequences import Recording


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentSet:
    """Labelled segments of one view that have a row, recording by recording in order of time."""

    features_SD: torch.Tensor
    """float32 (S, D)."""
    labels: tuple[str, ...]
    """S class names; none is a background class."""
    recordings: tuple[str, ...]
    """S names."""
    start_ns: Int64s
    """int64 (S,), nanoseconds on the recording's clock, inclusive."""
    stop_ns: Int64s
    """int64 (S,), exclusive."""
    num_without_rows: int
    """Labelled segments that aren't here, because they are too short to hold a row or the view wasn't filming."""

    def __len__(self) -> int:
        return len(self.labels)

    def of_recordings(self, names: Collection[str]) -> "SegmentSet":
        """The segments of some of the recordings."""
        kept = [number for number, name in enumerate(self.recordings) if name in names]
        return SegmentSet(
            features_SD=self.features_SD[kept],
            labels=tuple(self.labels[number] for number in kept),
            recordings=tuple(self.recordings[number] for number in kept),
            start_ns=self.start_ns[kept],
            stop_ns=self.stop_ns[kept],
            num_without_rows=0,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Representation:
    """What stands for each row of a recording.

    With "rows" it is the row. With "steps" it is the step into which the model pools the row, and behind an adapter,
    which knows nothing but steps, the adapted step, as in a prediction; so the average over a segment's rows is that
    over its steps, each weighted by how much of it lies inside, and a segment shorter than a step has one, too.
    """

    standardizer: Standardizer
    windowing: Windowing
    average: Average
    adapted_by: Segmenter | None = None
    """A model with an adapter, and with the same standardiser."""

    @torch.inference_mode()
    def of_rows(self, recording: Recording) -> torch.Tensor:
        """Represent each row: float32 (T, D) on the standardiser's device."""
        assert self.adapted_by is None or self.average == "steps"
        rows_TD = recording.rows_TD.to(self.standardizer.mean_D.device)
        if self.average == "rows":
            standardized: torch.Tensor = self.standardizer(rows_TD.float())
            return standardized
        steps_CD = (
            self._steps(rows_TD) if self.adapted_by is None else self._adapted(rows_TD, self.adapted_by)
        )
        return steps_CD.repeat_interleave(self.windowing.chunk_rows, dim=0)[: len(rows_TD)]

    def _steps(self, rows_TD: torch.Tensor) -> torch.Tensor:
        # Windows begin at whole steps, so those of the windows are those of the recording.
        steps_CD: torch.Tensor = self.standardizer(pool_rows(rows_TD, self.windowing.chunk_rows).float())
        return steps_CD

    def _adapted(self, rows_TD: torch.Tensor, model: Segmenter) -> torch.Tensor:
        model.eval()
        adapted = []
        for window in split_windows([len(rows_TD)], self.windowing.window_rows):
            pooled_CD = pool_rows(rows_TD[window.start : window.stop], self.windowing.chunk_rows)
            steps = self.windowing.padded_steps(window.num_rows, self.windowing.chunk_rows)
            batch = stack([pooled_CD], steps, model.device)
            adapted.append(model.features(batch.rows_BLD, batch.valid_BL)[0, : len(pooled_CD)])
        return torch.cat(adapted)


def average_segments(
    recordings: Iterable[Recording], dataset: Dataset, represent: Callable[[Recording], torch.Tensor]
) -> SegmentSet:
    """Average what represents the rows of each labelled segment; those of background classes are left out.

    Args:
        recordings: One view of each.
        dataset: Has their labels; those of no other recording are read.
        represent: Gives (T, D) of a recording, such as `Representation.of_rows`.

    Raises:
        DatasetError: If a recording has no labels, or no segment has a row.
    """
    features: list[torch.Tensor] = []
    labels: list[str] = []
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    num_without_rows = 0
    searched: list[str] = []
    for recording in recordings:
        searched.append(recording.name)
        rows_TD = represent(recording)
        sequences = dataset.labeled(recording.name)
        if not sequences:
            raise DatasetError(
                f"recording {recording.name} has no labels, but its segments are asked for. Label it, or take it out "
                "of its split"
            )
        for segments in (sequence.segments for sequence in sequences):
            index_T = segments.index_at(recording.timestamps)
            for number, label in enumerate(segments.labels):
                if label in dataset.background:
                    continue
                inside = np.flatnonzero(index_T == number)
                if not len(inside):
                    num_without_rows += 1
                    continue
                rows = rows_TD[
                    int(inside[0]) : int(inside[-1]) + 1
                ]  # times increase, so they lie side by side
                features.append(rows.double().mean(dim=0).float())
                labels.append(label)
                names.append(recording.name)
                spans.append((int(segments.start_ns[number]), int(segments.stop_ns[number])))
    if not features:
        raise DatasetError(_nothing_found(searched, num_without_rows))
    span_S2 = np.array(spans, dtype=np.int64)
    return SegmentSet(
        features_SD=torch.stack(features),
        labels=tuple(labels),
        recordings=tuple(names),
        start_ns=span_S2[:, 0],
        stop_ns=span_S2[:, 1],
        num_without_rows=num_without_rows,
    )


def _nothing_found(recordings: Sequence[str], num_without_rows: int) -> str:
    if num_without_rows:
        return (
            f"none of the {num_without_rows} segments of {len(recordings)} recordings has a row. Check that labels and "
            "features have the same clock"
        )
    return f"the labels of {len(recordings)} recordings have no segment of a class that isn't background"
