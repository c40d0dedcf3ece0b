"""Whole runs on a real store: what they read, what they keep, what they do again, and that they work."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sync_eval.scoring import read_truth, score_set
from sync_store.datasets import open_dataset
from sync_store.errors import DatasetError, TrainingError
from sync_store.labels import segments_to_csv
from sync_store.predictions import METHODS, open_predictions
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_train.batches import Windowing
from sync_train.checkpoint import load_segmenter
from sync_train.config import PairsConfig, TrainConfig
from sync_train.pairs import Views, read_pairs
from sync_train.predict import row_probabilities, segments_of_probabilities
from sync_train.protocol import stages_of
from sync_train.selection import hold_out, score_model
from sync_train.sequences import Recording, label
from sync_train.setting import make_setting
from sync_train.stage import delete_stage

ALL_STAGES = ("teacher", "ego-oracle", "adapter", "tas", "feature-tas")

TO_EGO = ("no-adaptation", "feature", "tas", "feature-tas")
"""Methods that may know no label of an ego video."""

ONE_EPOCH = {"max_epochs": 1, "selection": "last"}


def times_of(project: Any) -> dict[str, int]:
    """When each stage's weights were written."""
    files = {name: project.stage(name) / "model.safetensors" for name in ALL_STAGES}
    return {name: file.stat().st_mtime_ns for name, file in files.items() if file.exists()}


def score_again(project: Any, view: str, names: list[str]) -> dict[str, float]:
    """Score the teacher on disk by recordings' labels."""
    model, info = load_segmenter(project.stage("teacher"))
    setting = make_setting(load_project(project.root), project.config(device="cpu"))
    labeled = label(setting.source.recordings(view, names), setting.dataset, info.classes)
    return score_model(model, labeled, info.windowing)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_are_those_of_the_methods_model_on_whole_recordings(finished: Any, method: str) -> None:
    """Read again from disk: model, features and predictions."""
    project, _ = finished
    view = "v3" if method == "exo-oracle" else "e4"
    model, info = load_segmenter(project.stage(stages_of(TrainConfig(), method)[-1]))
    predicted = open_predictions(project.stage("predictions") / method / view)
    assert predicted.recordings == ["e0", "e1"]
    for name in predicted.recordings:
        stored = FeatureStore(project.store).read("tiny", view, name)
        rows_TD = torch.from_numpy(stored.features)
        (probabilities_TK,) = row_probabilities(model, [rows_TD], info.windowing)
        recording = Recording(name=name, rows_TD=rows_TD, timestamps=stored.timestamps)
        wanted = segments_of_probabilities(recording, probabilities_TK, info.classes)
        found = predicted.read(name)
        assert segments_to_csv(found) == segments_to_csv(wanted)
        half_ns = int(np.median(np.diff(stored.timestamps)) + 1) // 2
        assert found.span_ns == (stored.timestamps[0] - half_ns, stored.timestamps[-1] + half_ns)
        assert (found.start_ns[1:] == found.stop_ns[:-1]).all()
        assert (found.index_at(stored.timestamps, slack_ns=0) >= 0).all()


def test_predictions_say_what_they_are(finished: Any) -> None:
    project, _ = finished
    info = open_predictions(project.stage("predictions") / "feature-tas" / "e4").info
    assert (info.run, info.seed, info.method, info.view) == ("main", 0, "feature-tas", "e4")
    assert (info.kind, info.split, info.feature_set) == ("ego", "test", "tiny")
    assert info.classes == ("attach", "inspect", "screw")
    assert info.protocol is not None
    assert info.protocol["selection"] == "teacher held-out, adapter held-out, feature-tas held-out"
    exo = open_predictions(project.stage("predictions") / "exo-oracle" / "v3").info
    assert (exo.kind, exo.view) == ("exo", "v3")


@pytest.mark.parametrize("method", METHODS)
def test_predictions_name_their_weights(finished: Any, method: str) -> None:
    project, _ = finished
    info = open_predictions(project.stage("predictions") / method / ("v3" if "exo" in method else "e4")).info
    assert info.protocol is not None
    weights = project.weights(stages_of(TrainConfig(), method)[-1])
    assert info.protocol["model"] == hashlib.sha256(weights).hexdigest()


SMALLER = {"teacher": ONE_EPOCH, "student": ONE_EPOCH}


def test_settings_are_the_same_for_every_seed_and_in_any_company(project: Any) -> None:
    """Neither seed, nor which methods are asked for, nor what no result depends on makes a difference."""
    project.train(**SMALLER, methods=("exo-oracle", "tas"))
    project.train(**SMALLER, methods=("tas",), run="other", checkpoint_seconds=0.0, device="cpu", seeds=(2,))
    places = [{"seed": 0}, {"seed": 2, "run": "other"}]
    found = [
        open_predictions(project.stage("predictions", **place) / "tas" / "e4").info.protocol["settings"]
        for place in places
    ]
    assert len(set(found)) == 1 and re.fullmatch(r"[0-9a-f]{64}", found[0])
    oracle = open_predictions(project.stage("predictions") / "exo-oracle" / "v3").info.protocol
    assert oracle is not None and oracle["settings"] != found[0]


def test_a_stage_depends_on_the_weights_of_the_one_before(finished: Any, tmp_path: Path) -> None:
    """A teacher trained anew may end elsewhere, on a GPU: what was made with the old one isn't done then."""
    project = finished[0].copy(tmp_path)
    path = project.stage("teacher") / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    weights["c2f_tcn.outcc.conv.bias"] += 1e-4
    save_file(weights, path)
    for method, stage in (("feature", "adapter"), ("tas", "tas")):
        with pytest.raises(
            TrainingError, match=rf"{method}: .*{stage}: was trained with teacher = '\w+', now"
        ):
            project.train(methods=(method,))
    manifest = project.stage("predictions") / "no-adaptation" / "e4" / "predictions.json"
    before = open_predictions(manifest.parent).info.protocol["model"]
    project.train(methods=("no-adaptation",))
    after = open_predictions(manifest.parent).info.protocol["model"]
    assert after == hashlib.sha256(path.read_bytes()).hexdigest() != before


def test_a_student_depends_on_the_adapters_weights(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    path = project.stage("adapter") / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    weights["adapter.out.bias"] += 1e-4
    save_file(weights, path)
    with pytest.raises(TrainingError, match=r"feature-tas: .*was trained with adapter = '\w+', now"):
        project.train(methods=("feature-tas",))


def test_stages_on_pairs_say_how_well_those_are_joined(finished: Any) -> None:
    project, _ = finished
    setting = make_setting(load_project(project.root), project.config(device="cpu"))
    views = Views(teacher=setting.source, teacher_view="v3", student=setting.source, student_view="e4")
    pairs = read_pairs(views, ["a0", "a1", "a2"], PairsConfig(), tolerance_ns=None, min_coverage=0.5, seed=0)
    for stage in ALL_STAGES:
        provenance = json.loads((project.stage(stage) / "provenance.json").read_text())
        if stage in ("teacher", "ego-oracle"):
            assert "pairs" not in provenance
            continue
        found = provenance["pairs"]
        assert found["num_recordings"] == 3
        assert found["min_coverage"] == min(pair.coverage for pair in pairs)
        assert found["mean_coverage"] == pytest.approx(sum(pair.coverage for pair in pairs) / 3)
        assert found["max_distance_seconds"] == max(pair.max_distance_ns for pair in pairs) / 1e9 > 0


def test_the_config_on_disk_is_that_of_the_stages(finished: Any, tmp_path: Path) -> None:
    """A run that is refused leaves it; the refusal comes before anything is trained."""
    project = finished[0].copy(tmp_path)
    before = project.stage("config.json").read_text()
    delete_stage(project.stage("ego-oracle"))
    with pytest.raises(TrainingError, match=r"tas: .*tas: was trained with config.levels = "):
        project.train(student={"levels": (1,)})
    assert project.stage("config.json").read_text() == before
    assert not project.stage("ego-oracle").exists()
    project.train(student={"levels": (1,)}, methods=("no-adaptation",))
    assert json.loads(project.stage("config.json").read_text())["student"]["levels"] == [1]


def test_a_run_holds_config_journals_and_provenance(finished: Any) -> None:
    project, _ = finished
    config = json.loads((project.stage("config.json")).read_text())
    assert config["teacher"]["learning_rate"] == 1e-3 and config["student"]["weight_decay"] == 1e-4
    assert sorted(path.name for path in project.stage("").iterdir()) == sorted(
        [*ALL_STAGES, "predictions", "config.json"]
    )
    for stage in ALL_STAGES:
        lines = (project.stage(stage) / "journal.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
        provenance = json.loads((project.stage(stage) / "provenance.json").read_text())
        assert provenance["fingerprint"] == FeatureStore(project.store).feature_set("tiny")["fingerprint"]
        assert provenance["code"] and provenance["libraries"]["torch"]


def test_feature_distillation_leaves_the_teacher_as_it_is(finished: Any) -> None:
    project, _ = finished
    teacher = load_file(project.stage("teacher") / "model.safetensors")
    adapted = load_file(project.stage("adapter") / "model.safetensors")
    assert all(torch.equal(adapted[name], tensor) for name, tensor in teacher.items())
    assert {name.split(".")[0] for name in adapted.keys() - teacher.keys()} == {"adapter"}
    assert adapted["adapter.out.weight"].any()


def test_no_label_of_adaptation_or_test_videos_is_needed(project: Any, finished: Any) -> None:
    """Without them: the same weights and the same predictions, of the exo oracle too."""
    for name in ("a0", "a1", "a2", "e0", "e1"):
        project.label_file(name).unlink()
    project.train(methods=("exo-oracle", *TO_EGO))
    whole, _ = finished
    for stage in ("teacher", "adapter", "tas", "feature-tas"):
        assert project.weights(stage) == whole.weights(stage), stage
    for method in ("exo-oracle", *TO_EGO):
        view = "v3" if method == "exo-oracle" else "e4"
        assert project.predictions(method, view) == whole.predictions(method, view) != {}
    assert project.predictions("tas") != project.predictions("no-adaptation")


def test_no_ego_label_and_no_exo_test_video_is_ever_opened(project: Any, finished: Any) -> None:
    """Labels of adaptation and test are no labels at all, and what else must not be read is gone: the exo view
    of the test recordings, and the ego view of the labelled ones."""
    for name in ("a0", "a1", "a2", "e0", "e1"):
        project.label_file(name).write_bytes(b"\xff\xfe no labels")
    project.delete_features("v3", ["e0", "e1"])
    project.delete_features("e4", ["t0", "t1", "t2"])
    project.train(methods=TO_EGO)
    whole, _ = finished
    for stage in ("teacher", "adapter", "tas", "feature-tas"):
        assert project.weights(stage) == whole.weights(stage), stage
    for method in TO_EGO:
        assert project.predictions(method) == whole.predictions(method)


def test_the_published_selection_does_read_test_labels(project: Any) -> None:
    """It is asked for by its name, and its labels belong to what decides the result."""
    published = {"max_epochs": 1, "selection": "published-test-ego"}
    changed = {"methods": ("no-adaptation",), "teacher": published}
    labels = project.label_file("e1").read_bytes()
    project.label_file("e1").unlink()
    with pytest.raises(
        DatasetError, match="recording e1 has no labels, but is to be learnt from or selected on"
    ):
        project.train(**changed)
    project.label_file("e1").write_bytes(labels)
    project.train(**changed, overwrite=True)
    (line,) = (project.stage("teacher") / "journal.jsonl").read_text().splitlines()
    info = open_predictions(project.stage("predictions") / "no-adaptation" / "e4").info
    assert info.protocol is not None and info.protocol["selection"] == "teacher published-test-ego"
    assert json.loads(line).items() >= score_again(project, "e4", ["e0", "e1"]).items()
    project.label_file("e1").write_bytes(labels.replace(b"screw", b"attach"))
    with pytest.raises(TrainingError, match=r"no-adaptation: .*teacher: was trained with test_labels = "):
        project.train(**changed)


def test_student_and_standardisation_come_from_the_teacher(project: Any) -> None:
    """With level 1 alone, what gets no gradient must still be the teacher's."""
    project.train(
        methods=("tas",),
        standardize=True,
        teacher=ONE_EPOCH,
        student={**ONE_EPOCH, "levels": (1,)},
    )
    teacher = load_file(project.stage("teacher") / "model.safetensors")
    student = load_file(project.stage("tas") / "model.safetensors")
    same = {name for name, tensor in teacher.items() if torch.equal(student[name], tensor)}
    kept = {name for name in teacher if re.match(r"c2f_tcn\.(up4|outcc[0-3]?)\..*(weight|bias)$", name)}
    assert kept and kept <= same
    assert not any(name.startswith("c2f_tcn.up3.conv.conv.0") for name in same)
    pooled = [
        np.stack([rows[start : start + 2].max(0) for start in range(0, len(rows), 2)])
        for rows in (
            FeatureStore(project.store).read("tiny", "v3", name).features for name in ("t0", "t1", "t2")
        )
    ]
    for model in (teacher, student):
        everything = np.concatenate(pooled).astype(np.float64)
        np.testing.assert_allclose(model["standardizer.mean_D"], everything.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model["standardizer.deviation_D"], everything.std(0), rtol=1e-5)


def test_selection_holds_out_recordings_of_the_training_split(project: Any) -> None:
    """The score in the journal is that of the recording held out, and the rest alone is learnt from."""
    learn, held_out = hold_out(["t0", "t1", "t2"], 0.15, 0)
    project.train(methods=("exo-oracle",), teacher={"max_epochs": 1})
    (line,) = (project.stage("teacher") / "journal.jsonl").read_text().splitlines()
    assert json.loads(line).items() >= score_again(project, "v3", held_out).items()
    weights = project.weights("teacher")
    (project.root / "splits" / "train.txt").write_text("\n".join(learn))
    project.train(methods=("exo-oracle",), teacher=ONE_EPOCH, run="by-hand")
    assert project.weights("teacher", run="by-hand") == weights


def test_every_model_of_a_run_has_its_weights_of_levels(project: Any) -> None:
    """The adapter's and the students' models begin as the teacher's."""
    weights = (1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    once = {"teacher": ONE_EPOCH, "adapter": ONE_EPOCH, "student": ONE_EPOCH}
    project.train(**once, ensemble_weights=weights)
    for stage in ALL_STAGES:
        model, _ = load_segmenter(project.stage(stage))
        assert model.ensemble_weights == weights, stage
    for method in TO_EGO:
        model, info = load_segmenter(project.stage(stages_of(TrainConfig(), method)[-1]))
        stored = FeatureStore(project.store).read("tiny", "e4", "e0")
        rows_TD = torch.from_numpy(stored.features)
        (probabilities_TK,) = row_probabilities(model, [rows_TD], info.windowing)
        recording = Recording(name="e0", rows_TD=rows_TD, timestamps=stored.timestamps)
        wanted = segments_to_csv(segments_of_probabilities(recording, probabilities_TK, info.classes))
        assert project.predictions(method)["e0"] == wanted
    with pytest.raises(TrainingError, match=r"was trained with ensemble_weights = \[1.0, .*\], now None"):
        project.train(**once)


def test_one_training_recording_is_enough_for_the_last_epoch_only(project: Any) -> None:
    (project.root / "splits" / "train.txt").write_text("t0\n")
    with pytest.raises(
        TrainingError, match=r"exo-oracle: 1 recording can't be divided .*selection = \"last\""
    ):
        project.train(methods=("exo-oracle",))
    project.train(methods=("exo-oracle",), teacher=ONE_EPOCH, overwrite=True)
    assert project.predictions("exo-oracle", "v3")


def test_a_finished_run_is_skipped_without_reading_features(finished: Any, tmp_path: Path) -> None:
    """All rows are deleted; their attributes alone are left."""
    project = finished[0].copy(tmp_path)
    before = times_of(project)
    for file in project.store.glob("*/*/*/features/c/**/*"):
        if file.is_file():
            file.unlink()
    project.train()
    assert times_of(project) == before and len(before) == 5


def test_changed_settings_are_refused_and_named(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    message = (
        r"tas: .*seed-0/tas: was trained with config.levels = \[1, 2, 3, 4, 5, 6\], now \[1\]. Choose an"
    )
    with pytest.raises(TrainingError, match=message):
        project.train(methods=("tas",), student={"levels": (1,)})
    with pytest.raises(TrainingError, match=r"teacher: was trained with windowing.chunk_rows = 2, now 3"):
        project.train(chunk_rows=3)
    with pytest.raises(TrainingError, match=r"was trained with precision = 'float32', now 'bfloat16'"):
        project.train(methods=("tas",), precision="bfloat16")
    with pytest.raises(TrainingError, match=r"adapter: was trained with min_coverage = 0.5, now 0.4"):
        project.train(methods=("feature",), min_coverage=0.4)


def test_changed_features_and_labels_are_refused(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    pairs = project.store / "tiny" / "e4"
    (pairs / "a0").rename(tmp_path / "a0")
    (pairs / "a1").rename(pairs / "a0")
    (tmp_path / "a0").rename(pairs / "a1")
    with pytest.raises(TrainingError, match=r"tas: was trained with pairs.ego = '\w{64}', now '\w{64}'"):
        project.train(methods=("tas",))
    project.label_file("t1").write_text(project.label_file("t1").read_text().replace("screw", "attach"))
    with pytest.raises(TrainingError, match=r"teacher: was trained with labels = '\w{64}', now '\w{64}'"):
        project.train(methods=("exo-oracle",))


def test_what_doesnt_decide_the_result_may_change(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    before = times_of(project)
    project.train(checkpoint_seconds=1e6, methods=("tas", "no-adaptation"))
    assert times_of(project) == before


def test_overwrite_trains_anew_what_the_methods_need_and_nothing_else(finished: Any, tmp_path: Path) -> None:
    whole, _ = finished
    project = whole.copy(tmp_path)
    before = times_of(project)
    project.stage("predictions").joinpath("tas", "e4", "e0.csv").write_text("another one's\n")
    project.train(methods=("no-adaptation",), overwrite=True)
    after = times_of(project)
    assert {name for name, time in after.items() if time != before[name]} == {"teacher"}
    assert project.weights("teacher") == whole.weights("teacher")
    assert project.predictions("no-adaptation") == whole.predictions("no-adaptation")
    assert project.predictions("tas")["e0"] == b"another one's\n"


def test_interrupted_predictions_are_made_again(finished: Any, tmp_path: Path) -> None:
    """The manifest comes last; without it nothing of a set counts."""
    whole, _ = finished
    project = whole.copy(tmp_path)
    before = times_of(project)
    folder = project.stage("predictions") / "tas" / "e4"
    (folder / "predictions.json").unlink()
    (folder / "e0.csv").write_text("start_seconds,sto")
    (folder / "e1.csv").unlink()
    (folder / "e9.csv").write_text("of a recording that isn't in the split any more")
    project.train()
    assert project.predictions("tas") == whole.predictions("tas")
    assert times_of(project) == before


def test_other_chunk_sizes_of_prediction_train_nothing_anew(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    before, predicted = times_of(project), project.predictions("ego-oracle")
    project.train(methods=("ego-oracle",), tta_chunk_rows=(1, 2, 3))
    assert times_of(project) == before
    assert project.predictions("ego-oracle") != predicted
    model, info = load_segmenter(project.stage("ego-oracle"))
    stored = FeatureStore(project.store).read("tiny", "e4", "e0")
    rows = torch.from_numpy(stored.features)
    singles = [
        row_probabilities(model, [rows], Windowing(chunk_rows=size, max_chunks=32))[0] for size in (1, 2, 3)
    ]
    recording = Recording(name="e0", rows_TD=rows, timestamps=stored.timestamps)
    wanted = segments_of_probabilities(recording, torch.stack(singles).mean(0), info.classes)
    assert project.predictions("ego-oracle")["e0"] == segments_to_csv(wanted)


def test_a_loss_that_is_no_number_names_method_and_stage(project: Any) -> None:
    with pytest.raises(
        TrainingError, match=r"exo-oracle: .*teacher: loss of epoch \d is .*smaller learning_rate"
    ):
        project.train(methods=("exo-oracle",), teacher={"learning_rate": 1e30, "selection": "last"})


def test_a_label_that_isnt_one_of_the_stated_classes(project: Any) -> None:
    (project.root / "classes.txt").write_text("attach\ninspect\n")
    with pytest.raises(DatasetError, match="'screw' isn't one of the 2 classes"):
        project.train(methods=("exo-oracle",))


def test_distillation_adapts_without_a_label(build_project: Any, tmp_path: Path) -> None:
    """The point of it all: on the other view the teacher is worth little, and the student much."""
    project = build_project(tmp_path / "project", seconds=60.0)
    fit = {"max_epochs": 12, "batch_size": 1}
    project.train(
        methods=("no-adaptation", "feature", "tas"),
        max_chunks=384,
        teacher=fit,
        student=fit,
        adapter={"max_epochs": 40, "batch_size": 1, "optimizer": "adam"},
    )
    truth = read_truth(open_dataset(load_project(project.root)), "test")
    scores = {
        method: score_set(open_predictions(project.stage("predictions") / method / "e4"), truth).scores
        for method in ("no-adaptation", "feature", "tas")
    }
    assert scores["tas"].edit > 90 and scores["tas"].mof > 85 and scores["tas"].f1_50 > 90
    for measure, gain in (("edit", 20), ("mof", 40), ("f1_50", 50)):
        assert getattr(scores["tas"], measure) > getattr(scores["no-adaptation"], measure) + gain
    assert scores["feature"].mof > scores["no-adaptation"].mof + 30
