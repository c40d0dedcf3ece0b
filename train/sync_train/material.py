"""What one seed learns from and selects on: labelled recordings and pairs, cut, held out and in batches."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Any

from sync_store.datasets import labels_digest
from sync_store.errors import DatasetError
from sync_store.labels import NS_PER_SECOND
from sync_store.rows import period_ns
from sync_train.budget import within_budget
from sync_train.config import PairsConfig
from sync_train.fit_config import AdapterFitConfig, FitConfig, Pairing, StudentConfig
from sync_train.models.segmenter import Segmenter
from sync_train.pair_batches import PairBatches
from sync_train.pairs import SECONDS_PER_HOUR, Pair, Views, describe_pairs, read_pairs
from sync_train.selection import hold_out, score_model
from sync_train.sequences import Labeled, Recording, label
from sync_train.setting import Setting

Score = Callable[[Segmenter], dict[str, float]]
"""Scores a model to select an epoch; `score` is among its values."""


class Material:
    """See the module."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._setting = setting
        self._seed = seed

    def labeled(self, config: FitConfig, view: str) -> tuple[list[Labeled], Score | None]:
        """Labelled recordings of the training split to learn from, and the score that selects an epoch."""
        setting = self._setting
        whole = setting.source_of(view).recordings(view, setting.training_recordings(view))
        recordings = self._within_hours(whole)
        if config.selection == "last":
            return self._label(recordings), None
        if config.selection == "published-test-ego":
            return self._label(recordings), self.published_score()
        learn, _ = hold_out(
            [recording.name for recording in recordings],
            config.held_out,
            self._seed,
            cut=next((recording.name for recording in recordings if recording not in whole), None),
            limit=None if setting.config.train_hours is None else "train_hours",
        )
        to_learn = [recording for recording in recordings if recording.name in set(learn)]
        selected_on = self._label([recording for recording in recordings if recording.name not in set(learn)])
        return self._label(to_learn), lambda model: score_model(model, selected_on, setting.windowing)

    def published_score(self) -> Score:
        """Score on the ego test split, as the paper's scripts select even the exo teacher."""
        setting = self._setting
        view = setting.ego_view
        labeled = self._label(setting.ego_source.recordings(view, setting.splits["test"]))
        return lambda model: score_model(model, labeled, setting.windowing)

    def pair_batches(
        self, config: AdapterFitConfig | StudentConfig
    ) -> tuple[PairBatches, PairBatches | None, dict[str, Any]]:
        """Pairs to learn from, those to select on, and how well they are joined."""
        setting = self._setting
        tolerance = setting.config.tolerance_seconds
        pairs = read_pairs(
            Views(
                teacher=setting.source_of(setting.teacher_view),
                teacher_view=setting.teacher_view,
                student=setting.source_of(setting.student_view),
                student_view=setting.student_view,
            ),
            setting.splits["adapt"],
            setting.config.pairs,
            tolerance_ns=None if tolerance is None else round(tolerance * NS_PER_SECOND),
            min_coverage=setting.config.min_coverage,
            seed=self._seed,
        )
        names, held_out = [pair.name for pair in pairs], list[str]()
        if config.selection == "held-out":
            names, held_out = hold_out(
                names,
                config.held_out,
                self._seed,
                cut=next((pair.name for pair in pairs if pair.is_cut), None),
                limit=_limit(setting.config.pairs),
            )
        learn_pairs = [pair for pair in pairs if pair.name in set(names)]
        held_out_pairs = [pair for pair in pairs if pair.name in set(held_out)]
        return (
            self._batches_of(learn_pairs, config, zoom=config.zoom),
            self._batches_of(held_out_pairs, config, zoom=False, others=learn_pairs)
            if held_out_pairs
            else None,
            describe_pairs(pairs),
        )

    def features_digest(self, view: str) -> str:
        """SHA-256 over the features of a view that labels are learnt from in."""
        return self._digest(view, self._setting.training_recordings(view))

    def labels_digest(self, view: str) -> str:
        """SHA-256 over these labels."""
        return labels_digest(self._setting.dataset, self._setting.training_recordings(view))

    def pairs_digest(self) -> dict[str, str]:
        """SHA-256 over the features of all pairs, by kind of view."""
        setting, adapt = self._setting, self._setting.splits["adapt"]
        return {"exo": self._digest(setting.exo, adapt), "ego": self._digest(setting.ego_view, adapt)}

    def procedures(self, config: StudentConfig) -> dict[str, Any]:
        """What is done in each pair's recording, where partners are chosen by it."""
        return {"procedures": self._procedures} if config.pairing == "same-procedure" else {}

    def tested_digest(self, view: str) -> str:
        """SHA-256 over the features of the test split in a view."""
        return self._digest(view, self._setting.splits["test"])

    def selected_on(self, config: FitConfig) -> dict[str, Any]:
        """Digests of what the published protocol selects on, besides what is learnt from."""
        if config.selection != "published-test-ego":
            return {}
        setting, test = self._setting, self._setting.splits["test"]
        return {
            "test_features": self._digest(setting.ego_view, test),
            "test_labels": labels_digest(setting.dataset, test),
        }

    @cached_property
    def _procedures(self) -> dict[str, str | None]:
        dataset = self._setting.dataset
        return {name: dataset.procedure(name) for name in self._setting.splits["adapt"]}

    def _within_hours(self, recordings: list[Recording]) -> list[Recording]:
        hours = self._setting.config.train_hours
        if hours is None:
            return recordings
        seconds = [len(r.timestamps) * period_ns(r.timestamps) / NS_PER_SECOND for r in recordings]
        if hours * SECONDS_PER_HOUR > sum(seconds) + 1:
            raise DatasetError(
                f"{hours} hours of labelled recordings were asked for (train_hours), but there are "
                f"{sum(seconds) / SECONDS_PER_HOUR:.3f}"
            )
        return within_budget(recordings, seconds, hours * SECONDS_PER_HOUR, _beginning, self._seed)

    def _label(self, recordings: list[Recording]) -> list[Labeled]:
        return label(recordings, self._setting.dataset, self._setting.classes)

    def _batches_of(
        self,
        pairs: list[Pair],
        config: AdapterFitConfig | StudentConfig,
        *,
        zoom: bool,
        others: Sequence[Pair] = (),
    ) -> PairBatches:
        setting = self._setting
        pairing: Pairing = config.pairing if isinstance(config, StudentConfig) else "synchronized"
        return PairBatches(
            pairs,
            setting.windowing,
            batch_size=config.batch_size,
            zoom=zoom,
            seed=self._seed,
            device=setting.device,
            pairing=pairing,
            procedures=self._procedures if pairing == "same-procedure" else None,
            others=others,
        )

    def _digest(self, view: str, names: list[str]) -> str:
        return self._setting.source_of(view).digest(view, names)


def _limit(config: PairsConfig) -> str | None:
    """The setting that says how much of the pairs is used, where one does."""
    if config.hours is not None:
        return "pairs.hours"
    return "pairs.share" if config.share < 1 else None


def _beginning(recording: Recording, share: float) -> Recording:
    num_rows = ceil(share * len(recording.timestamps))
    return replace(
        recording,
        rows_TD=recording.rows_TD[:num_rows],
        timestamps=recording.timestamps[:num_rows],
    )
