"""The files that come with the package: figures against the paper's own redundancy, settings against the trainer."""

from importlib import resources
from pathlib import Path

import pytest

from sync_experiments.expansion import DEFAULTS
from sync_experiments.experiment import Row, list_experiments, read_experiment
from sync_experiments.naming import as_setting, flatten
from sync_store.project import load_project
from sync_train.config import TrainConfig
from sync_train.request import read_config

METRICS = ("edit", "f1_10", "f1_25", "f1_50", "mof")


def rows(name: str) -> dict[tuple[str, str], Row]:
    return {(row.group, row.label): row for row in read_experiment(name).rows}


def figures(row: Row) -> list[float]:
    return [row.paper[metric] for metric in METRICS]


def best(name: str, group: str) -> list[float]:
    of_group = [figures(row) for row in read_experiment(name).rows if row.group == group and row.ranked]
    return [max(column) for column in zip(*of_group, strict=True)]


@pytest.mark.parametrize("name", list_experiments())
def test_its_header_says_how_it_is_run(name: str) -> None:
    text = (resources.files("sync_experiments") / f"{name}.toml").read_text(encoding="utf-8")
    header = text.split("title =")[0]
    assert f"#   sync-train experiment {name} --seeds 5" in header and f"#   sync-eval table {name}" in header
    assert header.startswith(f"# {read_experiment(name).place.replace('ours', 'Ours')}")


@pytest.mark.parametrize("name", list_experiments())
def test_the_trainer_takes_its_settings(name: str, tmp_path: Path) -> None:
    (tmp_path / "sync.toml").write_text('[views.v3]\nkind = "exo"\n')
    project = load_project(tmp_path)
    for row in read_experiment(name).rows:
        settings = flatten(row.train)
        config = read_config(project, {}, [as_setting(key, value) for key, value in settings.items()])
        for key, value in settings.items():
            found = config
            for part in key.split("."):
                found = getattr(found, part)
            assert found == (tuple(value) if isinstance(value, list) else value), (row.label, key)


def test_defaults_are_the_trainers() -> None:
    for key, value in DEFAULTS.items():
        section, name = key.split(".")
        default = getattr(getattr(TrainConfig(), section), name)
        assert (list(default) if isinstance(default, tuple) else default) == value, key


@pytest.mark.parametrize(
    ("name", "group", "baseline", "printed"),
    [
        # The lines "Improvement w.r.t. baseline" of the paper, which the files don't have.
        ("table1", "EXO → EGO, TSM", "No adaptation", "+14.86 +20.32 +19.93 +14.96 +24.88"),
        ("table1", "EXO → EGO, DINOv2", "No adaptation", "+15.99 +19.40 +17.63 +13.98 +18.52"),
        ("table2", "EXO → EGO", "No adaptation", "+11.64 +14.92 +14.39 +11.25 +18.74"),
    ],
)
def test_figures_give_the_papers_improvements(name: str, group: str, baseline: str, printed: str) -> None:
    gained = [
        high - low for high, low in zip(best(name, group), figures(rows(name)[group, baseline]), strict=True)
    ]
    assert gained == pytest.approx([float(text) for text in printed.split()], abs=1e-9)


def test_figures_give_the_papers_lead_over_the_second_best() -> None:
    of_table = rows("table3")
    ours = of_table.pop(("", "Sync. (ours)"))
    others = [max(column) for column in zip(*map(figures, of_table.values()), strict=True)]
    lead = [high - low for high, low in zip(figures(ours), others, strict=True)]
    assert lead == pytest.approx([10.75, 13.33, 12.8, 10.52, 13.64], abs=1e-9)


@pytest.mark.parametrize(
    ("group", "printed"),
    [("EXO → EGO", [3.32, 1.97, 1.00, 0.26, 5.91]), ("EGO → EXO", [4.44, 0.98, 0.38, 0.08, -1.15])],
)
def test_improvements_of_table_6_are_the_paper_s_lines_5_and_8(group: str, printed: list[float]) -> None:
    before, after = (figures(rows("table6")[group, label]) for label in ("No adaptation", "TAS distillation"))
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx(printed, abs=1e-9)


def test_tables_agree_where_the_paper_repeats_itself() -> None:
    table1 = rows("table1")
    best_of_paper = figures(table1["EXO → EGO, DINOv2", "TAS distillation"])
    for name, group, label in (
        ("table3", "", "Sync. (ours)"),
        ("table4", "", "100 %"),
        ("table5", "", "No drop"),
        ("supp-table1", "", "1–5"),
    ):
        assert figures(rows(name)[group, label]) == best_of_paper, name
    unadapted = figures(table1["EXO → EGO, DINOv2", "No adaptation"])
    for name, label in (("table3", "No Adaptation"), ("table4", "0 %"), ("table5", "No adaptation")):
        assert figures(rows(name)["", label]) == unadapted, name
    ego = figures(table1["EGO → EGO (ego-oracle)", "TSM"])
    assert figures(rows("supp-table2")["EGO → EGO (ego-oracle)", "TSM of ego"]) == ego
    assert figures(rows("supp-table3")["", "TSM of ego"]) == ego
    assert figures(rows("table2")["EGO → EGO", "DINOv2 (ego-oracle)"]) == figures(
        table1["EGO → EGO (ego-oracle)", "DINOv2"]
    )


@pytest.mark.parametrize(
    ("name", "group", "label", "line"),
    [
        # Lines of the paper, to the letter.
        ("table1", "EXO → EXO (exo-oracle)", "TSM", "31.45 34.24 29.92 20.88 37.39"),
        ("table3", "", "GRL", "16.57 15.43 8.23 2.78 16.84"),
        ("table4", "", "15 %", "16.31 15.52 12.4 7.15 17.27"),
        ("table4", "", "75 %", "25.14 26.41 21.87 15.39 29.55"),
        ("table5", "paired by number", "0.5 %", "27.68 27.87 23.84 16.29 31.22"),
        ("table5", "paired by number", "3.0 %", "22.19 21.15 17.98 10.92 25.63"),
        ("table6", "EGO → EGO", "Ego oracle", "28.74 24.55 19.88 10.21 40.45"),
        ("supp-table1", "", "1–2", "26.45 28.69 23.67 15.42 31.66"),
        ("supp-table2", "EXO → EGO", "TSM of exo and ego", "28.28 30.13 24.96 16.81 35.37"),
        ("supp-table3", "", "TSM of exo, distilled", "28.61 30.60 26.39 18.87 36.06"),
        ("supp-table4", "", "Ours", "20.31 21.89 17.58 10.54 22.73"),
    ],
)
def test_lines_of_the_paper(name: str, group: str, label: str, line: str) -> None:
    assert figures(rows(name)[group, label]) == [float(text) for text in line.split()]


def test_checks_of_the_supplement() -> None:
    accuracy = [row.paper["accuracy"] for row in read_experiment("supp-table5").rows if row.paper]
    assert accuracy == [13.4, 0.5, 7.15, 5.10, 6.65]
    assert [row.paper["recall_5"] for row in read_experiment("retrieval").rows if row.paper] == [20.52, 32.51]
