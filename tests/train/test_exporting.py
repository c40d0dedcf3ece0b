"""`sync-train export`: folders as the Hugging Face hub has them, read back by its own library."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from sync_store.errors import FingerprintError, IncompleteError, TrainingError
from sync_store.exported import ExtractSettings, read_recipe
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.apply import apply_model, load_model, open_features
from sync_train.card import Card, render_card
from sync_train.exporting import export_model, score_model_on_test
from sync_train.fit_config import StudentConfig
from sync_train.trained import feature_set_of, find_model, find_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with scores."""
    project, _ = finished
    folder = tmp_path_factory.mktemp("exported") / "model"
    done = project.run("export", "main", "--output", str(folder), "--license", "cc-by-nc-4.0")
    assert (done.returncode, done.stderr) == (0, f"wrote {folder}\n")
    return folder


def test_the_folder_has_the_model_and_what_it_reads(finished: Any, exported: Path) -> None:
    project, _ = finished
    assert sorted(path.name for path in exported.iterdir()) == [
        *("README.md", "config.json", "model.safetensors", "recipe.json")
    ]
    for name in ("config.json", "model.safetensors"):
        assert (exported / name).read_bytes() == (project.stage("tas") / name).read_bytes()
    recipe = read_recipe(exported)
    assert (recipe.run, recipe.seed, recipe.method, recipe.view, recipe.kind) == (
        "main",
        0,
        "tas",
        "e4",
        "ego",
    )
    stored = FeatureStore(project.store).feature_set("tiny")
    assert recipe.feature_set.recipe == stored["recipe"]
    assert recipe.feature_set.fingerprint == stored["fingerprint"]
    assert recipe.extract == ExtractSettings(), "rows made from labels come from no backbone"


def test_the_card_is_the_hubs_and_has_the_tables_scores(finished: Any, exported: Path) -> None:
    project, _ = finished
    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.library_name == "sync-tas"
    assert "temporal-action-segmentation" in card.data.tags
    table = project.run("--json", program="sync-eval")
    (row,) = (row for row in json.loads(table.stdout)["rows"] if row["method"] == "tas")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert found == {
        key: pytest.approx(row[key], abs=0.005) for key in ("edit", "f1_10", "f1_25", "f1_50", "mof")
    }
    assert {result.dataset_split for result in card.data.eval_results or []} == {"test"}
    for words in (
        f"{row['edit']:.2f}",
        "2 sequences",
        "Protocol masked",
        "train 3, adapt 3, test 2",
        "attach, inspect",
    ):
        assert words in card.text
    assert "standard deviation" not in card.text, "one seed has none"


def test_an_exported_model_predicts_as_its_run(finished: Any, exported: Path, tmp_path: Path) -> None:
    project, _ = finished
    applied = load_model(exported, CPU)
    source = open_features(applied, project.store, None, CPU)
    (path,) = apply_model(applied, source, "e4", ["e0"], tmp_path, probabilities=False).written
    assert path.read_bytes() == project.predictions("tas")["e0"]


def test_the_weights_of_another_model_are_refused(finished: Any, exported: Path, tmp_path: Path) -> None:
    """Of the very same shapes, as the teacher's are."""
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    shutil.copyfile(finished[0].stage("teacher") / "model.safetensors", folder / "model.safetensors")
    message = (
        r"model\.safetensors: isn't the file that was exported \(SHA-256 .* export it again with sync-train"
    )
    with pytest.raises(TrainingError, match=message):
        load_model(folder, CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"holds no weights \(model\.safetensors is missing\)"):
        load_model(folder, CPU)


def test_other_methods_and_no_scores_need_no_labels(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    shutil.rmtree(project.root / "labels")
    done = project.run("export", "main", "--method", "exo-oracle", "--no-scores", "--json")
    assert done.returncode == 0, done.stderr
    said = {"folder": "main-exo-oracle", "run": "main", "method": "exo-oracle", "seed": 0}
    assert json.loads(done.stdout) == said
    card = ModelCard.load(project.root / "main-exo-oracle" / "README.md")
    assert card.data.license is None and card.data.eval_results is None
    assert "None were counted" in card.text and "egocentric" not in card.data.tags

    refused = project.run("export", "main", "--output", "other")
    assert refused.returncode == 1
    assert "none of its 2 recordings has labels to score" in refused.stderr
    assert not (project.root / "other").exists()


def test_tta_of_the_run_is_the_exported_models(project: Any, tmp_path: Path) -> None:
    quick = {"teacher": {"max_epochs": 1}, "methods": ("exo-oracle",), "tta_chunk_rows": (1, 2, 3)}
    project.train(run="tta", **quick)
    model = find_model(project.root / "runs" / "tta", "exo-oracle", None)
    export_model(tmp_path / "out", model, feature_set_of(model, project.store))
    applied = load_model(tmp_path / "out", CPU)
    source = open_features(applied, project.store, None, CPU)
    (path,) = apply_model(applied, source, "v3", ["e1"], tmp_path, probabilities=False).written
    assert path.read_bytes() == project.predictions("exo-oracle", "v3", run="tta")["e1"]


def test_the_exported_model_is_the_tested_one_whatever_was_trained_since(
    finished: Any, tmp_path: Path
) -> None:
    """The run's settings are those of the last training, which here made another method by others."""
    project = finished[0].copy(tmp_path)
    project.train(methods=("no-adaptation",), tta_chunk_rows=(1, 3), student={"loss": "coral"})
    model = find_model(project.root / "runs" / "main", "tas", None)
    recipe = export_model(tmp_path / "out", model, feature_set_of(model, project.store))
    assert recipe.tta_chunk_rows == ()
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Loss of the distillation: {StudentConfig().loss}." in card and "pooled by 2 into" in card
    other = find_model(project.root / "runs" / "main", "no-adaptation", None)
    assert other.tta_chunk_rows == (1, 3)


def test_scores_are_of_the_models_own_row(finished: Any, tmp_path: Path) -> None:
    """A copied run folder has predictions by the name of the run that it was copied from."""
    project = finished[0].copy(tmp_path)
    other = project.stage("predictions", seed=1)
    shutil.copytree(project.stage("predictions") / "tas", other / "tas")
    manifest = other / "tas" / "e4" / "predictions.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"run": "before", "seed": 1}))
    model = find_model(project.root / "runs" / "main", "tas", 0)
    row, _ = score_model_on_test(load_project(project.root), model)
    assert (row.group.run, row.group.seeds) == ("main", (0,))


def test_the_card_tells_whose_labels_chose_an_epoch(finished: Any, exported: Path) -> None:
    model = find_model(finished[0].root / "runs" / "main", "tas", None)

    def text(selection: str) -> str:
        protocol = {**(model.predictions.info.protocol or {}), "selection": selection}
        info = replace(model.predictions.info, protocol=protocol)
        selected = replace(model, predictions=replace(model.predictions, info=info))
        return render_card(
            Card(model=selected, recipe=read_recipe(exported), row=None, protocol="", licence=None)
        )

    none, some = "No label of this view was used.", "Labels of test recordings chose an epoch."
    limit = "scores on that split are none on unseen data"
    card = text("teacher held-out, tas last")
    assert none in card and some not in card and limit not in card
    for selection in ("teacher published-test-ego, tas last", "teacher last, tas published-test-ego"):
        card = text(selection)
        assert none not in card and some in card and limit in card


def test_a_teacher_of_other_features_is_exported_for_those_that_it_was_given(
    project: Any, tmp_path: Path
) -> None:
    """The saved teacher itself says nothing of them, so `apply` refuses it; the teacher lies in another run."""
    other = FeatureSet(name="other", recipe={"backbone": "b"}, feature_dim=16, trained_on=("pairs",))
    for name in ("t0", "t1", "t2", "e0", "e1"):
        stored = FeatureStore(project.store).read("tiny", "e4", name)
        with RecordingWriter(
            project.store, other, "e4", name, timestamps=stored.timestamps, provenance={}
        ) as writer:
            writer.append(stored.features)
            writer.commit()
    project.train(
        run="two",
        teacher_run="first",
        ego_feature_set="other",
        methods=("no-adaptation",),
        teacher={"max_epochs": 1},
    )
    model = find_model(project.root / "runs" / "two", "no-adaptation", None)
    assert model.stage_folder == project.stage("teacher", run="first")
    recipe = export_model(tmp_path / "out", model, feature_set_of(model, project.store))
    assert recipe.feature_set.fingerprint == other.fingerprint
    applied = load_model(tmp_path / "out", CPU)
    source = open_features(applied, project.store, None, CPU)
    (path,) = apply_model(applied, source, "e4", ["e0"], tmp_path, probabilities=False).written
    assert path.read_bytes() == project.predictions("no-adaptation", run="two")["e0"]
    assert "The backbone itself was trained on: pairs." in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(FingerprintError, match="features other have fingerprint"):
        open_features(load_model(model.stage_folder, CPU), project.store, "other", CPU)


def test_folders_that_hold_something_are_kept(finished: Any, exported: Path, tmp_path: Path) -> None:
    model = find_model(finished[0].root / "runs" / "main", "tas", None)
    feature_set = feature_set_of(model, finished[0].store)
    shutil.copytree(exported, tmp_path / "model")
    with pytest.raises(
        TrainingError, match=r"holds a model already\. Choose another --output, or add --overwrite"
    ):
        export_model(tmp_path / "model", model, feature_set)
    export_model(tmp_path / "model", model, feature_set, licence="mit", overwrite=True)
    assert ModelCard.load(tmp_path / "model" / "README.md").data.license == "mit"
    for name in ("recipe.json", "README.md", "config.json"):  # an interrupted one
        (tmp_path / "model" / name).unlink()
    with pytest.raises(TrainingError, match=r"holds a model already"):
        export_model(tmp_path / "model", model, feature_set)
    export_model(tmp_path / "model", model, feature_set, overwrite=True)
    assert read_recipe(tmp_path / "model") == read_recipe(exported)


@pytest.mark.parametrize("names", [("notes.txt",), ("README.md",), ("README.md", "config.json"), None])
def test_files_that_are_no_export_are_kept_whatever_is_asked(
    finished: Any, tmp_path: Path, names: tuple[str, ...] | None
) -> None:
    """Somebody's own README, a model of another program, and a stage of a run."""
    model = find_model(finished[0].root / "runs" / "main", "tas", None)
    folder = tmp_path / "mine"
    if names is None:
        shutil.copytree(finished[0].stage("teacher"), folder)
    else:
        folder.mkdir()
        for name in names:
            (folder / name).write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TrainingError, match=r"mine: holds other files\. Choose a new folder with --output"):
        export_model(folder, model, feature_set_of(model, finished[0].store), overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_runs_that_are_not_there(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = (finished[0].root / "runs").resolve()
    assert find_run("main", runs) == runs / "main"
    assert find_run(str(runs / "main"), None) == runs / "main"
    monkeypatch.chdir(runs / "main")
    assert find_model(find_run(".", None), "tas", None).stage_folder == runs / "main" / "seed-0" / "tas"
    with pytest.raises(TrainingError, match=r"there is no run 'mian': .* seed-0; .*runs has main"):
        find_run("mian", runs)
    with pytest.raises(TrainingError, match=r"there is no run 'main': .* no sync\.toml is near"):
        find_run("main", None)
    with pytest.raises(
        TrainingError, match=r"has no finished tas of seed 3, but .*--run main --method tas --seed 3"
    ):
        find_model(runs / "main", "tas", 3)


def test_a_model_that_is_not_what_was_tested(finished: Any, tmp_path: Path) -> None:
    project = finished[0].copy(tmp_path)
    run = project.root / "runs" / "main"
    shutil.copyfile(
        project.stage("teacher") / "model.safetensors", project.stage("tas") / "model.safetensors"
    )
    with pytest.raises(
        TrainingError, match=r"has been trained anew since tas was tested\. Test it with: sync-train"
    ):
        find_model(run, "tas", None)
    (project.stage("tas") / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"holds no model \(model\.safetensors is missing\)"):
        find_model(run, "tas", None)
    (project.stage("feature-tas") / "provenance.json").write_text("[")
    with pytest.raises(TrainingError, match=r"provenance\.json: can't be read as JSON"):
        find_model(run, "feature-tas", None)
    (project.stage("feature-tas") / "provenance.json").unlink()
    with pytest.raises(TrainingError, match=r"provenance\.json: is missing; train anew with --overwrite"):
        find_model(run, "feature-tas", None)


def test_features_that_nobody_knows_or_that_were_made_anew(finished: Any, tmp_path: Path) -> None:
    model = find_model(finished[0].root / "runs" / "main", "tas", None)
    assert feature_set_of(model, None) == feature_set_of(model, finished[0].store), "the run knows its store"
    lost = replace(model, provenance={"store": str(tmp_path / "gone")})
    with pytest.raises(
        IncompleteError, match=r"neither the project's store nor the one that the run was trained from"
    ):
        feature_set_of(lost, tmp_path / "nowhere")
    again = FeatureSet(name="tiny", recipe={"backbone": "made anew"}, feature_dim=16)
    with RecordingWriter(
        tmp_path / "s.zarr", again, "e4", "r", timestamps=torch.arange(2).numpy(), provenance={}
    ) as writer:
        writer.append(torch.zeros(2, 16).half().numpy())
        writer.commit()
    with pytest.raises(
        FingerprintError, match=rf"of the store have {again.fingerprint[:12]}…: they were made by another"
    ):
        feature_set_of(model, tmp_path / "s.zarr")


def test_no_name_breaks_out_of_the_card(finished: Any, exported: Path) -> None:
    hostile = 'x\n---\n# "y": {z} <script> | [a](b)'
    model = find_model(finished[0].root / "runs" / "main", "tas", None)
    info = replace(model.predictions.info, classes=(hostile, "screw"), view=hostile)
    model = replace(model, predictions=replace(model.predictions, info=info))
    feature_set = FeatureSet(name="tiny", recipe={}, feature_dim=1, trained_on=(hostile,))
    recipe = replace(read_recipe(exported), run=hostile, view=hostile, feature_set=feature_set)
    text = render_card(Card(model=model, recipe=recipe, row=None, protocol="", licence=hostile))
    card = ModelCard(text)
    assert card.data.license == hostile
    headings = re.findall(r"^#+ (.*)$", card.text, flags=re.MULTILINE)
    assert headings[1:] == ["Use", "Method", "Data", "Scores", "Limits"]
    assert "<script>" not in card.text.replace("\\<", "")
