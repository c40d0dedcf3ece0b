"""Both checks on one seed of a run: what they read, and when they are done again.

Labels of the test split are what is scored, and recognition learns from those of the training split. No label of an
adaptation pair is read.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sync_store.datasets import labels_digest
from sync_store.exported import WEIGHTS
from sync_train.checkpoint import weights_digest
from sync_train.checks.config import Average, RecognitionConfig, RetrievalConfig
from sync_train.checks.recognition import MLP, score_guess, score_recognition, train_mlp
from sync_train.checks.result import CheckResult, digest, find_result, write_result
from sync_train.checks.retrieval import score_retrieval
from sync_train.checks.segments import Representation, SegmentSet, average_segments
from sync_train.fit_config import FitConfig
from sync_train.material import Material
from sync_train.models.segmenter import Standardizer
from sync_train.pooling import pool_rows
from sync_train.protocol import settings_digest, stage_settings
from sync_train.run import SeedRun
from sync_train.setting import Setting
from sync_train.stage import Watcher

log = logging.getLogger(__name__)

ALL_OF_THEM = FitConfig(selection="last")
"""Asks for labelled recordings with none held out."""


class SeedChecks:
    """Checks of one seed; what several methods need is made once."""

    def __init__(self, setting: Setting, runs: Path, seed: int, watcher: Watcher) -> None:
        """Set up a seed.

        Args:
            setting: What the run is made from.
            runs: Folder of all runs.
            seed: Of this one.
            watcher: Told what happens.
        """
        self._setting = setting
        self._seed = seed
        self._watcher = watcher
        self._run = SeedRun(setting, runs, seed, watcher)
        self._material = Material(setting, seed)
        self._standardizers: dict[str, Standardizer] = {}
        self._mlps: dict[tuple[str, Average], MLP] = {}

    @property
    def folder(self) -> Path:
        """Of the seed."""
        return self._run.folder

    def file(self, check: str, method: str) -> Path:
        """Of one result."""
        return self.folder / "checks" / check / f"{method}.json"

    def check_stages(self, method: str) -> None:
        """Find out before anything is made whether the adapter that a method needs was made with other settings.

        Raises:
            TrainingError: If it was.
        """
        if method == "feature":
            self._run.check(method)

    def retrieval(self, method: str, *, overwrite: bool) -> CheckResult:
        """Retrieve test segments of the student's view for each one of the teacher's, unless that is done."""
        setting, config = self._setting, self._setting.config.retrieval
        queried, searched = setting.teacher_view, setting.student_view
        average = _average(method, config)
        inputs = self._inputs("retrieval", method, config)
        inputs["queries"] = self._material.tested_digest(queried)
        inputs["gallery"] = self._material.tested_digest(searched)
        if self._setting.config.standardize:
            inputs["standardized_on"] = self._material.features_digest(queried)
        file = self.file("retrieval", method)
        if not overwrite and (done := find_result(file, inputs)) is not None:
            return done
        queries = self._tested(queried, queried, average)
        gallery = self._tested(searched, queried, average, adapted=method == "feature")
        result = CheckResult(
            check="retrieval",
            method=method,
            seed=self._seed,
            metrics=score_retrieval(queries, gallery, config),
            num_segments=len(queries),
            inputs=inputs,
            provenance=self._provenance(
                config,
                average=average,
                num_without_rows=queries.num_without_rows,
                num_gallery=len(gallery),
                num_gallery_without_rows=gallery.num_without_rows,
            ),
        )
        write_result(file, result)
        return result

    def recognition(self, method: str, *, overwrite: bool) -> CheckResult:
        """Recognise the test segments of the view that a method is tested on, unless that is done."""
        setting, config = self._setting, self._setting.config.recognition
        if method == "random":
            return self._guess(config, overwrite=overwrite)
        learnt, tested = setting.learnt_view(method), setting.tested_view(method)
        average = _average(method, config)
        inputs = self._inputs("recognition", method, config)
        inputs["learnt"] = self._material.features_digest(learnt)
        inputs["learnt_labels"] = self._material.labels_digest(learnt)
        inputs["tested"] = self._material.tested_digest(tested)
        file = self.file("recognition", method)
        if not overwrite and (done := find_result(file, inputs)) is not None:
            return done
        segments = self._tested(tested, learnt, average, adapted=method == "feature")
        result = CheckResult(
            check="recognition",
            method=method,
            seed=self._seed,
            metrics=score_recognition(self._mlp(learnt, average), segments, setting.classes),
            num_segments=len(segments),
            inputs=inputs,
            provenance=self._provenance(config, average=average, num_without_rows=segments.num_without_rows),
        )
        write_result(file, result)
        return result

    def _guess(self, config: RecognitionConfig, *, overwrite: bool) -> CheckResult:
        setting, inputs = self._setting, self._inputs("recognition", "random", config)
        file = self.file("recognition", "random")
        if not overwrite and (done := find_result(file, inputs)) is not None:
            return done
        sequences = [s.segments for name in setting.splits["test"] for s in setting.dataset.labeled(name)]
        labels = [label for segments in sequences for label in segments.labels]
        result = CheckResult(
            check="recognition",
            method="random",
            seed=self._seed,
            metrics=score_guess(setting.classes),
            num_segments=sum(label not in setting.dataset.background for label in labels),
            inputs=inputs,
            provenance=self._provenance(config),
        )
        write_result(file, result)
        return result

    def _tested(self, view: str, learnt: str, average: Average, *, adapted: bool = False) -> SegmentSet:
        """Segments of the test split in a view, standardised as those that are learnt from."""
        setting = self._setting
        representation = Representation(
            standardizer=self._standardizer(learnt),
            windowing=setting.windowing,
            average=average,
            adapted_by=self._run.model("feature") if adapted else None,
        )
        recordings = setting.source_of(view).recordings(view, setting.splits["test"])
        segments = average_segments(recordings, setting.dataset, representation.of_rows)
        if num_absent := segments.num_without_rows:
            log.warning(
                "view %s: %d of %d segments of the test split have no row and aren't counted",
                view,
                num_absent,
                num_absent + len(segments),
            )
        return segments

    def _mlp(self, view: str, average: Average) -> MLP:
        """The perceptron that has learnt on a view."""
        setting, config = self._setting, self._setting.config.recognition
        if (view, average) not in self._mlps:
            representation = Representation(
                standardizer=self._standardizer(view), windowing=setting.windowing, average=average
            )
            labeled, _ = self._material.labeled(ALL_OF_THEM, view)
            recordings = [of_recording.recording for of_recording in labeled]
            self._mlps[view, average] = train_mlp(
                average_segments(recordings, setting.dataset, representation.of_rows),
                setting.classes,
                config,
                self.folder / "checks" / "recognition" / f"{view}-{average}",
                seed=self._seed,
                watcher=self._watcher,
            )
        return self._mlps[view, average]

    def _standardizer(self, view: str) -> Standardizer:
        """That of a model that learns on a view: the identity, unless the config says otherwise."""
        setting = self._setting
        if view not in self._standardizers:
            standardizer = Standardizer(setting.source_of(view).feature_dim).to(setting.device)
            if setting.config.standardize:
                labeled, _ = self._material.labeled(setting.config.teacher, view)
                standardizer.fit(pool_rows(r.recording.rows_TD, setting.config.chunk_rows) for r in labeled)
            self._standardizers[view] = standardizer
        return self._standardizers[view]

    def _inputs(self, check: str, method: str, config: RetrievalConfig | RecognitionConfig) -> dict[str, str]:
        """Digests of all that decides a result, but for the features."""
        setting = self._setting
        splits = asdict(setting.config.splits)
        del splits["adapt"]  # what is learnt from it is in the stages
        settings: dict[str, Any] = {
            "check": check,
            "method": method,
            "config": asdict(config) | {"average": _average(method, config)},
            "views": [setting.exo, setting.ego],
            "direction": setting.config.direction,
            "splits": splits,
            "background": sorted(setting.dataset.background),
            "windowing": asdict(setting.windowing),
            "teacher": stage_settings(setting, "teacher") if setting.config.standardize else None,
        }
        if check == "recognition":
            settings |= {"classes": setting.classes, "train_hours": setting.config.train_hours}
        inputs = {"labels": labels_digest(setting.dataset, setting.splits["test"])}
        if method == "feature":
            settings["stages"] = settings_digest(setting, method)
            self._run.model(method)
            inputs["model"] = weights_digest(self._run.stage_folder("adapter") / WEIGHTS)
        return {"settings": digest(settings), **inputs}

    def _provenance(self, config: RetrievalConfig | RecognitionConfig, **found: Any) -> dict[str, Any]:
        return {**self._setting.provenance, "settings": asdict(config), **found}


def _average(method: str, config: RetrievalConfig | RecognitionConfig) -> Average:
    """What is averaged; an adapter knows steps alone."""
    return "steps" if method == "feature" else config.average
