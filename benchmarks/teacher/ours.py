"""The trainer as `sync-train` runs it."""

from benchmarks.teacher.assembly101 import CONFIG, SEED
from sync_train.batches import Windowing
from sync_train.loop import train_epoch
from sync_train.models.segmenter import Segmenter
from sync_train.sequences import Labeled
from sync_train.tasks.segmentation import SegmentationTask


class Ours:
    """Fits a model, one epoch a call."""

    def __init__(
        self, model: Segmenter, recordings: list[Labeled], windowing: Windowing, *, seed: int = SEED
    ) -> None:
        self.network = model.c2f_tcn
        self.windowing = windowing
        self._task = SegmentationTask(model, recordings, CONFIG, windowing, seed=seed, score=None)
        self._epoch = 0

    def epoch(self) -> None:
        """Train for the next epoch."""
        train_epoch(self._task, self._epoch)
        self._epoch += 1
