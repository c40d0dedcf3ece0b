"""One seed of a run: teacher, oracles, adapter and students, and their predictions on the test split.

    <runs>/<run>/seed-<n>/{teacher, ego-oracle, adapter, tas, feature-tas}/   a model and its journal each
    <runs>/<run>/seed-<n>/predictions/<method>/<view>/                        what sync-eval scores

Labels of training recordings are read for the teacher and the oracles. No label of an adaptation pair or of a test
recording is read, unless the published protocol's selection is asked for by name.
"""

import copy
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sync_store.exported import WEIGHTS
from sync_store.labels import first_seen
from sync_store.predictions import MANIFEST, PredictionInfo, open_predictions, write_predictions
from sync_train.checkpoint import SegmenterInfo, weights_digest
from sync_train.distributed import first, is_first, num_processes, share_batch_norms
from sync_train.loop import Task
from sync_train.material import Material, Score
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.segmenter import Segmenter
from sync_train.pair_batches import PairBatches
from sync_train.pooling import pool_rows
from sync_train.predict import row_probabilities, segments_of_probabilities
from sync_train.protocol import (
    SUPERVISED,
    selections,
    settings_digest,
    stage_config,
    stage_settings,
    stages_of,
)
from sync_train.setting import Setting
from sync_train.stage import Stage, Watcher, check_inputs, delete_stage
from sync_train.tasks.distillation import FeatureDistillationTask, TASDistillationTask
from sync_train.tasks.segmentation import SegmentationTask

PREDICT_RECORDINGS = 32
"""Recordings whose windows share batches in prediction."""


class SeedRun:
    """All stages and predictions of one seed; each stage is done once, whoever needs it."""

    def __init__(self, setting: Setting, runs: Path, seed: int, watcher: Watcher) -> None:
        """Set up a seed.

        Args:
            setting: What the run is made from.
            runs: Folder of all runs.
            seed: Of this one.
            watcher: Told what happens.
        """
        self._setting = setting
        self._runs = runs
        self._seed = seed
        self._watcher = watcher
        self._material = Material(setting, seed)
        self._models: dict[str, Segmenter] = {}
        self._digests: dict[str, str] = {}
        """SHA-256 of each stage's weights: later stages and predictions depend on these, not on what was to
        make them, since a stage that is trained anew on a GPU needn't end with the same ones."""

    @property
    def folder(self) -> Path:
        """Of this seed."""
        return self._runs / self._setting.config.run / f"seed-{self._seed}"

    def stage_folder(self, stage: str) -> Path:
        """Of one stage; the teacher's may lie in another run."""
        if stage == "teacher" and self._setting.config.teacher_run is not None:
            return self._runs / self._setting.config.teacher_run / f"seed-{self._seed}" / stage
        return self.folder / stage

    def model(self, method: str) -> Segmenter:
        """The trained model of a method, trained now if it isn't yet."""
        stage = stages_of(self._setting.config, method)[-1]
        if stage not in self._models:
            self._models[stage] = self._make(stage)
        return self._models[stage]

    def delete(self, methods: Iterable[str]) -> None:
        """Delete predictions and stages of methods, also the stages that they share with others of this run."""
        first(lambda: self._delete(methods))

    def _delete(self, methods: Iterable[str]) -> None:
        for method in methods:
            predictions = self.folder / "predictions" / method
            for manifest in predictions.rglob(MANIFEST):
                manifest.unlink()  # first, so that a rest is never taken for finished
            shutil.rmtree(predictions, ignore_errors=True)
            for stage in stages_of(self._setting.config, method):
                if (folder := self.stage_folder(stage)).parent == self.folder:
                    delete_stage(folder)

    def check(self, method: str) -> None:
        """Find out before the first epoch whether a stage of a method was made with other settings.

        Raises:
            TrainingError: If one was.
        """
        first(lambda: self._check(method))

    def _check(self, method: str) -> None:
        for stage in stages_of(self._setting.config, method):
            check_inputs(self.stage_folder(stage), stage_settings(self._setting, stage))

    def predict(self, method: str) -> None:
        """Write the predictions of a method on the test split, unless they are there already."""
        model = self.model(method)
        if is_first():
            self._predict(method, model)

    def _predict(self, method: str, model: Segmenter) -> None:
        setting, config = self._setting, self._setting.config
        view = setting.tested_view(method)
        source, teacher = setting.source_of(view), setting.source_of(setting.learnt_view(method))
        folder = self.folder / "predictions" / method / view
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
            kind="exo" if view == setting.exo else "ego",
            split=config.splits.test,
            feature_set=source.feature_set,
            teacher_feature_set=None if teacher is source else teacher.feature_set,
            trained_on=trained_on,
            classes=setting.classes,
            protocol=protocol,
        )
        write_predictions(folder, info, segments)

    def _make(self, name: str) -> Segmenter:
        if name in SUPERVISED:
            setting = self._setting
            return self._supervised(name, setting.teacher_view if name == "teacher" else setting.student_view)
        if name == "adapter":
            return self._adapter()
        return self._student(name, adapted=name == "feature-tas")

    def _supervised(self, name: str, view: str) -> Segmenter:
        setting, config = self._setting, self._setting.config
        info = self._info(view, None)
        stage = self._stage(
            name,
            features=self._material.features_digest(view),
            labels=self._material.labels_digest(view),
            classes=setting.classes,
            **self._material.selected_on(config.teacher),
        )

        def make_task(model: Segmenter) -> SegmentationTask:
            labeled, score = self._material.labeled(config.teacher, view)
            if config.standardize:
                model.standardizer.fit(pool_rows(r.recording.rows_TD, config.chunk_rows) for r in labeled)
            return SegmentationTask(
                model, labeled, config.teacher, setting.windowing, seed=self._seed, score=score
            )

        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            model = info.build().to(setting.device)
        return self._run(stage, model, info, make_task)

    def _adapter(self) -> Segmenter:
        config, sizes = self._setting.config.adapter, self._setting.adapter
        teacher = self.model("no-adaptation")
        stage = self._stage("adapter", pairs=self._material.pairs_digest(), teacher=self._digests["teacher"])
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
            learn, held_out, stage.provenance["pairs"] = self._material.pair_batches(config)
            return FeatureDistillationTask(model, learn, held_out, config)

        return self._run(stage, model, self._info(self._setting.student_view, sizes), make_task)

    def _student(self, name: str, *, adapted: bool) -> Segmenter:
        setting = self._setting
        config = setting.config.student
        teacher = self.model("no-adaptation")
        start = self.model("feature") if adapted else teacher
        stage = self._stage(
            name,
            pairs=self._material.pairs_digest(),
            teacher=self._digests["teacher"],
            **({"adapter": self._digests["adapter"]} if adapted else {}),
            **self._material.procedures(config),
            **self._material.selected_on(config),
        )

        def make_task(model: Segmenter) -> TASDistillationTask:
            learn, held_out, stage.provenance["pairs"] = self._material.pair_batches(config)
            score: PairBatches | Score | None = held_out
            if config.selection == "published-test-ego":
                score = self._material.published_score()
            with torch.random.fork_rng():
                torch.manual_seed(self._seed)
                return TASDistillationTask(model, teacher, learn, score, config)

        info = self._info(setting.student_view, None if start.adapter is None else start.adapter.config)
        model = copy.deepcopy(start).requires_grad_(True)
        return self._run(stage, model, info, make_task)

    def _stage(self, name: str, **data: Any) -> Stage:
        """A stage, made from the settings, the seed and digests of the data."""
        setting = self._setting
        return Stage(
            name=name,
            folder=self.stage_folder(name),
            seed=self._seed,
            config=stage_config(setting.config, name),
            inputs={**stage_settings(setting, name), "seed": self._seed, **data},
            provenance={
                **setting.provenance,
                **({"processes": num_processes()} if num_processes() > 1 else {}),
            },
            checkpoint_seconds=setting.config.checkpoint_seconds,
            tensorboard=setting.config.tensorboard,
        )

    def _run(
        self, stage: Stage, model: Segmenter, info: SegmenterInfo, make_task: Callable[[Segmenter], Task]
    ) -> Segmenter:
        share_batch_norms(model)
        model = stage.run(model, info, make_task, self._watcher)
        self._digests[stage.name] = first(lambda: weights_digest(stage.folder / WEIGHTS))
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

    def _protocol(self, method: str, view: str) -> Mapping[str, str | int | float | bool]:
        """What a reader of a table should know, and all that decides the predictions."""
        setting = self._setting
        return {
            "settings": settings_digest(setting, method),
            "selection": selections(setting.config, method),
            "tta_chunk_rows": ", ".join(map(str, setting.config.tta_chunk_rows)),
            "model": self._digests[stages_of(setting.config, method)[-1]],
            "features": self._material.tested_digest(view),
        }
