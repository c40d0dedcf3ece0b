"""Every form of the table, read back."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sync_eval.runs import Row, find_groups, score_groups
from sync_eval.scoring import read_truth
from sync_eval.table_forms import as_markdown, as_text
from sync_eval.tables import lay_out, to_csv, to_json


def to_text(rows: Sequence[Row], protocol: str, width: int | None = None) -> str:
    return as_text(lay_out(rows, protocol), width)


def to_markdown(rows: Sequence[Row], protocol: str) -> str:
    return as_markdown(lay_out(rows, protocol))


def rows_of(folder: Any) -> list[Row]:
    groups = find_groups([folder.root / "runs"])
    return score_groups(groups, {"test": read_truth(folder.dataset, "test")}, "masked")


@pytest.fixture
def two_seeds(folder: Any) -> list[Row]:
    """exo-oracle perfect; no-adaptation with MoF 70 and 80, edit 66.7 and 100."""
    folder.add("r1", "a*10 b*10")
    for seed, frames in ((0, "a*12 b*4 c*4"), (1, "a*14 b*6")):
        folder.predict({"r1": "a*10 b*10"}, method="exo-oracle", view="v3", kind="exo", seed=seed)
        folder.predict({"r1": frames}, method="no-adaptation", seed=seed)
    return rows_of(folder)


def test_text_shows_means_deviations_and_what_all_rows_share(two_seeds: list[Row]) -> None:
    lines = to_text(two_seeds, "masked").splitlines()
    assert lines[0].split() == ["method", "view", "Edit", "F1@10", "F1@25", "F1@50", "MoF", "coverage"]
    oracle, adapted = (line for line in lines if " v3 " in line or " e4 " in line)
    assert oracle.split() == ["exo-oracle", "v3", *["100.00", "±", "0.00"] * 5, "100.0%"]
    assert adapted.split()[:2] == ["no-adaptation", "e4"]
    # MoF 70 and 80: mean 75, sample deviation 10/√2
    assert adapted.split()[-4:] == ["75.00", "±", "7.07", "100.0%"]
    assert lines[lines.index(oracle) + 1] == "", "a gap between the blocks of Table 1"
    assert lines[-3:] == [
        "",
        "run main; features demo; split test; sequences 1; frames 20; protocol masked.",
        "Mean ± standard deviation over 2 seeds.",
    ]


def test_text_keeps_to_the_width_of_a_terminal(two_seeds: list[Row]) -> None:
    assert max(map(len, to_text(two_seeds, "masked").splitlines()[:-2])) > 100
    narrow = to_text(two_seeds, "masked", width=90)
    assert max(map(len, narrow.splitlines()[:-2])) <= 90
    assert "no-adaptation" in narrow


def test_columns_that_differ_are_shown(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"}, feature_set="tsm", run="first")
    folder.predict({"r1": "a*10"}, feature_set="dinov2", run="second")
    lines = to_text(rows_of(folder), "masked").splitlines()
    assert lines[0].split()[:4] == ["method", "run", "features", "view"]
    assert [line.split()[:4] for line in lines if line.startswith("tas")] == [
        ["tas", "second", "dinov2", "e4"],
        ["tas", "first", "tsm", "e4"],
    ]
    assert lines[-1] == "split test; sequences 1; frames 10; protocol masked."


def test_rows_whose_backbone_saw_other_data_are_flagged(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"}, feature_set="tsm", trained_on=("all views of train", "labels of train"))
    folder.predict({"r1": "a*10"}, feature_set="dinov2", run="second")
    text = to_text(rows_of(folder), "masked")
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("tas")] == [
        ["tas", "second"],
        ["tas†", "main"],
    ]
    note = "† The backbone of tsm was trained on: all views of train; labels of train."
    assert text.splitlines()[-1] == note
    markdown = to_markdown(rows_of(folder), "masked")
    assert note in markdown and "| tas† | main |" in markdown and "| tas | second |" in markdown
    (_, flagged) = json.loads(to_json(rows_of(folder), "masked", []))["rows"]
    assert flagged["trained_on"] == ["all views of train", "labels of train"]
    lines = csv.DictReader(io.StringIO(to_csv(rows_of(folder), "masked")))
    assert [line["trained_on"] for line in lines] == ["", "all views of train; labels of train"]


def test_features_of_teacher_and_target_are_both_shown(folder: Any) -> None:
    folder.add("r1", "a*10")
    sets = {"feature_set": "tsm-v3-e4", "teacher_feature_set": "tsm-exo"}
    folder.predict({"r1": "a*10"}, **sets, trained_on=("labels of v3", "pairs"))
    text = to_text(rows_of(folder), "masked")
    assert "run main; features tsm-exo → tsm-v3-e4; split test" in text
    note = "† The backbones of tsm-exo → tsm-v3-e4 were trained on: labels of v3; pairs."
    assert text.splitlines()[-1] == note and note in to_markdown(rows_of(folder), "masked")
    folder.predict({"r1": "a*10"}, feature_set="dinov2", run="second")
    assert [
        line.split()[:5] for line in to_text(rows_of(folder), "masked").splitlines() if " e4 " in line
    ] == [
        ["tas", "second", "dinov2", "e4", "100.00"],
        ["tas†", "main", "tsm-exo", "→", "tsm-v3-e4"],
    ]
    dinov2, tsm = json.loads(to_json(rows_of(folder), "masked", []))["rows"]
    assert (tsm["teacher_feature_set"], tsm["feature_set"]) == ("tsm-exo", "tsm-v3-e4")
    assert (dinov2["teacher_feature_set"], dinov2["feature_set"]) == (None, "dinov2")
    lines = csv.DictReader(io.StringIO(to_csv(rows_of(folder), "masked")))
    assert [line["teacher_feature_set"] for line in lines] == ["", "tsm-exo"]


def test_what_the_backbone_of_any_seed_saw_flags_the_row(folder: Any) -> None:
    folder.add("r1", "a*10")
    for seed, trained_on in ((0, ()), (1, ("view e4",)), (2, ("view v3", "view e4"))):
        folder.predict({"r1": "a*10"}, seed=seed, trained_on=trained_on)
    lines = to_text(rows_of(folder), "masked").splitlines()
    assert [line.split()[0] for line in lines if " e4 " in line and "†" in line] == ["tas†"]
    assert lines[-1] == "† The backbone of demo was trained on: view e4; view v3."


def test_rows_selected_on_test_data_are_flagged(folder: Any) -> None:
    folder.add("r1", "a*10")
    chosen = {"ego-oracle": "ego-oracle held-out", "tas": "teacher published-test-ego, tas last"}
    for method, selection in chosen.items():
        folder.predict({"r1": "a*10"}, method=method, protocol={"selection": selection})
    folder.predict({"r1": "a*10"}, method="unknown")
    rows = rows_of(folder)
    text = to_text(rows, "masked")
    assert [line.split()[0] for line in text.splitlines()[2:] if " e4 " in line] == [
        "ego-oracle",
        "tas‡",
        "unknown",
    ]
    note = (
        "‡ Labels of the test split chose the epoch of a stage (published-test-ego): no score on unseen data."
    )
    assert text.splitlines()[-1] == note
    assert note in to_markdown(rows, "masked")
    lines = {
        line["method"]: line["selection"] for line in csv.DictReader(io.StringIO(to_csv(rows, "masked")))
    }
    assert lines == {**chosen, "unknown": ""}
    assert [row["selection"] for row in json.loads(to_json(rows, "masked", []))["rows"]] == [
        *chosen.values(),
        "",
    ]
    assert "‡" not in to_text([rows[0], rows[2]], "masked")


def test_names_that_look_like_markup_are_shown_as_they_are(folder: Any) -> None:
    folder.add("r1", "a*10")
    for method in ("[red]", "<b>", ":smile:", "a|b"):
        folder.predict({"r1": "a*10"}, method=method, run="[bold]run[/bold]", feature_set="[x]")
    text = to_text(rows_of(folder), "masked")
    for method in ("[red]", "<b>", ":smile:", "a|b"):
        assert any(line.split()[0] == method for line in text.splitlines())
    assert "run [bold]run[/bold]; features [x]" in text
    markdown = to_markdown(rows_of(folder), "masked")
    assert "| \\[red\\] |" in markdown and "| \\<b> |" in markdown and "| a\\|b |" in markdown


def test_markdown_has_as_many_cells_in_each_line(two_seeds: list[Row]) -> None:
    lines = [line for line in to_markdown(two_seeds, "masked").splitlines() if line.startswith("|")]
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert {line.count("|") for line in lines} == {9} and len(lines) == 4
    assert "| no-adaptation | e4 |" in lines[3] and "75.00 ± 7.07" in lines[3]


def test_csv_and_json_hold_the_numbers_unrounded(two_seeds: list[Row]) -> None:
    _, adapted = csv.DictReader(io.StringIO(to_csv(two_seeds, "masked")))
    document = json.loads(to_json(two_seeds, "masked", ["a note"]))
    _, row = document["rows"]
    assert document["protocol"] == "masked" and document["notes"] == ["a note"]
    assert (adapted["method"], adapted["seeds"], adapted["protocol"]) == ("no-adaptation", "0 1", "masked")
    assert (row["method"], row["seeds"], row["view"], row["kind"]) == ("no-adaptation", [0, 1], "e4", "ego")
    for name in ("edit", "f1_10", "f1_25", "f1_50", "mof", "f1_10_mean", "coverage"):
        values = [each[name] for each in row["per_seed"]]
        assert row[name] == pytest.approx(sum(values) / 2)
        assert float(adapted[name]) == row[name]
        assert (
            float(adapted[f"{name}_sd"])
            == row["sd"][name]
            == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        )
    assert [each["mof"] for each in row["per_seed"]] == [70, 80]
    assert row["per_seed"][0]["folder"].endswith("runs/main/seed-0/predictions/no-adaptation/e4")


def test_a_single_seed_has_no_deviation(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*7 b*3"}, protocol={"selection": "last"})
    rows = rows_of(folder)
    assert "±" not in to_text(rows, "masked") and "Mean" not in to_text(rows, "masked")
    (line,) = csv.DictReader(io.StringIO(to_csv(rows, "masked")))
    assert (line["mof"], line["mof_sd"]) == ("70.0", "")
    (row,) = json.loads(to_json(rows, "masked", []))["rows"]
    assert row["sd"] is None and row["settings"] == {"selection": "last"}


@pytest.mark.parametrize("form", [to_text, to_markdown])
def test_runs_of_different_numbers_of_seeds_say_how_many(folder: Any, form: Callable[..., str]) -> None:
    folder.add("r1", "a*10")
    for seed in (0, 1, 2):
        folder.predict({"r1": "a*10"}, seed=seed)
    folder.predict({"r1": "a*10"}, method="feature")
    table = form(rows_of(folder), "masked")
    assert "seeds" in table.splitlines()[0] and "Mean ± standard deviation over seeds." in table
