"""One seed of a run: teacher, oracle, adapter and students, and their predictions on the test split.

    <runs>/<run>/seed-<n>/{teacher, ego-oracle, adapter, tas, feature-tas}/   a model and its journal each
    <runs>/<run>/seed-<n>/predictions/<method>/<view>/                        what sync-eval scores

Labels of exo training recordings are read for the teacher, of ego ones for the ego oracle. No label of an
adaptation pair or of a test recording is read, unless the published protocol's selection is asked for by name.
"""

import copy
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sync_store.labels import first_seen
from sync_store.predictions import MANIFEST, PredictionInfo, open_predictions, write_predictions
from sync_train.checkpoint import WEIGHTS, SegmenterInfo, weights_digest
from sync_train.config import FitConfig
from sync_train.loop import Task
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.segmenter import Segmenter
from sync_train.pooling import pool_rows
from sync_train.predict import row_probabilities, segments_of_probabilities
from sync_train.protocol import STAGES, selections, settings_digest, stage_config, stage_settings
from sync_train.selection import hold_out, score_model
from sync_train.sequences import Pair, describe_pairs, label, labels_digest
from sync_train.setting import Setting
from sync_train.stage import Stage, Watcher, check_inputs, delete_stage
from sync_train.tasks.distillation import FeatureDistillationTask, PairBatches, TASDistillationTask
from sync_train.tasks.segmentation import SegmentationTask

PREDICT_RECORDINGS = 32
"""Recordings whose windows share batches in prediction."""


class SeedRun:
    """All stages and predictions of one seed; each stage is done once, whoever needs it."""

    def __init__(self, setting: Setting, folder: Path, seed: int, watcher: Watcher) -> None:
        self._setting = setting
        self._folder = folder
        self._seed = seed
        self._watcher = watcher
        self._models: dict[str, Segmenter] = {}
        self._digests: dict[str, str] = {}
        """SHA-256 of each stage's weights: later stages and predictions depend on these, not on what was to
        make them, since a stage that is trained anew on a GPU needn't end with the same ones."""

    def model(self, method: str) -> Segmenter:
        """The trained model of a method, trained now if it isn't yet."""
        stage = STAGES[method][-1]
        if stage not in self._models:
            self._models[stage] = self._make(stage)
        return self._models[stage]

    def delete(self, methods: Iterable[str]) -> None:
        """Delete predictions and stages of methods, also the stages that they share with others."""
        for method in methods:
            predictions = self._folder / "predictions" / method
            for manifest in predictions.rglob(MANIFEST):
                manifest.unlink()  # first, so that a rest is never taken for finished
            shutil.rmtree(predictions, ignore_errors=True)
            for name in STAGES[method]:
                delete_stage(self._folder / name)

    def check(self, method: str) -> None:
        """Find out before the first epoch whether a stage of a method was made with other settings.

        Raises:
            TrainingError: If one was.
        """
        for stage in STAGES[method]:
            check_inputs(self._folder / stage, stage_settings(self._setting, stage))

    def predict(self, method: str) -> None:
        """Write the predictions of a method on the test split, unless they are there already."""
        setting, config = self._setting, self._setting.config
        view = setting.exo if method == "exo-oracle" else setting.target
        source, teacher = setting.source_of(view), setting.teacher_source(method)
        model = self.model(method)
        folder = self._folder / "predictions" / method / view
        test = setting.splits["test"]
        protocol = self._protocol(method, view)
        if (folder / MANIFEST).exists() and open_predictions(folder).info.protocol == protocol:
            return
        segments = {}
        for start in range(0, len(test), PREDICT_RECORDINGS):
            recordings = source.recordings(view, test[start : start + PREDICT_RECORDINGS])
            probabilities = row_probabilities(
                model,
                [recording.rows_TD for recording in recordings],
                setting.windowing,
                chunk_rows=config.tta_chunk_rows,
            )
            for recording, of_rows_TK in zip(recordings, probabilities, strict=True):
                segments[recording.name] = segments_of_probabilities(recording, of_rows_TK, setting.classes)
        trained_on = source.trained_on
        if teacher is not source:
            trained_on = first_seen((*teacher.trained_on, *source.trained_on))
        info = PredictionInfo(
            run=config.run,
            seed=self._seed,
            method=method,
            view=view,
            kind="exo" if method == "exo-oracle" else "ego",
            split=config.splits.test,
            feature_set=source.feature_set,
            teacher_feature_set=None if teacher is source else teacher.feature_set,
            trained_on=trained_on,
            classes=setting.classes,
            protocol=protocol,
        )
        write_predictions(folder, info, segments)

    def _make(self, name: str) -> Segmenter:
        if name == "teacher":
            return self._supervised(name, self._setting.exo)
        if name == "ego-oracle":
            return self._supervised(name, self._setting.target)
        if name == "adapter":
            return self._adapter()
        return self._student(name, adapted=name == "feature-tas")

    def _supervised(self, name: str, view: str) -> Segmenter:
        setting, config = self._setting, self._setting.config
        train = setting.training_recordings(view)
        info = self._info(view, None)
        stage = self._stage(
            name,
            features=self._digest(view, train),
            labels=labels_digest(setting.dataset, train),
            classes=setting.classes,
            **self._selected_on(config.teacher),
        )

        def make_task(model: Segmenter) -> SegmentationTask:
            learn, score = self._selection(config.teacher, view)
            recordings = setting.source_of(view).recordings(view, learn)
            if config.standardize:
                model.standardizer.fit(pool_rows(r.rows_TD, config.chunk_rows) for r in recordings)
            labeled = label(recordings, setting.dataset, setting.classes)
            return SegmentationTask(
                model, labeled, config.teacher, setting.windowing, seed=self._seed, score=score
            )

        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            model = info.build().to(setting.device)
        return self._run(stage, model, info, make_task)

    def _adapter(self) -> Segmenter:
        config, sizes = self._setting.config.adapter, self._setting.adapter
        teacher = self.model("exo-oracle")
        stage = self._stage("adapter", pairs=self._pairs_digest(), teacher=self._digests["teacher"])
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            adapter = Adapter(sizes).to(self._setting.device)
        model = Segmenter(
            teacher.standardizer,
            teacher.c2f_tcn,
            adapter,
            precision=teacher.precision,
            ensemble_weights=teacher.ensemble_weights,
        )

        def make_task(model: Segmenter) -> FeatureDistillationTask:
            learn, held_out = self._pair_batches(stage, zoom=config.zoom)
            return FeatureDistillationTask(model, learn, held_out, config)

        return self._run(stage, model, self._info(self._setting.target, sizes), make_task)

    def _student(self, name: str, *, adapted: bool) -> Segmenter:
        config = self._setting.config.student
        teacher = self.model("exo-oracle")
        start = self.model("feature") if adapted else teacher
        stage = self._stage(
            name,
            pairs=self._pairs_digest(),
            teacher=self._digests["teacher"],
            **({"adapter": self._digests["adapter"]} if adapted else {}),
            **self._selected_on(config),
        )

        def make_task(model: Segmenter) -> TASDistillationTask:
            learn, held_out = self._pair_batches(stage, zoom=config.zoom)
            score: PairBatches | Callable[[Segmenter], dict[str, float]] | None = held_out
            if config.selection == "published-test-ego":
                score = self._published_score()
            return TASDistillationTask(model, teacher, learn, score, config)

        info = self._info(self._setting.target, None if start.adapter is None else start.adapter.config)
        model = copy.deepcopy(start).requires_grad_(True)
        return self._run(stage, model, info, make_task)

    def _stage(self, name: str, **data: Any) -> Stage:
        """A stage, made from the settings, the seed and digests of the data."""
        setting = self._setting
        return Stage(
            name=name,
            folder=self._folder / name,
            seed=self._seed,
            config=stage_config(setting.config, name),
            inputs={**stage_settings(setting, name), "seed": self._seed, **data},
            provenance=dict(setting.provenance),
            checkpoint_seconds=setting.config.checkpoint_seconds,
        )

    def _run(
        self, stage: Stage, model: Segmenter, info: SegmenterInfo, make_task: Callable[[Segmenter], Task]
    ) -> Segmenter:
        model = stage.run(model, info, make_task, self._watcher)
        self._digests[stage.name] = weights_digest(stage.folder / WEIGHTS)
        return model

    def _info(self, view: str, adapter: AdapterConfig | None) -> SegmenterInfo:
        """What is saved with a model that learns from rows of a view."""
        source = self._setting.source_of(view)
        return SegmenterInfo(
            feature_set=source.feature_set,
            fingerprint=source.fingerprint,
            feature_dim=source.feature_dim,
            classes=self._setting.classes,
            windowing=self._setting.windowing,
            adapter=adapter,
            precision=self._setting.precision,
            ensemble_weights=self._setting.config.ensemble_weights,
        )

    def _selection(
        self, config: FitConfig, view: str
    ) -> tuple[list[str], Callable[[Segmenter], dict[str, float]] | None]:
        """Recordings to learn from, and the score that selects an epoch."""
        setting = self._setting
        train = setting.training_recordings(view)
        if config.selection == "last":
            return train, None
        if config.selection == "published-test-ego":
            return train, self._published_score()
        learn, held_out = hold_out(train, config.held_out, self._seed)
        recordings = setting.source_of(view).recordings(view, held_out)
        labeled = label(recordings, setting.dataset, setting.classes)
        return learn, lambda model: score_model(model, labeled, setting.windowing)

    def _published_score(self) -> Callable[[Segmenter], dict[str, float]]:
        """Score on the ego test split, as the paper's scripts select even the exo teacher."""
        setting = self._setting
        recordings = setting.ego_source.recordings(setting.target, setting.splits["test"])
        labeled = label(recordings, setting.dataset, setting.classes)
        return lambda model: score_model(model, labeled, setting.windowing)

    def _pair_batches(self, stage: Stage, *, zoom: bool) -> tuple[PairBatches, PairBatches | None]:
        """Pairs to learn from and to select on; how well they are joined goes into the stage's provenance."""
        names, config = self._setting.splits["adapt"], stage.config
        held_out: list[str] = []
        if config.selection == "held-out":
            names, held_out = hold_out(names, config.held_out, self._seed)
        learn_pairs, held_out_pairs = self._pairs(names), self._pairs(held_out)
        stage.provenance["pairs"] = describe_pairs([*learn_pairs, *held_out_pairs])
        return (
            self._batches_of(learn_pairs, config, zoom),
            self._batches_of(held_out_pairs, config, zoom=False) if held_out_pairs else None,
        )

    def _pairs(self, names: list[str]) -> list[Pair]:
        setting = self._setting
        tolerance = setting.config.tolerance_seconds
        return setting.source.pairs(
            setting.exo,
            setting.target,
            names,
            tolerance_ns=None if tolerance is None else round(tolerance * 1e9),
            min_coverage=setting.config.min_coverage,
            ego_source=setting.ego_source,
        )

    def _batches_of(self, pairs: list[Pair], config: FitConfig, zoom: bool) -> PairBatches:
        setting = self._setting
        return PairBatches(
            pairs, config, setting.windowing, zoom=zoom, seed=self._seed, device=setting.device
        )

    def _digest(self, view: str, names: list[str]) -> str:
        return self._setting.source_of(view).digest(view, names)

    def _pairs_digest(self) -> dict[str, str]:
        setting, adapt = self._setting, self._setting.splits["adapt"]
        return {"exo": self._digest(setting.exo, adapt), "ego": self._digest(setting.target, adapt)}

    def _selected_on(self, config: FitConfig) -> dict[str, Any]:
        """Digests of what the published protocol selects on, besides what is learnt from."""
        if config.selection != "published-test-ego":
            return {}
        setting, test = self._setting, self._setting.splits["test"]
        return {
            "test_features": self._digest(setting.target, test),
            "test_labels": labels_digest(setting.dataset, test),
        }

    def _protocol(self, method: str, view: str) -> Mapping[str, str | int | float | bool]:
        """What a reader of a table should know, and all that decides the predictions."""
        setting = self._setting
        return {
            "settings": settings_digest(setting, method),
            "selection": selections(setting.config, method),
            "tta_chunk_rows": ", ".join(map(str, setting.config.tta_chunk_rows)),
            "model": self._digests[STAGES[method][-1]],
            "features": self._digest(view, setting.splits["test"]),
        }
