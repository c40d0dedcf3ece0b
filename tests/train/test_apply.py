"""`sync-train apply`: the predictions of a run, made once more from its saved models."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sync_store.errors import FingerprintError, IncompleteError, TrainingError
from sync_store.labels import NS_PER_SECOND, read_segments
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.apply import apply_model, load_model, open_features
from sync_train.cli import main

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("stage", "method", "view"),
    [
        ("tas", "tas", "e4"),
        ("feature-tas", "feature-tas", "e4"),
        ("teacher", "exo-oracle", "v3"),
        ("adapter", "feature", "e4"),
    ],
)
def test_a_stage_gives_the_predictions_of_its_run(
    finished: Any, tmp_path: Path, stage: str, method: str, view: str
) -> None:
    project, _ = finished
    applied = load_model(project.stage(stage), CPU)
    source = open_features(applied, project.store, None, CPU)
    written = apply_model(applied, source, view, ["e0", "e1"], tmp_path, probabilities=False).written
    assert written == [tmp_path / "e0.csv", tmp_path / "e1.csv"]
    assert {path.stem: path.read_bytes() for path in written} == project.predictions(method, view)
    assert len({path.name for path in tmp_path.iterdir()}) == 2


def test_the_command(finished: Any, tmp_path: Path) -> None:
    """Options beside it and before it; probabilities explain segments and confidences."""
    project, _ = finished
    options = ("--recording", "e1", "--probabilities", "--output", str(tmp_path / "out"), "--device", "cpu")
    done = project.run("--json", "apply", str(project.stage("tas")), *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"segments": [str(tmp_path / "out" / "e1.csv")], "failed": []}
    assert (tmp_path / "out" / "e1.csv").read_bytes() == project.predictions("tas")["e1"]

    with np.load(tmp_path / "out" / "e1.npz", allow_pickle=False) as stored:
        probabilities, timestamps, classes = (
            stored[key] for key in ("probabilities", "timestamps", "classes")
        )
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert timestamps.tolist() == FeatureStore(project.store).timestamps("tiny", "e4", "e1").tolist()
    segments = read_segments(tmp_path / "out" / "e1.csv")
    assert segments.confidence is not None
    for start, stop, name, confidence in zip(
        segments.start_ns, segments.stop_ns, segments.labels, segments.confidence, strict=True
    ):
        rows = (start <= timestamps) & (timestamps < stop)
        assert {classes[index] for index in probabilities[rows].argmax(axis=1)} == {name}
        assert confidence == pytest.approx(probabilities[rows].max(axis=1).mean(), abs=1e-4)
    assert segments.stop_ns[-1] - timestamps[-1] < NS_PER_SECOND


def test_by_default_all_recordings_of_the_ego_view(finished: Any, tmp_path: Path) -> None:
    project, _ = finished
    options = ("--project", str(project.root), "--output", str(tmp_path / "out"))
    done = CliRunner().invoke(main, ["apply", str(project.stage("tas")), *options])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"wrote 8 files to {tmp_path / 'out'}\n"
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_features_of_another_recipe_are_refused(project: Any, finished: Any, tmp_path: Path) -> None:
    other = FeatureSet(name="other", recipe={"backbone": "another"}, feature_dim=16)
    with RecordingWriter(
        project.store, other, "e4", "e0", timestamps=np.arange(8, dtype=np.int64) * 10**8, provenance={}
    ) as writer:
        writer.append(np.zeros((8, 16), np.float16))
        writer.commit()
    applied = load_model(finished[0].stage("tas"), CPU)
    own = FeatureStore(project.store).feature_set("tiny")["fingerprint"]
    both = (
        f"features other have fingerprint {other.fingerprint}, and the model is for those with {own} (tiny)"
    )
    with pytest.raises(FingerprintError, match=re.escape(both)):
        open_features(applied, project.store, "other", CPU)
    assert open_features(replace(applied, fingerprint=other.fingerprint), project.store, "other", CPU)


def test_what_is_not_there(finished: Any, tmp_path: Path) -> None:
    project, _ = finished
    applied = load_model(project.stage("tas"), CPU)
    with pytest.raises(IncompleteError, match=r"there is no feature set 'tinny', did you mean 'tiny'"):
        open_features(applied, project.store, "tinny", CPU)
    with pytest.raises(TrainingError, match=r"holds no model \(config\.json is missing\)"):
        load_model(tmp_path, CPU)
    assert asdict(applied.info)["feature_set"] == "tiny"


def test_recordings_that_cannot_be_read_do_not_stop_the_others(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    (shard,) = (project.store / "tiny" / "e4" / "e0" / "features").rglob("c/0/0")
    shard.write_bytes(shard.read_bytes()[:-9])
    names = ("--recording", "e0", "--recording", "e9", "--recording", "e1")
    options = ("--project", str(project.root), *names, "--output", str(tmp_path / "out"))
    command = ["apply", str(project.stage("tas")), *options]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 3
    damaged, missing, written = done.stderr.splitlines()
    assert damaged.startswith("failed: e4/e0: recording e0, view e4: ")
    assert missing.startswith("failed: e4/e9: recording e9, view e4: isn't in the store")
    assert written == f"wrote 1 files to {tmp_path / 'out'}"
    assert (tmp_path / "out" / "e1.csv").read_bytes() == project.predictions("tas")["e1"]
    done = CliRunner().invoke(main, [*command, "--json"])
    failed = json.loads(done.stdout)["failed"]
    assert done.exit_code == 3 and [each["recording"] for each in failed] == ["e0", "e9"]
    assert damaged.endswith(failed[0]["message"])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("--seed", "1", "apply"), "--seed doesn't go before apply."),
        (("--device", "cpu", "apply"), "--device doesn't go before apply."),
        (("--runs", "r", "apply"), "--runs doesn't go before apply."),
        (("--seed", "1", "export"), "--seed doesn't go before export."),
        (("--overwrite", "export"), "--overwrite doesn't go before export."),
        (("--quiet", "export"), "--quiet doesn't go before export."),
        (("--method", "tas", "export"), "--method doesn't go before export."),
    ],
)
def test_options_that_are_not_read_are_refused(finished: Any, typed: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(main, [*typed, str(finished[0].stage("tas"))])
    assert done.exit_code == 2 and message in done.stderr


def test_the_environment_is_read(finished: Any, tmp_path: Path) -> None:
    project, _ = finished
    variables = {
        "SYNC_PROJECT": str(project.root),
        "SYNC_RECORDING": "e1",
        "SYNC_OUTPUT": str(tmp_path / "out"),
        "SYNC_SEED": "5",
    }
    done = CliRunner(env=variables).invoke(main, ["apply", str(project.stage("tas"))])
    assert done.exit_code == 0 and [path.name for path in (tmp_path / "out").iterdir()] == ["e1.csv"]
    done = CliRunner(env=variables).invoke(main, ["export", "main"])
    assert done.exit_code == 1 and "has no finished tas of seed 5" in done.stderr


@pytest.mark.parametrize(
    ("views", "arguments", "message"),
    [
        (
            '[views.a]\nkind = "exo"\n[views.b]\nkind = "exo"\n',
            (),
            "has several views (a, b). Name one with --view",
        ),
        ('[views.a]\nkind = "exo"\n', ("--view", "b"), "there is no view 'b'; known: a"),
        (
            '[views.a]\nkind = "exo"\n',
            (),
            "has no features tiny of view a. Extract them with: sync-extract --view a",
        ),
        ('[views.a]\nkind = "exo"\n', ("--device", "tpu"), "device"),
    ],
)
def test_wrong_uses(
    finished: Any, tmp_path: Path, views: str, arguments: tuple[str, ...], message: str
) -> None:
    project, _ = finished
    (tmp_path / "sync.toml").write_text(f'[store]\npath = "{project.store}"\n{views}')
    done = CliRunner().invoke(
        main, ["apply", str(project.stage("tas")), "--project", str(tmp_path), *arguments]
    )
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
