"""Supervised segmentation: the teacher on labelled exo videos, the oracle on labelled ego videos.

Axes: B sequences, L padded steps, D feature width, K classes.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from sync_store.errors import TrainingError
from sync_train.batches import Batch, Draw, Windowing, draw_batches, split_windows, stack
from sync_train.distributed import gather, run_share
from sync_train.fit_config import TeacherConfig
from sync_train.kept import pooled_classes, pooled_rows
from sync_train.losses.segmentation import cross_entropy, smoothing
from sync_train.models.segmenter import Segmenter
from sync_train.sequences import IGNORE, Labeled


class SegmentationTask:
    """Cross-entropy and smoothing of the ensemble's probabilities."""

    def __init__(
        self,
        model: Segmenter,
        recordings: Sequence[Labeled],
        config: TeacherConfig,
        windowing: Windowing,
        *,
        seed: int,
        score: Callable[[Segmenter], dict[str, float]] | None,
    ) -> None:
        """Set up a fit.

        Args:
            model: On the device where it is to be trained.
            recordings: What is learnt from; rows may lie on any device.
            config: Rates, smoothing, zoom.
            windowing: Windows and chunks.
            seed: Decides the order of the windows and their zoom.
            score: Scores the model on held-out recordings, `score` among its values; None where the last epoch
                is kept.

        Raises:
            TrainingError: If no row has a label.
        """
        self.module = model
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(
                model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
            )
        ]
        self._rows = pooled_rows([labeled.recording.rows_TD for labeled in recordings], model.device)
        self._classes = pooled_classes(
            [labeled.classes_T for labeled in recordings], model.c2f_tcn.num_classes, model.device
        )
        self._config = config
        self._windowing = windowing
        self._seed = seed
        self._score = score
        # A window without labels teaches nothing, and in a batch of its own its mean loss isn't a number.
        self._windows = [
            window
            for window in split_windows([len(r.classes_T) for r in recordings], windowing.window_rows)
            if (recordings[window.index].classes_T[window.start : window.stop] != IGNORE).any()
        ]
        if not self._windows:
            raise TrainingError(
                f"none of the {len(recordings)} recordings to learn from has a row with a label. Check that "
                "labels and features have the same clock"
            )

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """See `Task`."""
        for draw in draw_batches(
            self._windows,
            self._windowing,
            zoom=self._config.zoom,
            batch_size=self._config.batch_size,
            seed=self._seed,
            epoch=epoch,
        ):
            batch = self._batch(draw)
            assert batch.classes_BL is not None
            probabilities_BKL = gather(run_share(self.module.probabilities, batch), batch)
            entropy = cross_entropy(probabilities_BKL, batch.classes_BL)
            flicker = self._config.smoothing * smoothing(probabilities_BKL, batch.valid_BL)
            yield {"loss": entropy + flicker, "cross_entropy": entropy, "smoothing": flicker}

    def validate(self) -> dict[str, float]:
        """See `Task`."""
        assert self._score is not None
        return self._score(self.module)

    def _batch(self, draw: Draw) -> Batch:
        return stack(self._rows.of(draw), draw.steps, self.module.device, self._classes.of(draw))
