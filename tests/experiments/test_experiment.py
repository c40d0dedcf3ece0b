"""Experiments as files: what they may say, and how mistakes are named."""

from pathlib import Path

import pytest

from sync_experiments.experiment import MAX_BYTES, list_experiments, read_experiment
from sync_store.errors import ProjectError

HEAD = 'title = "T"\nplace = "ours"\ndataset = "none"\n'
ROW = '[[rows]]\nlabel = "A"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    text = HEAD + 'budget_hours = 2\n[[rows]]\nlabel = "A"\nmethod = "feature"\ntrain.student.loss = "mmd"\n'
    experiment = read_experiment(
        write(tmp_path, text + "pairs_budget = 0.5\npaper = { edit = 12, f1_10 = 1.5 }\n")
    )
    assert (experiment.name, experiment.title, experiment.measure) == ("mine", "T", "segmentation")
    (row,) = experiment.rows
    assert (row.method, row.features, row.ego_features, row.exo_number) == ("feature", "dinov2", None, 1)
    assert row.train == {"student": {"loss": "mmd"}} and row.pairs_budget == 0.5 and row.ranked
    assert row.paper == {"edit": 12.0, "f1_10": 1.5} and isinstance(row.paper["edit"], float)


def test_tables_come_before_the_supplement_and_ours() -> None:
    names = list_experiments()
    assert names[:6] == tuple(f"table{number}" for number in range(1, 7))
    assert names[6:11] == tuple(f"supp-table{number}" for number in range(1, 6))
    assert set(names[11:]) == {"drift", "offsets", "retrieval"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, r"mine\.toml: has no rows; write one \[\[rows\]\] each"),
        (HEAD + "rows = 3\n", r"mine\.toml: rows must be sections, written \[\[rows\]\]"),
        (HEAD + "[rows]\nlabel = 1\n", r"rows must be sections"),
        (
            HEAD + "[[rows]]\nlable = 'A'\n",
            r"mine\.toml \[\[rows\]\] 1: unknown key 'lable', did you mean 'label'\?",
        ),
        (HEAD + ROW + "method = 'tass'\n", r"\[\[rows\]\] 1: unknown method 'tass', did you mean 'tas'\?"),
        (HEAD + ROW + ROW, r"row 'A' is there twice in group ''; their labels must differ"),
        (HEAD + ROW + "exo_number = 0\n", r"exo_number counts from 1, got 0"),
        (
            HEAD + ROW + "train.exo = 'v4'\n",
            r"train\.exo can't be set by a row: its other fields or the command line",
        ),
        (HEAD + ROW + "train_budget = 1.5\n", r"train_budget must be above 0 and at most 1, got 1\.5"),
        (
            HEAD + ROW + "train_budget = 0.5\n",
            r"row 'A': train_budget and pairs_budget are shares of budget_hours",
        ),
        (HEAD + "budget_hours = 0\n" + ROW, r"budget_hours must be above 0, got 0"),
        (
            HEAD + ROW + "paper.recall_5 = 3\n",
            r"row 'A': paper has no metric 'recall_5' of segmentation; known: edit, ",
        ),
        (
            HEAD + ROW + "method = 'random'\n",
            r"row 'A': method \"random\" is for measure \"recognition\" alone",
        ),
        (HEAD + "measure = 'x'\n" + ROW, r"measure must be .*got 'x'"),
        ("title = 'T'\n" + ROW, r"missing value for field \"place\""),
        ("title = \n", r"mine\.toml: can't be read as TOML \("),
        (
            "#" * (MAX_BYTES + 1),
            r"mine\.toml: can't be read as TOML \(it has 1048577 bytes, more than 1048576\)",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        read_experiment(write(tmp_path, text))


def test_what_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no experiment 'tabel1', did you mean 'table1'\?"):
        read_experiment("tabel1")
    with pytest.raises(ProjectError, match=r"no\.toml: there is no such file"):
        read_experiment(tmp_path / "no.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError, match=r"bytes\.toml: can't be read as TOML \("):
        read_experiment(tmp_path / "bytes.toml")
