"""`sync-train teacher`: one view, the field's splits and labels, from the store to the table and the plots."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sync_store.labels import read_segments
from sync_store.layout import FeatureSet
from sync_store.predictions import open_predictions
from sync_store.writer import RecordingWriter
from sync_train.checkpoint import load_segmenter

FPS = 10
CLASSES = ("SIL", "crack_egg", "pour_milk", "stir")
I3D = FeatureSet(
    name="i3d",
    recipe={"backbone": "made from labels"},
    feature_dim=16,
    trained_on=("Kinetics-400", "the test videos"),
)

BUNDLES = {
    "train.split1": ("P03_milk", "P04_milk", "P05_milk", "P06_milk"),
    "test.split1": ("P07_milk", "P08_milk"),
    "train.split2": ("P05_milk", "P06_milk", "P07_milk", "P08_milk"),
    "test.split2": ("P03_milk", "P04_milk"),
}
"""Cross-validation as Breakfast, GTEA and 50Salads have it."""

SETTINGS = """\
[dataset]
label_fps = 10

[views.cam01]
kind = "exo"

[train]
chunk_rows = 2
max_chunks = 64
tta_chunk_rows = [1, 2]
ensemble_weights = [1, 1, 1, 1, 0, 0]

[train.splits]
train = "train.split1"
test = "test.split1"

[train.teacher]
learning_rate = 1e-3
smoothing = 0.15
max_epochs = 8
batch_size = 1
selection = "last"

[evaluate]
unsegmented = ["SIL"]
"""


def write_project(root: Path) -> None:
    """Labels one a line, SIL at both ends; rows at the label rate that show the class beside noise."""
    for folder in ("labels", "splits"):
        (root / folder).mkdir(parents=True)
    (root / "sync.toml").write_text(SETTINGS)
    for split, names in BUNDLES.items():
        (root / "splits" / f"{split}.bundle").write_text("".join(f"{name}.txt\n" for name in names))
    prototypes = np.random.default_rng(9).choice([-2.0, 2.0], (len(CLASSES), I3D.feature_dim))
    for seed, name in enumerate(sorted({name for names in BUNDLES.values() for name in names})):
        rng = np.random.default_rng(seed)
        order = [0, *rng.permutation([1, 2, 3]), *rng.permutation([1, 2, 3]), 0]
        ids = np.repeat(order, rng.integers(8, 20, len(order)))
        (root / "labels" / f"{name}.txt").write_text("".join(f"{CLASSES[index]}\n" for index in ids))
        times = np.arange(len(ids), dtype=np.int64) * (10**9 // FPS)
        rows = prototypes[ids] + rng.normal(0, 1, (len(ids), I3D.feature_dim))
        with RecordingWriter(
            root / "features.zarr", I3D, "cam01", name, timestamps=times, provenance={}
        ) as writer:
            writer.append(rows.astype(np.float16))
            writer.commit()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, project_at: Callable[[Path], Any]) -> Any:
    """Not to be changed."""
    root = tmp_path_factory.mktemp("one-view") / "project"
    write_project(root)
    return project_at(root)


@pytest.fixture(scope="module")
def trained(untrained: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two splits, a run each. Not to be changed."""
    project = untrained.copy(tmp_path_factory.mktemp("trained"))
    for number in (1, 2):
        splits = ("--train-split", f"train.split{number}", "--test-split", f"test.split{number}")
        done = project.run("teacher", *splits, "--run", f"split{number}", "--seed", "42")
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        kept, run, hint = done.stderr.splitlines()
        assert re.match("seed 42, teacher: kept epoch 8 of 8, loss ", kept)
        assert run == f"run split{number}, seeds 42: {project.root / 'runs' / f'split{number}'}"
        assert hint == "Score it with: sync-eval"
    return project


def frames_of(path: Path, num_frames: int) -> list[str]:
    """Label of each frame of a predicted CSV file, found frame by frame."""
    found = read_segments(path)
    labels = []
    for frame in range(num_frames):
        time_ns = frame * (10**9 // FPS)
        (label,) = [
            label
            for start, stop, label in zip(found.start_ns, found.stop_ns, found.labels, strict=True)
            if start <= time_ns < stop
        ]
        labels.append(label)
    return labels


def test_nothing_but_the_teacher_and_its_own_view_is_made(trained: Any) -> None:
    for number in (1, 2):
        where = {"run": f"split{number}", "seed": 42}
        made = sorted(path.name for path in trained.stage("", **where).iterdir())
        assert made == ["config.json", "predictions", "teacher"]
        manifests = sorted(trained.stage("predictions", **where).rglob("predictions.json"))
        assert manifests == [trained.stage("predictions", **where) / "exo-oracle/cam01/predictions.json"]
        info = open_predictions(manifests[0].parent).info
        assert (info.view, info.kind, info.split) == ("cam01", "exo", f"test.split{number}")
        assert sorted(info.sha256 or {}) == sorted(BUNDLES[f"test.split{number}"])
        assert info.classes == CLASSES, "what forms no segments is learnt all the same"
        assert info.trained_on == I3D.trained_on
        provenance = json.loads((trained.stage("teacher", **where) / "provenance.json").read_text())
        assert provenance["exo"] == "cam01" and provenance["ego"] is None
        assert sorted(provenance["splits"]) == ["test", "train"]
        assert provenance["splits"]["train"] == list(BUNDLES[f"train.split{number}"])
        config = json.loads(trained.stage("config.json", **where).read_text())
        assert config["splits"]["test"] == f"test.split{number}" and config["methods"] == ["exo-oracle"]


def test_the_table_has_the_scores_of_the_published_metric_code(trained: Any, tmp_path: Path) -> None:
    """Predictions and labels as one label a line, SIL as background, each split by itself."""
    rows = json.loads(trained.run("--json", program="sync-eval").stdout)["rows"]
    assert [(row["method"], row["run"], row["split"]) for row in rows] == [
        ("exo-oracle", "split1", "test.split1"),
        ("exo-oracle", "split2", "test.split2"),
    ]
    for row in rows:
        (predicted, true) = (tmp_path / row["run"] / side for side in ("predicted", "true"))
        predicted.mkdir(parents=True)
        true.mkdir()
        for name in BUNDLES[row["split"]]:
            labels = trained.root / "labels" / f"{name}.txt"
            shutil.copy(labels, true)
            found = frames_of(
                Path(row["per_seed"][0]["folder"]) / f"{name}.csv", len(labels.read_text().split())
            )
            (predicted / f"{name}.txt").write_text("\n".join(found))
        paths = ("--pred", str(predicted), "--gt", str(true), "--background", "SIL", "--json")
        wanted = json.loads(trained.run("score", *paths, program="sync-eval").stdout)
        names = ("edit", "f1_10", "f1_25", "f1_50", "mof", "num_frames", "num_sequences")
        assert {name: row[name] for name in names} == {name: wanted[name] for name in names}
        assert row["coverage"] == 1 and row["unsegmented"] == ["SIL"]
        assert row["mof"] > 80, "the features show the classes"


def test_the_table_and_the_plots_of_one_split(trained: Any, tmp_path: Path) -> None:
    table = trained.run("runs/split1", program="sync-eval")
    assert table.returncode == 0 and table.stderr == ""
    heading, _, row, _, shared, backbone = table.stdout.splitlines()
    assert heading.split() == ["method", "view", "Edit", "F1@10", "F1@25", "F1@50", "MoF", "coverage"]
    assert row.split()[:2] == ["exo-oracle†", "cam01"] and row.split()[-1] == "100.0%"
    assert shared.startswith("run split1; features i3d; split test.split1; sequences 2; frames ")
    assert shared.endswith("; protocol masked; no segments of SIL.")
    assert backbone == "† The backbone of i3d was trained on: Kinetics-400; the test videos."
    plots = trained.run("plot", "--output", str(tmp_path), program="sync-eval")
    assert plots.returncode == 0, plots.stderr
    names = {*BUNDLES["test.split1"], *BUNDLES["test.split2"]}
    assert {Path(line).stem for line in plots.stdout.splitlines()} == names
    for line in plots.stdout.splitlines():
        with Image.open(line) as image:
            assert image.format == "PNG"


def test_the_ensemble_of_the_settings_is_that_of_the_model(trained: Any) -> None:
    model, info = load_segmenter(trained.stage("teacher", run="split1", seed=42))
    assert model.ensemble_weights == info.ensemble_weights == (1, 1, 1, 1, 0, 0)


def test_no_label_of_the_test_split_is_opened(untrained: Any, trained: Any, tmp_path: Path) -> None:
    project = untrained.copy(tmp_path)
    for name in BUNDLES["test.split1"]:
        (project.root / "labels" / f"{name}.txt").write_bytes(b"\xff\xfe no labels")
    done = project.run("--run", "split1", "teacher", "--seed", "42", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    where = {"run": "split1", "seed": 42}
    assert project.weights("teacher", **where) == trained.weights("teacher", **where)
    assert project.predictions("exo-oracle", "cam01", **where) == (
        trained.predictions("exo-oracle", "cam01", **where)
    )


def test_with_two_views_it_makes_what_the_bare_command_makes(project: Any, finished: Any) -> None:
    """Without reading the ego view or the pairs."""
    for name in ("t0", "t1", "t2", "a0", "a1", "a2", "e0", "e1"):
        project.delete_features("e4", [name])
    (project.root / "splits" / "adapt.txt").unlink()
    done = project.run("teacher", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run": "main", "seeds": {"0": str(project.stage(""))}}
    whole, _ = finished
    assert project.weights("teacher") == whole.weights("teacher")
    assert project.predictions("exo-oracle", "v3") == whole.predictions("exo-oracle", "v3") != {}
    manifests = [
        open_predictions(place.stage("predictions") / "exo-oracle" / "v3").info for place in (project, whole)
    ]
    assert manifests[0] == manifests[1]
    assert sorted(path.name for path in project.stage("predictions").iterdir()) == ["exo-oracle"]


def test_options_come_before_or_after_the_command_and_from_the_environment(untrained: Any) -> None:
    """The last word is the one after it. Names that can't be show which was taken."""
    for arguments, variables, taken in (
        (("--run", "../a", "teacher"), {}, "../a"),
        (("--run", "../a", "teacher", "--run", "../b"), {}, "../b"),
        (("teacher", "--run", "../b"), {"SYNC_RUN": "../c"}, "../b"),
        (("teacher",), {"SYNC_METHOD": "tas", "SYNC_RUN": "../c"}, "../c"),
    ):
        done = untrained.run(*arguments, **variables)
        assert done.returncode == 1 and f"run name {taken!r}" in done.stderr
    seed = str(2**32)
    typed = ("--project", "sync.toml", "--seed", seed, "teacher")
    done = untrained.run(*typed, SYNC_PROJECT="labels", SYNC_SEED="5")
    assert done.returncode == 1 and f"got [{seed}]" in done.stderr
    done = untrained.run("teacher", SYNC_TEST_SPLIT="test.split7")
    assert done.returncode == 1 and "test.split7.txt: there is no such split" in done.stderr
    assert not (untrained.root / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            (),
            1,
            "sync.toml: this project has one view: train with sync-train teacher, or add the ego view that ",
        ),
        (
            ("--method", "ego-oracle"),
            1,
            "train with sync-train teacher, or add the ego view that ego-oracle needs",
        ),
        (
            ("teacher", "--train-split", "train.split3"),
            1,
            "splits/train.split3.txt: there is no such split; have: test.split1, test.split2, train.split1, train.",
        ),
        (
            ("teacher", "--test-split", "train.split1"),
            1,
            "recording P03_milk is in the splits of train and of test; they must be disjoint",
        ),
        (("--method", "tas", "teacher"), 2, "--method doesn't go before teacher."),
        (("teacher", "--method", "tas"), 2, "No such option"),
        (("teacher", "--ego", "cam01"), 2, "No such option"),
        (("student",), 2, "No such command 'student'"),
    ],
)
def test_what_one_view_cant_do_is_said_in_a_line(
    untrained: Any, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = untrained.run(*arguments)
    assert done.returncode == status and done.stdout == ""
    assert message in done.stderr and "Traceback" not in done.stderr
    assert status == 2 or done.stderr.count("\n") == 1
    assert not (untrained.root / "runs").exists()


def test_an_ego_view_is_no_source(tiny: Any) -> None:
    done = tiny.run("teacher", "--exo", "e4")
    assert done.returncode == 1 and done.stderr.endswith("sync.toml: view e4 isn't an exo view\n")


def test_help_of_the_command(untrained: Any) -> None:
    done = untrained.run("teacher", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--train-split", "--test-split", "--seed", "--project"))
