"""Experiments scored and laid out: numbers by hand, marks, what isn't there, and what must be said."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_eval.config import EvaluateConfig
from sync_eval.experiment_files import to_csv, to_json
from sync_eval.experiment_tables import lay_out
from sync_eval.experiments import Evaluation, evaluate_experiment
from sync_eval.table_forms import as_text
from sync_experiments.expansion import PlannedRow, plan_experiment
from sync_experiments.experiment import Experiment, Row, list_experiments, read_experiment
from sync_store.errors import DatasetError
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.writer import RecordingWriter

SMALL = Experiment(
    name="small",
    source="mine/small.toml",
    title="A small one",
    place="Table 9",
    dataset="Assembly101, v3 → e4",
    improvements=("no-adaptation", "second-best"),
    notes=("A note of the file.",),
    rows=(
        Row(label="Exo", group="oracles", method="exo-oracle", ranked=False, paper={"mof": 36.03}),
        Row(label="None", group="adapted", method="no-adaptation", ranked=False, paper={"mof": 14.15}),
        Row(label="TAS", group="adapted", method="tas", paper={"mof": 31.36}),
        Row(label="Both", group="adapted", method="feature-tas", paper={"mof": 32.67}),
        Row(label="TSM", group="adapted", method="tas", features="tsm-exo"),
    ),
)


@pytest.fixture
def featured(folder: Any) -> Any:
    """A project of one recording, a*10 b*10, whose store has features of both views."""
    folder.add("r1", "a*10 b*10")
    made = FeatureSet(name="dinov2-large", recipe={"backbone": "test"}, feature_dim=1)
    for view in ("v3", "e4"):
        times = np.arange(2, dtype=np.int64)
        with RecordingWriter(
            folder.root / "features.zarr", made, view, "r1", timestamps=times, provenance={}
        ) as writer:
            writer.append(np.zeros((2, 1), dtype=np.float16))
            writer.commit()
    return folder


def plan(folder: Any, experiment: Experiment = SMALL) -> dict[str, PlannedRow]:
    return {row.row.label: row for row in plan_experiment(experiment, load_project(folder.root))}


def evaluate(folder: Any, experiment: Experiment = SMALL) -> Evaluation:
    return evaluate_experiment(experiment, load_project(folder.root), EvaluateConfig())


@pytest.fixture
def two_seeds(featured: Any, run_row: Callable[..., None]) -> Any:
    """MoF: no adaptation 50 and 60; TAS 70 and 80; both 90, one seed; TSM not there."""
    rows = plan(featured)
    run_row(featured, rows["None"], "a*20", "a*18 b*2", protocol={"settings": "n"})
    run_row(featured, rows["TAS"], "a*16 b*4", "a*14 b*6", protocol={"settings": "t"})
    run_row(featured, rows["Both"], "a*12 b*8", trained_on=("views of train",))
    return featured


def cells_of(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """Cells by label and heading; the paper's heading MoF is "paper"."""
    layout = lay_out(evaluation)
    headings = [*layout.headings[:-1], "paper"]
    named = [dict(zip(headings, cells, strict=True)) for cells in layout.cells]
    return {cells["row"]: cells for cells in named}


def test_numbers_and_improvements_by_hand(two_seeds: Any) -> None:
    cells = cells_of(evaluate(two_seeds))
    assert [cells[row]["MoF"] for row in ("None", "TAS", "Both†§", "Exo", "TSM")] == [
        "55.00 ± 7.07",
        "75.00 ± 7.07",
        "90.00",
        "–",
        "–",
    ]
    assert [cells[row]["seeds"] for row in ("None", "Both†§", "Exo")] == ["2", "1", "–"]
    assert [cells[row]["paper"] for row in ("None", "TAS", "Both†§", "Exo", "TSM")] == [
        *("14.15", "31.36", "32.67", "36.03", "–"),
    ]
    adaptation = cells["improvement w.r.t. no adaptation"]
    assert (adaptation["MoF"], adaptation["paper"]) == ("+35.00", "+18.52")
    second = cells["improvement w.r.t. second best"]
    assert (second["MoF"], second["paper"]) == ("+15.00", "+1.31")
    assert cells["Exo"]["group"] == "oracles" and cells["TAS"]["group"] == ""


def test_marks_are_of_the_highest_and_change_nothing(two_seeds: Any) -> None:
    layout = lay_out(evaluate(two_seeds))
    mof, paper = len(layout.headings) - 2, len(layout.headings) - 1
    by_row = {cells[1]: (layout.mark(i, mof), layout.mark(i, paper)) for i, cells in enumerate(layout.cells)}
    assert by_row == {
        "Exo": ("", ""),
        "None": ("", ""),
        "TAS": ("second", "second"),
        "Both†§": ("best", "best"),
        "TSM": ("", ""),
        "improvement w.r.t. no adaptation": ("", ""),
        "improvement w.r.t. second best": ("", ""),
    }
    assert layout.block_ends == (True, False, False, False, False, False, False)


def test_what_must_be_said_is_said(two_seeds: Any) -> None:
    layout = lay_out(evaluate(two_seeds))
    assert layout.title == "Table 9: A small one"
    assert layout.span is not None
    assert layout.span.heading == "paper, on another dataset: Assembly101, v3 → e4"
    note, scored, seeds, other, pending, lacks, dagger = layout.footnotes
    assert note == "A note of the file."
    assert scored == "split test; sequences 1; frames 20; protocol masked."
    assert seeds == "Mean ± standard deviation over seeds." and other == "§ Of other seeds than 0, 1."
    assert pending == "– 1 of 5 rows not run yet. Run them with: sync-train experiment mine/small.toml"
    assert lacks.startswith("– TSM: feature set tsm-exo isn't there.") and "sync-extract" in lacks
    assert dagger == "† The backbone of dinov2-large was trained on: views of train."
    text = as_text(layout)
    assert "● is best and ○ second best of the rows compared within a group, of our numbers and of" in text


def test_rows_of_other_seeds_in_equal_number_are_marked(featured: Any, run_row: Callable[..., None]) -> None:
    rows = plan(featured)
    run_row(featured, rows["None"], "a*20", "a*20")
    run_row(featured, rows["TAS"], "a*20", "a*20", seeds=(0, 2))
    layout = lay_out(evaluate(featured))
    assert "seeds" not in layout.headings and [cells[1] for cells in layout.cells][1:3] == ["None", "TAS§"]
    assert "Mean ± standard deviation over 2 seeds." in layout.footnotes


def test_coverage_below_all_and_selection_on_test_data_are_said(
    featured: Any, run_row: Callable[..., None]
) -> None:
    chosen = {"selection": "teacher published-test-ego"}
    run_row(featured, plan(featured)["TAS"], "a*10 -*5 b*5", protocol=chosen)
    layout = lay_out(evaluate(featured))
    assert layout.footnotes[1].endswith("protocol masked; predictions for at least 75.0% of the frames.")
    assert layout.footnotes[2] == "One seed."
    assert layout.footnotes[-1].startswith("‡ Labels of the test split chose the epoch")
    assert "TAS‡" in [cells[1] for cells in layout.cells]


def test_nothing_run_is_all_dashes_and_the_command(featured: Any) -> None:
    layout = lay_out(evaluate(featured))
    ours = {cell for cells in layout.cells for cell in cells[2:-1]}
    assert ours == {"–"}
    assert (
        layout.footnotes[1]
        == "– 4 of 5 rows not run yet. Run them with: sync-train experiment mine/small.toml"
    )
    no_paper = Experiment(
        name="n", source="n", title="t", place="ours", dataset="none", rows=(Row(label="x"),)
    )
    bare = lay_out(evaluate(featured, no_paper))
    assert bare.span is None and bare.marks is None and bare.title == "t"


@pytest.mark.parametrize(
    ("kind", "heading"),
    [("assembly101", "paper"), ("egoexo4d", "paper, on another dataset: Assembly101, v3 → e4")],
)
def test_figures_of_the_same_dataset_are_called_the_papers(kind: str, heading: str, tmp_path: Path) -> None:
    (tmp_path / "sync.toml").write_text(f'[dataset]\nkind = "{kind}"\nroot = "data"\n')
    evaluation = evaluate_experiment(SMALL, load_project(tmp_path), EvaluateConfig())
    span = lay_out(evaluation).span
    assert span is not None and span.heading == heading


def test_json_and_csv_hold_the_same_unrounded(two_seeds: Any) -> None:
    evaluation = evaluate(two_seeds)
    (document,) = json.loads(to_json([evaluation]))["experiments"]
    assert (document["name"], document["of_paper_dataset"]) == ("small", False)
    lines = list(csv.DictReader(io.StringIO(to_csv([evaluation]))))
    assert [row["row"] for row in document["rows"]] == [line["row"] for line in lines]
    ends = {"": "mean", "_sd": "sd", "_rank": "rank", "_paper": "paper", "_paper_rank": "paper_rank"}
    for row, line in zip(document["rows"], lines, strict=True):
        assert (row["state"], row["run"], row["lacks"] or "") == (line["state"], line["run"], line["lacks"])
        assert " ".join(map(str, row["seeds"])) == line["seeds"]
        for metric, found in row["metrics"].items():
            for end, key in ends.items():
                value = found[key]
                assert line[f"{metric}{end}"] == ("" if value is None else str(value))
        assert line["accuracy"] == line["recall_5"] == ""
    tas = document["rows"][2]
    assert tas["metrics"]["mof"] == {
        "mean": 75.0,
        "sd": pytest.approx(50**0.5),
        "rank": 2,
        "per_seed": [70.0, 80.0],
        "paper": 31.36,
        "paper_rank": 2,
    }
    assert [row["state"] for row in document["rows"]] == ["not run", "done", "done", "done", "lacks"]
    assert tas["options"]["exo"] == "v3" and tas["per_seed"][0]["num_frames"] == 20
    assert document["rows"][3]["trained_on"] == ["views of train"]
    above, second = document["improvements"]
    assert (above["group"], above["above"], above["ours"]["mof"]) == ("adapted", "no-adaptation", 35)
    assert (second["above"], second["paper"]["mof"]) == ("second-best", pytest.approx(1.31))


def write_check(folder: Any, planned: PlannedRow, seed: int, content: str) -> Path:
    place = folder.root / "experiments" / planned.run.name / f"seed-{seed}" / "checks" / "recognition"
    place.mkdir(parents=True, exist_ok=True)
    path: Path = place / f"{planned.method}.json"
    path.write_text(content)
    return path


RECOGNITION = Experiment(
    name="guess",
    source="mine/guess.toml",
    title="Recognition",
    place="ours",
    dataset="none",
    measure="recognition",
    improvements=("no-adaptation",),
    rows=(
        Row(label="Guess", method="random", ranked=False),
        Row(label="None", method="no-adaptation", ranked=False),
        Row(label="Feature", method="feature"),
    ),
)


def test_checks_of_features_are_read_by_seed(featured: Any) -> None:
    rows = plan(featured, RECOGNITION)
    for label, seed, accuracy in (
        ("None", 10, 5),
        ("None", 2, 8.0),
        ("Feature", 2, 9.25),
        ("Feature", 10, 9.75),
    ):
        table = {"check": "recognition", "method": rows[label].method, "seed": seed}
        write_check(
            featured, rows[label], seed, json.dumps(table | {"metrics": {"accuracy": accuracy, "x": 1}})
        )
    evaluation = evaluate(featured, RECOGNITION)
    layout = lay_out(evaluation)
    assert layout.headings == ("row", "Accuracy")
    assert layout.cells == (
        ("Guess", "–"),
        ("None", "6.50 ± 2.12"),
        ("Feature", "9.50 ± 0.35"),
        ("improvement w.r.t. no adaptation", "+3.00"),
    )
    (document,) = json.loads(to_json([evaluation]))["experiments"]
    assert document["rows"][1]["seeds"] == [2, 10]
    assert document["rows"][1]["metrics"]["accuracy"]["per_seed"] == [8.0, 5]


def test_seeds_of_other_settings_are_not_averaged(featured: Any) -> None:
    planned = plan(featured, RECOGNITION)["None"]
    for seed, settings in enumerate("ab"):
        table = {"seed": seed, "metrics": {"accuracy": 1}, "inputs": {"settings": settings}}
        write_check(featured, planned, seed, json.dumps(table))
    with pytest.raises(
        DatasetError, match=r"no-adaptation\.json aren't two seeds of one row: their settings differ"
    ):
        evaluate(featured, RECOGNITION)
    write_check(featured, planned, 1, '{"seed": 0, "metrics": {"accuracy": 1}, "inputs": {"settings": "a"}}')
    with pytest.raises(
        DatasetError,
        match=r"or the seed doesn't\. Make them again with: sync-train experiment mine/guess\.toml$",
    ):
        evaluate(featured, RECOGNITION)


def test_checks_on_features_of_a_trained_backbone_are_flagged(featured: Any) -> None:
    rows = plan(featured, RECOGNITION)
    told = {"trained_on": ["labels of v3"], "ego_features": {"trained_on": ["pairs"]}}
    for label in ("Guess", "None"):
        table = {"seed": 0, "metrics": {"accuracy": 1}, "provenance": told}
        write_check(featured, rows[label], 0, json.dumps(table))
    layout = lay_out(evaluate(featured, RECOGNITION))
    assert [cells[0] for cells in layout.cells][:3] == ["Guess", "None†", "Feature"]
    assert layout.footnotes[-1] == "† The backbone of dinov2-large was trained on: labels of v3; pairs."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "isn't a check's result .JSONDecodeError"),
        ("[]", "isn't a check's result .TypeError"),
        ('{"seed": 0, "metrics": {}}', "isn't a check's result .KeyError: 'accuracy'"),
        ('{"seed": "0", "metrics": {"accuracy": 1}}', "seed must be a whole number, got '0'"),
        ('{"seed": 0, "metrics": {"accuracy": NaN}}', "accuracy must be a number from 0 to 100, got nan"),
        ('{"seed": 0, "metrics": {"accuracy": true}}', "accuracy must be a number from 0 to 100, got True"),
    ],
)
def test_a_damaged_check_is_an_error(featured: Any, content: str, problem: str) -> None:
    path = write_check(featured, plan(featured, RECOGNITION)["None"], 0, content)
    with pytest.raises(DatasetError, match=problem) as caught:
        evaluate(featured, RECOGNITION)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("make it again with: sync-train experiment mine/guess.toml")


@pytest.mark.parametrize("name", list_experiments())
def test_every_experiment_can_be_laid_out_with_the_papers_figures(name: str, featured: Any) -> None:
    experiment = read_experiment(name)
    evaluation = evaluate(featured, experiment)
    layout = lay_out(evaluation)
    assert {len(cells) for cells in layout.cells} == {len(layout.headings)}
    assert len(layout.block_ends) == len(layout.cells)
    expected = [value for row in experiment.rows for value in row.paper.values()]
    shown = [cell for cells in layout.cells for cell in cells]
    assert all(f"{value:.2f}" in shown for value in expected)


PRINTED = {
    "table1": [(14.86, 20.32, 19.93, 14.96, 24.88), (15.99, 19.40, 17.63, 13.98, 18.52)],
    "table3": [(10.75, 13.33, 12.80, 10.52, 13.64)],
}
"""Lines 9 and 14 of Table 1, the last of Table 3."""


@pytest.mark.parametrize("name", PRINTED)
def test_the_papers_lines_of_improvements_come_out(name: str, featured: Any) -> None:
    layout = lay_out(evaluate(featured, read_experiment(name)))
    lines = [
        tuple(float(cell) for cell in cells[-5:])
        for cells in layout.cells
        if any(cell.startswith("improvement") for cell in cells)
    ]
    assert lines == PRINTED[name]
