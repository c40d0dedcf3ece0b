"""`sync-train retrieval` and `sync-train recognition`: what they write, skip, do again and never read.

In `tiny`, the views share nothing, so features of the one are worth nothing for the other, until an adapter is trained
well or the ego features are made like the exo ones.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sync_experiments.experiment import read_experiment
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.cli import main
from sync_train.request import read_config

STRONG = (
    *("--set", "adapter.optimizer=adam", "--set", "adapter.learning_rate=0.005"),
    *("--set", "adapter.max_epochs=60", "--set", "recognition.max_epochs=30"),
)
LIKE_EXO = FeatureSet(
    name="like-exo", recipe={"backbone": "distilled"}, feature_dim=16, trained_on=("pairs",)
)
BOTH = ("retrieval", "recognition")
RETRIEVED = ("no-adaptation", "feature")
NUM_EGO_SEGMENTS = 11
"""Of e0 and e1; each has rows in both views."""


def write_like_exo(store: Path) -> None:
    """Ego rows that are the nearest exo ones with noise, as after a perfect distillation of the backbone."""
    for name in FeatureStore(store).recordings("tiny", "e4"):
        ego, exo = (FeatureStore(store).read("tiny", view, name) for view in ("e4", "v3"))
        nearest = np.abs(ego.timestamps[:, None] - exo.timestamps).argmin(axis=1)
        rows = exo.features[nearest] + np.random.default_rng(0).normal(0, 0.1, (len(nearest), 16))
        with RecordingWriter(store, LIKE_EXO, "e4", name, timestamps=ego.timestamps, provenance={}) as writer:
            writer.append(rows.astype(np.float16))
            writer.commit()


@pytest.fixture(scope="module")
def base(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With a second feature set of the ego view, and without the labels of adaptation pairs. Not to be changed."""
    project = tiny.copy(tmp_path_factory.mktemp("checks"))
    write_like_exo(project.store)
    for name in ("a0", "a1", "a2"):
        project.label_file(name).unlink()
    return project


@pytest.fixture(scope="module")
def checked(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both checks by the real commands. Not to be changed."""
    project = base.copy(tmp_path_factory.mktemp("checked"))
    for check in BOTH:
        done = project.run(check, *STRONG)
        assert done.returncode == 0, done.stderr
        (project.root / f"{check}.txt").write_text(done.stdout)
        (project.root / f"{check}.log").write_text(done.stderr)
    return project


@pytest.fixture
def project(base: Any, tmp_path: Path) -> Any:
    return base.copy(tmp_path)


def run(project: Any, *arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, [arguments[0], "--project", str(project.root), *arguments[1:]])


def results(done: Result) -> dict[tuple[str, int], dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return {(row["method"], row["seed"]): row for row in json.loads(done.stdout)["results"]}


def read(project: Any, check: str, method: str, **where: Any) -> dict[str, Any]:
    file = project.stage("checks", **where) / check / f"{method}.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def files(project: Any, check: str) -> dict[str, tuple[bytes, int]]:
    folder = project.stage("checks") / check
    return {path.stem: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.json")}


def without_provenance(content: bytes) -> dict[str, Any]:
    """What the seed decides, and not where the project lies."""
    return {name: value for name, value in json.loads(content).items() if name != "provenance"}


def test_retrieval_from_the_command_line(checked: Any) -> None:
    assert sorted(files(checked, "retrieval")) == ["feature", "no-adaptation"]
    adapted, plain = (read(checked, "retrieval", method) for method in ("feature", "no-adaptation"))
    for found, method in ((adapted, "feature"), (plain, "no-adaptation")):
        assert (found["check"], found["method"], found["seed"]) == ("retrieval", method, 0)
        assert found["num_segments"] == found["provenance"]["num_gallery"] == NUM_EGO_SEGMENTS
        assert found["provenance"]["num_without_rows"] == 0
    assert adapted["metrics"].keys() == {
        "recall_5",
        "recall_5_other_recordings",
        "chance",
        "chance_other_recordings",
    }
    assert adapted["metrics"]["recall_5"] == adapted["metrics"]["recall_5_other_recordings"] == 100
    assert plain["metrics"]["recall_5"] < plain["metrics"]["chance"] < 95
    assert plain["metrics"]["chance"] == adapted["metrics"]["chance"]
    assert (plain["provenance"]["average"], adapted["provenance"]["average"]) == ("rows", "steps")
    header, *rows = (line.split() for line in (checked.root / "retrieval.txt").read_text().splitlines())
    assert header == ["method", "seed", "segments", *adapted["metrics"]]
    assert [row[:3] for row in rows] == [["no-adaptation", "0", "11"], ["feature", "0", "11"]]
    assert rows[0][3:] == [f"{value:.2f}" for value in plain["metrics"].values()]


def test_recognition_from_the_command_line(checked: Any) -> None:
    """Oracles know their view, the adapter brings the other one near, and without it nothing is right."""
    order = ["exo-oracle", "random", "ego-oracle", "no-adaptation", "feature"]
    found = {method: read(checked, "recognition", method) for method in order}
    accuracy = {method: found[method]["metrics"]["accuracy"] for method in order}
    assert accuracy["random"] == pytest.approx(100 / 3)
    assert accuracy["exo-oracle"] == accuracy["ego-oracle"] == accuracy["feature"] == 100
    assert accuracy["no-adaptation"] < 20
    for method in order:
        assert found[method]["metrics"].keys() == {"accuracy", "balanced_accuracy"}
        assert found[method]["num_segments"] == NUM_EGO_SEGMENTS
    assert found["feature"]["provenance"]["settings"]["hidden_dim"] == 512
    table = (checked.root / "recognition.txt").read_text().splitlines()
    assert [line.split()[0] for line in table] == ["method", *order]
    log = (checked.root / "recognition.log").read_text()
    for network in ("v3-rows", "e4-rows", "v3-steps"):
        assert f"seed 0, recognition {network}: kept epoch" in log
        assert (checked.stage("checks") / "recognition" / network / "journal.jsonl").exists()
    assert "seed 0, adapter: done before" in log, "retrieval has trained it"


def test_labels_of_adaptation_pairs_arent_there(checked: Any) -> None:
    """All of the above was made without them."""
    assert {path.stem for path in (checked.root / "labels").iterdir()} == {"t0", "t1", "t2", "e0", "e1"}


def test_the_run_is_that_of_sync_train(checked: Any, tmp_path: Path) -> None:
    """Which takes its teacher and adapter as they are, and has a config to read."""
    project = checked.copy(tmp_path)
    assert json.loads(project.stage("config.json").read_text())["methods"] == ["exo-oracle", *RETRIEVED]
    results_of = {stage: project.stage(stage) / "result.json" for stage in ("teacher", "adapter")}
    before = {stage: file.stat().st_mtime_ns for stage, file in results_of.items()}
    project.train(
        methods=("feature",), adapter={"optimizer": "adam", "learning_rate": 0.005, "max_epochs": 60}
    )
    assert {stage: file.stat().st_mtime_ns for stage, file in results_of.items()} == before
    assert sorted(project.predictions("feature")) == ["e0", "e1"]
    assert json.loads(project.stage("config.json").read_text())["methods"] == ["feature"]


def test_what_is_done_isnt_done_again_and_what_has_changed_is(checked: Any, tmp_path: Path) -> None:
    project = checked.copy(tmp_path)
    for check in BOTH:
        before = files(project, check)
        results(run(project, check, *STRONG, "--json"))
        assert files(project, check) == before
        results(run(project, check, *STRONG, "--json", "--overwrite"))
        again = files(project, check)
        assert {name: without_provenance(content) for name, (content, _) in again.items()} == {
            name: without_provenance(content) for name, (content, _) in before.items()
        }
        assert all(again[name][1] > before[name][1] for name in before)
    k1 = results(run(project, "retrieval", *STRONG, "--set", "retrieval.k=1", "--json"))
    assert {"recall_1", "chance"} < k1["feature", 0]["metrics"].keys()
    assert read(project, "retrieval", "feature")["metrics"] == k1["feature", 0]["metrics"]
    before = files(project, "recognition")
    results(run(project, "recognition", *STRONG, "--set", "recognition.hidden_dim=8", "--json"))
    assert all(files(project, "recognition")[name] != before[name] for name in before)


def test_changed_labels_features_and_damaged_results_are_noticed(project: Any) -> None:
    arguments = ("retrieval", "--method", "no-adaptation", "--json")
    first = results(run(project, *arguments))["no-adaptation", 0]
    file = Path(first["file"])
    file.write_text("{")
    assert results(run(project, *arguments))["no-adaptation", 0] == first
    labels = project.label_file("e0")
    labels.write_text(labels.read_text().replace("screw", "inspect"))
    relabelled = results(run(project, *arguments))["no-adaptation", 0]
    assert relabelled["inputs"]["labels"] != first["inputs"]["labels"]
    assert relabelled["metrics"] != first["metrics"]
    assert relabelled["inputs"]["settings"] == first["inputs"]["settings"]
    distilled = results(run(project, *arguments, "--ego-feature-set", "like-exo"))["no-adaptation", 0]
    assert distilled["inputs"]["gallery"] != first["inputs"]["gallery"]


def test_changed_background_classes_are_noticed(project: Any) -> None:
    """Their segments are neither queries nor in the gallery."""
    arguments = ("retrieval", "--method", "no-adaptation", "--json")
    first = results(run(project, *arguments))["no-adaptation", 0]
    toml = project.root / "sync.toml"
    toml.write_text(toml.read_text().replace("[dataset]\n", '[dataset]\nbackground = ["screw"]\n'))
    without = results(run(project, *arguments))["no-adaptation", 0]
    assert without["inputs"]["settings"] != first["inputs"]["settings"]
    assert without["num_segments"] < first["num_segments"]
    assert read(project, "retrieval", "no-adaptation")["metrics"] == without["metrics"]


@pytest.mark.parametrize("name", ["retrieval", "supp-table5"])
def test_the_tables_of_checks_say_how_to_compare_alike(project: Any, name: str) -> None:
    experiment = read_experiment(name)
    (note,) = (note for note in experiment.notes if f"sync-train experiment {name} --set " in note)
    config = read_config(load_project(project.root), {}, (note.rsplit("--set ")[-1],))
    assert getattr(config, experiment.measure).average == "steps"


@pytest.mark.parametrize("average", ["rows", "steps"])
def test_a_distilled_backbone_needs_no_adapter(project: Any, average: str) -> None:
    """The paper's "Ours" in both: no-adaptation on ego features of another set."""
    options = ("--method", "no-adaptation", "--ego-feature-set", "like-exo", "--json")
    for check, metric in (("retrieval", "recall_5_other_recordings"), ("recognition", "accuracy")):
        found = results(run(project, check, *options, "--set", f"{check}.average={average}"))
        (row,) = found.values()
        assert row["metrics"][metric] == 100
        assert row["provenance"]["ego_features"]["feature_set"] == "like-exo"
        assert row["provenance"]["average"] == average
    assert not project.stage("teacher").exists(), "nothing needs it"


def test_seeds_and_directions(project: Any) -> None:
    """The other direction swaps queries and gallery; settings of all seeds have one digest."""
    seeds = ("--seed", "0", "--seed", "1")
    found = results(run(project, "recognition", *seeds, "--method", "ego-oracle", "--json"))
    assert {seed for _, seed in found} == {0, 1}
    assert len({row["inputs"]["settings"] for row in found.values()}) == 1
    options = ["--direction", "ego-to-exo", "retrieval", "--project", str(project.root)]
    done = CliRunner().invoke(main, [*options, "--method", "no-adaptation", "--json", "--run", "back"])
    back = results(done)["no-adaptation", 0]
    there = results(run(project, "retrieval", "--method", "no-adaptation", "--json"))["no-adaptation", 0]
    assert back["inputs"]["queries"] == there["inputs"]["gallery"]
    assert back["inputs"]["gallery"] == there["inputs"]["queries"]
    assert back["inputs"]["settings"] != there["inputs"]["settings"]


def test_standardising_takes_the_statistics_of_the_teacher(project: Any) -> None:
    """An adapter that has learnt nothing is the identity, so behind the teacher's statistics both see the same."""
    toml = project.root / "sync.toml"
    toml.write_text(toml.read_text().replace("[train]\n", "[train]\nstandardize = true\n"))
    still = ("--set", "adapter.learning_rate=1e-30", "--set", "adapter.max_epochs=1")
    found = results(run(project, "retrieval", *still, "--set", "retrieval.average=steps", "--json"))
    assert found["feature", 0]["metrics"] == found["no-adaptation", 0]["metrics"]
    assert "standardized_on" in found["feature", 0]["inputs"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("retrieval", "--method", "exo-oracle"), 2, "is not one of 'no-adaptation', 'feature'"),
        (("retrieval", "--set", "retrieval.k=0"), 1, "k must be at least 1, got 0"),
        (("retrieval", "--set", "retrieval.distance=l1"), 1, "distance"),
        (("recognition", "--set", "recognition.num_layer=1"), 1, "did you mean 'num_layers'?"),
        (("recognition", "--ego-feature-set", "like_exo"), 1, "like_exo"),
    ],
)
def test_wrong_usage_is_one_line(project: Any, arguments: Sequence[str], status: int, message: str) -> None:
    done = run(project, *arguments)
    assert done.exit_code == status and message in done.stderr and "Traceback" not in done.stderr
    assert status == 2 or done.stderr.count("\n") == 1
    assert not (project.root / "runs").exists()


def test_a_method_before_the_command_is_refused(project: Any) -> None:
    done = CliRunner().invoke(main, ["--method", "feature", "retrieval", "--project", str(project.root)])
    assert done.exit_code == 2 and "--method doesn't go before retrieval." in done.stderr


def test_missing_features_are_named(project: Any) -> None:
    project.delete_features("v3", ["e1"])
    done = run(project, "retrieval", "--method", "no-adaptation")
    assert done.exit_code == 1
    assert (
        "feature set tiny lacks recordings of view v3: 1 (e1). Extract them with: sync-extract" in done.stderr
    )


def test_an_adapter_of_other_settings_is_refused(checked: Any) -> None:
    done = run(checked, "recognition", *STRONG, "--set", "adapter.learning_rate=0.5")
    assert done.exit_code == 1
    assert (
        "adapter: was trained with config.learning_rate = 0.005, now 0.5. Choose another name" in done.stderr
    )


def test_segments_without_rows_are_said(project: Any) -> None:
    file = project.label_file("e0")
    file.write_text(file.read_text() + "500,501,screw\n")
    done = run(project, "recognition", "--method", "exo-oracle", "--set", "recognition.max_epochs=1")
    assert done.exit_code == 0, done.output
    assert (
        "WARNING: view v3: 1 of 12 segments of the test split have no row and aren't counted" in done.stderr
    )
    found = read(project, "recognition", "exo-oracle")
    assert (found["num_segments"], found["provenance"]["num_without_rows"]) == (11, 1)


def test_one_view_is_enough_for_its_oracle(project: Any) -> None:
    """And for guessing."""
    toml = project.root / "sync.toml"
    toml.write_text(toml.read_text().replace('[views.e4]\nkind = "ego"\n', ""))
    (project.root / "splits" / "adapt.txt").unlink()
    options = ("--method", "exo-oracle", "--method", "random", "--json")
    found = results(run(project, "recognition", *options))
    assert found["exo-oracle", 0]["metrics"]["accuracy"] > found["random", 0]["metrics"]["accuracy"]
    done = run(project, "retrieval")
    assert done.exit_code == 1 and "this project has one view" in done.stderr
