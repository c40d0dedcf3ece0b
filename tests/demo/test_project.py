"""The sync.toml of a benchmark: accepted by the stages, honest about what it is."""

import tomllib
from pathlib import Path

import pytest

from sync_demo.plan import EGO_VIEW, VIEWS
from sync_demo.project import project_text
from sync_extract.cli import read_config
from sync_store.project import load_project
from sync_train.request import read_config as read_train_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sync.toml"
    path.write_text(project_text())
    return path


def test_dataset_views_and_extraction(file: Path) -> None:
    project = load_project(file)
    assert project.dataset_root == file.parent
    assert list(project.views) == list(VIEWS)
    assert project.views_of_kind("ego") == [EGO_VIEW]
    assert project.views_of_kind("exo")[0] == "v3"
    config = read_config(project, {})
    assert config.backbone == config.name == "dinov2-random-demo"
    assert config.tokens == ("mean", "max", "min", "std")
    assert config.rate(project.dataset.label_rate) == 10
    assert config.views == ("v3", EGO_VIEW)


def test_it_says_that_it_is_not_the_papers_data_and_why_each_setting_differs(file: Path) -> None:
    text = file.read_text()
    assert "not the paper's" in text.split("[dataset]")[0]
    extract = text.split("[extract]")[1].split("\n[")[0].strip().splitlines()
    settings = [number for number, line in enumerate(extract) if " = " in line and line[0] != "#"]
    section = tomllib.loads(text)["extract"]
    assert len(settings) == len(section) - len(("finetune", "distill"))
    assert all(extract[number - 1].startswith("# ") for number in settings)
    train = text.split("\n[train]")[1]
    assert all(
        word in train
        for word in ("# Published: chunks", "# Not in the paper", "# Paper: 1e-4", "# Paper: SGD")
    )


def test_tsms_for_the_papers_tables_can_be_trained_without_weights(file: Path) -> None:
    config = read_config(load_project(file), {})
    for section in (config.finetune, config.distill):
        assert (section.backbone, section.weights) == ("tsm-random-demo", None)


def test_the_trainer_takes_its_settings(file: Path) -> None:
    config = read_train_config(load_project(file), {})
    assert config.chunk_rows == 1 and config.standardize
    assert {config.teacher.selection, config.adapter.selection, config.student.selection} == {"last"}
