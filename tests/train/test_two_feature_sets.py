"""Ego rows from another feature set than exo rows, as a backbone that was itself distilled makes them.

The set `teacher` has the exo view alone and `distilled` the ego view alone. `joint` has the rows of both under one
name, so a run on it is the reference: the same weights and predictions.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_store.errors import IncompleteError, ProjectError, TrainingError
from sync_store.layout import FeatureSet
from sync_store.predictions import METHODS, PredictionInfo, open_predictions
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.checkpoint import load_segmenter
from sync_train.journal import read_journal
from sync_train.protocol import settings_digest, stage_settings, stages_of
from sync_train.readiness import check_setting
from sync_train.setting import Setting, make_setting

EXO_LABELS = ("tsm_rgb.ckpt", "labels of train, view v3")
TEACHER = FeatureSet(name="teacher", recipe={"backbone": "a"}, feature_dim=16, trained_on=EXO_LABELS)
DISTILLED = FeatureSet(
    name="distilled", recipe={"backbone": "b"}, feature_dim=16, trained_on=(*EXO_LABELS, "pairs of adapt")
)
JOINT = FeatureSet(name="joint", recipe={"backbone": "c"}, feature_dim=16)
WIDE = FeatureSet(name="wide", recipe={"backbone": "d"}, feature_dim=32)

NAMES = ("t0", "t1", "t2", "a0", "a1", "a2", "e0", "e1")
TWO = {"feature_set": "teacher", "ego_feature_set": "distilled", "device": "cpu"}
TO_EGO = ("no-adaptation", "feature", "tas", "feature-tas")
QUICK: dict[str, Any] = {
    "teacher": {"max_epochs": 1},
    "adapter": {"max_epochs": 1},
    "student": {"max_epochs": 1},
}


def write(store: Path, of_set: FeatureSet, view: str, name: str) -> None:
    """The rows that `tiny` has of the exo view; of the ego view its rows halved, which no other set has."""
    stored = FeatureStore(store).read("tiny", view, name)
    rows = stored.features if view == "v3" else stored.features / np.float16(2)
    rows = np.resize(rows, (len(rows), of_set.feature_dim))
    with RecordingWriter(store, of_set, view, name, timestamps=stored.timestamps, provenance={}) as writer:
        writer.append(rows)
        writer.commit()


def write_sets(store: Path) -> None:
    for name in NAMES:
        write(store, TEACHER, "v3", name)
        write(store, DISTILLED, "e4", name)
        for view in ("v3", "e4"):
            write(store, JOINT, view, name)


@pytest.fixture(scope="module")
def untrained(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Not to be changed."""
    project = tiny.copy(tmp_path_factory.mktemp("untrained"))
    write_sets(project.store)
    return project


@pytest.fixture
def two(untrained: Any, tmp_path: Path) -> Any:
    """Untrained, the test's own."""
    return untrained.copy(tmp_path)


@pytest.fixture(scope="module")
def trained(untrained: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every method on both sets in run `two`, and on the reference in run `one`. Not to be changed."""
    project = untrained.copy(tmp_path_factory.mktemp("trained"))
    project.train(**TWO, **QUICK, run="two")
    project.train(**QUICK, feature_set="joint", device="cpu", run="one")
    return project


def setting_of(project: Any, **changed: Any) -> Setting:
    return make_setting(load_project(project.root), project.config(**{**TWO, **changed}))


def info_of(project: Any, method: str, run: str = "two") -> PredictionInfo:
    view = "v3" if method == "exo-oracle" else "e4"
    return open_predictions(project.stage("predictions", run=run) / method / view).info


@pytest.mark.parametrize("stage", ["teacher", "ego-oracle", "adapter", "tas", "feature-tas"])
def test_weights_are_those_of_one_set_with_the_rows_of_both(trained: Any, stage: str) -> None:
    assert trained.weights(stage, run="two") == trained.weights(stage, run="one")


@pytest.mark.parametrize("method", METHODS)
def test_predictions_are_those_of_one_set_with_the_rows_of_both(trained: Any, method: str) -> None:
    view = "v3" if method == "exo-oracle" else "e4"
    found = trained.predictions(method, view, run="two")
    assert found == trained.predictions(method, view, run="one") != {}


def test_the_published_selection_scores_rows_of_the_ego_set(two: Any) -> None:
    published = {"max_epochs": 1, "selection": "published-test-ego"}
    changed = {"teacher": published, "student": published, "methods": ("tas",), "device": "cpu"}
    two.train(**{**changed, **TWO}, run="two")
    two.train(**changed, feature_set="joint", run="one")
    for stage in ("teacher", "tas"):
        journals = [read_journal(two.stage(stage, run=run) / "journal.jsonl") for run in ("two", "one")]
        assert journals[0] == journals[1] and "mof" in journals[0][0]


def test_manifests_name_both_sets_where_a_teacher_of_one_was_given_the_other(trained: Any) -> None:
    for method in METHODS:
        info = info_of(trained, method)
        sets = (info.teacher_feature_set, info.feature_set)
        if method in TO_EGO:
            assert sets == ("teacher", "distilled")
            assert info.trained_on == (*EXO_LABELS, "pairs of adapt")
        else:
            wanted = TEACHER if method == "exo-oracle" else DISTILLED
            assert sets == (None, wanted.name) and info.trained_on == wanted.trained_on


def test_what_the_teachers_backbone_alone_saw_is_among_it(two: Any) -> None:
    """Here the ego view's features come from a backbone that has seen nothing."""
    two.train(**{**TWO, **QUICK, "ego_feature_set": "joint"}, run="two", methods=("no-adaptation",))
    info = info_of(two, "no-adaptation")
    assert (info.feature_set, info.trained_on) == ("joint", EXO_LABELS)


def test_models_know_the_set_that_they_learnt_on(trained: Any) -> None:
    for stage in ("teacher", "ego-oracle", "adapter", "tas", "feature-tas"):
        _, info = load_segmenter(trained.stage(stage, run="two"))
        wanted = TEACHER if stage == "teacher" else DISTILLED
        assert (info.feature_set, info.fingerprint) == (wanted.name, wanted.fingerprint), stage


def test_provenance_names_both_sets(trained: Any) -> None:
    provenance = json.loads((trained.stage("tas", run="two") / "provenance.json").read_text())
    assert (provenance["feature_set"], provenance["fingerprint"]) == ("teacher", TEACHER.fingerprint)
    assert provenance["trained_on"] == list(EXO_LABELS)
    assert provenance["ego_features"] == {
        "feature_set": "distilled",
        "fingerprint": DISTILLED.fingerprint,
        "trained_on": list(DISTILLED.trained_on),
    }


def test_changed_ego_features_are_refused(trained: Any, tmp_path: Path) -> None:
    """The teacher isn't done again, since the ego view has no part in it; no-adaptation is predicted again."""
    project = trained.copy(tmp_path)
    changed = {**TWO, **QUICK, "ego_feature_set": "joint", "run": "two"}
    file = project.stage("teacher", run="two") / "model.safetensors"
    before = file.stat().st_mtime_ns
    project.train(**changed, methods=("exo-oracle", "no-adaptation"))
    assert file.stat().st_mtime_ns == before
    assert info_of(project, "no-adaptation").feature_set == "joint"
    with pytest.raises(TrainingError, match=r"tas: was trained with pairs.ego = '\w{64}', now '\w{64}'"):
        project.train(**changed, methods=("tas",))


def digest_by_hand(setting: Setting, method: str, **more: Any) -> str:
    """What it was before there was a choice of two sets, and `more`."""
    splits = {"train": "train", "adapt": "adapt", "test": "test"}
    if method in ("exo-oracle", "ego-oracle", "no-adaptation"):
        del splits["adapt"]
    table = {
        "stages": [stage_settings(setting, stage) for stage in stages_of(setting.config, method)],
        "views": ["v3", "e4"],
        "splits": splits,
        "classes": ["attach", "inspect", "screw"],
        "tta_chunk_rows": [],
        **more,
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("method", METHODS)
def test_settings_tell_the_sets_where_both_decide_the_result(untrained: Any, method: str) -> None:
    sets = {"feature_sets": ["teacher", "distilled"]} if method in TO_EGO else {}
    setting = setting_of(untrained)
    assert settings_digest(setting, method) == digest_by_hand(setting, method, **sets)
    setting = setting_of(untrained, feature_set="joint", ego_feature_set="joint")
    assert settings_digest(setting, method) == digest_by_hand(setting, method)


def test_the_published_selection_makes_the_exo_oracle_depend_on_ego_features(untrained: Any) -> None:
    setting = setting_of(untrained, methods=("exo-oracle",), teacher={"selection": "published-test-ego"})
    assert setting.ego_source.feature_set == "distilled"
    wanted = digest_by_hand(setting, "exo-oracle", feature_sets=["teacher", "distilled"])
    assert settings_digest(setting, "exo-oracle") == wanted
    assert settings_digest(setting, "ego-oracle") == digest_by_hand(setting, "ego-oracle")


def test_the_same_set_twice_is_one(finished: Any, tmp_path: Path) -> None:
    """Everything that a run without the option has made is taken as it is, to the byte."""
    project = finished[0].copy(tmp_path)
    files = {path: path.read_bytes() for path in project.stage("").rglob("*") if path.is_file()}
    project.train(ego_feature_set="tiny", feature_set="tiny")
    changed = {path.name for path, content in files.items() if path.read_bytes() != content}
    assert changed == {"config.json"}, "of the run, which says how it was called"
    setting = setting_of(project, feature_set="tiny", ego_feature_set="tiny")
    assert setting.ego_source is setting.source and "ego_features" not in setting.provenance
    assert all(b"teacher_feature_set" not in content for content in files.values())


def test_the_ego_set_is_opened_only_where_ego_rows_are_read(untrained: Any) -> None:
    message = "there is no feature set 'distiled', did you mean 'distilled'?"
    with pytest.raises(IncompleteError, match=re.escape(message)):
        setting_of(untrained, ego_feature_set="distiled")
    setting = setting_of(untrained, ego_feature_set="distiled", methods=("exo-oracle",))
    check_setting(setting)
    assert setting.ego_source is setting.source


def test_widths_must_be_equal(two: Any) -> None:
    write(two.store, WIDE, "e4", "t0")
    message = (
        "feature set teacher has 16 features a row, and wide of the ego view 32: a teacher of the one can't read "
        "the other. Choose an --ego-feature-set of the same width"
    )
    with pytest.raises(ProjectError, match=re.escape(message)):
        setting_of(two, ego_feature_set="wide")


def test_missing_features_name_the_set_of_the_view(two: Any) -> None:
    check_setting(setting_of(two))
    (two.store / "distilled/e4/a1").rename(two.root / "a1")
    ego = (
        "feature set distilled lacks recordings of view e4: 1 (a1). Extract them with: sync-extract --feature-set "
        "distilled --view e4"
    )
    with pytest.raises(IncompleteError, match=f"^{re.escape(ego)}$"):
        check_setting(setting_of(two))
    (two.store / "teacher/v3/t1").rename(two.root / "t1")
    exo = (
        "feature set teacher lacks recordings of view v3: 1 (t1). Extract them with: sync-extract --feature-set "
        "teacher --view v3"
    )
    with pytest.raises(IncompleteError, match=f"^{re.escape(exo)}; {re.escape(ego)}$"):
        check_setting(setting_of(two))


def test_the_command_and_the_table(two: Any) -> None:
    """Lines 5 and 6 of the paper's Table 1: the same teacher, on other features of the ego view."""
    options = ("--device", "cpu", "--method", "no-adaptation")
    two.train(**QUICK, feature_set="joint", device="cpu", run="plain", methods=("no-adaptation",))
    sets = ("--feature-set", "teacher", "--ego-feature-set", "distilled")
    done = two.run(*sets, *options, "--run", "distilled")
    assert done.returncode == 0, done.stderr
    table = two.run(program="sync-eval")
    assert table.returncode == 0, table.stderr
    lines = table.stdout.splitlines()
    assert [re.split(r"  +", line)[:3] for line in lines if line.startswith("no-adaptation")] == [
        ["no-adaptation", "plain", "joint"],
        ["no-adaptation†", "distilled", "teacher → distilled"],
    ]
    seen = "; ".join(DISTILLED.trained_on)
    assert lines[-1] == f"† The backbones of teacher → distilled were trained on: {seen}."
