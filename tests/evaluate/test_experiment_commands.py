"""`sync-eval table NAME` and `plot NAME` as users type them."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from sync_experiments.expansion import PlannedRow, plan_experiment
from sync_experiments.experiment import read_experiment
from sync_store.project import load_project

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def plan(folder: Any, name: str) -> dict[str, PlannedRow]:
    rows = plan_experiment(read_experiment(name), load_project(folder.root))
    return {f"{row.row.group}/{row.row.label}": row for row in rows}


@pytest.fixture
def trained(folder: Any, run_row: Callable[..., None]) -> Any:
    """Table 4 at 10 % and 100 % of the pairs, and without adaptation; one recording has no labels."""
    folder.add("r1", "a*10 b*10")
    folder.add("r2", None)
    rows = plan(folder, "table4")
    run_row(folder, rows["/0 %"], "a*20", "a*20")
    run_row(folder, rows["/10 %"], "a*20", "a*16 b*4")
    run_row(folder, rows["/100 %"], "a*10 b*10", "a*12 b*8")
    return folder


def test_the_table_and_the_bare_name_of_it(trained: Any, sync_eval: Command) -> None:
    done = sync_eval("table", "table4")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "note: recording r2 has no labels and isn't scored\n"
    lines = done.stdout.splitlines()
    assert lines[0] == "Table 4: Amounts of unlabelled synchronized pairs"
    assert "│ paper, on another dataset: Assembly101, v3 → e4" in lines[2]
    tenth, whole = (line.split() for line in lines if line.startswith(("10 %", "100 %")))
    assert tenth[-9:] == ["○60.00", "±", "14.14", "│", "13.58", "9.21", "7.78", "4.15", "10.75"]
    assert whole[-9:] == ["●95.00", "±", "7.07", "│", "●28.59", "●29.58", "●24.84", "●16.38", "●31.36"]
    assert "Mean ± standard deviation over 2 seeds." in lines
    assert sync_eval("table4").stdout == done.stdout
    assert sync_eval("table").returncode == 1, "runs of experiments aren't among one's own"


def test_a_row_of_one_table_is_the_same_run_in_another(trained: Any, sync_eval: Command) -> None:
    (document,) = json.loads(sync_eval("table3", "--json").stdout)["experiments"]
    by_label = {row["row"]: row for row in document["rows"]}
    assert by_label["Sync. (ours)"]["metrics"]["mof"]["mean"] == 95
    assert by_label["MMD"]["state"] == "lacks"


def test_several_tables_one_after_another_in_every_form(trained: Any, sync_eval: Command) -> None:
    text = sync_eval("table", "table4", "offsets").stdout
    assert text.index("Table 4: Amounts") < text.index("a constant offset")
    names = [
        each["name"] for each in json.loads(sync_eval("table4", "offsets", "--json").stdout)["experiments"]
    ]
    assert names == ["table4", "offsets"]
    lines = list(csv.DictReader(io.StringIO(sync_eval("table4", "offsets", "--format", "csv").stdout)))
    assert {line["experiment"] for line in lines} == {"table4", "offsets"}
    assert [line["mof_rank"] for line in lines if line["row"] == "100 %"] == ["1"]
    markdown = sync_eval("table4", "--format", "markdown").stdout
    assert "| **95.00 ± 7.07** |" in markdown and "| <u>60.00 ± 14.14</u> |" in markdown
    done = sync_eval("table4", "--format", "latex", "--output", "out/table4.tex")
    assert (done.returncode, done.stdout) == (0, "")
    written = (trained.root / "out" / "table4.tex").read_text()
    assert r"\textbf{95.00 $\pm$ 7.07}" in written and r"100 \% & " in written


def test_the_ordinary_table_as_latex(folder: Any, sync_eval: Command) -> None:
    folder.add("r1", "a*10 b*10")
    folder.predict({"r1": "a*10 b*10"}, method="tas_50%", run="[x]&y")
    document = sync_eval("--format", "latex").stdout
    assert r"tas\_50\% & e4 & 100.00 &" in document and r"run {[}x{]}\&y; features demo" in document


def test_the_protocol_is_that_of_the_project(trained: Any, sync_eval: Command) -> None:
    for arguments, variables in (
        (["--protocol", "published-concat"], {}),
        ([], {"SYNC_PROTOCOL": "published-concat"}),
    ):
        (document,) = json.loads(sync_eval("table4", "--json", *arguments, **variables).stdout)["experiments"]
        assert document["protocol"] == "published-concat"


def test_names_near_an_experiment_and_mixtures(trained: Any, sync_eval: Command) -> None:
    done = sync_eval("table", "table44")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "table44: there is no such folder, nor an experiment of that name; did you mean 'table4"
        in done.stderr
    )
    (trained.root / "elsewhere").mkdir()
    done = sync_eval("table", "elsewhere", "table4")
    assert done.returncode == 2
    assert (
        "table4 is an experiment and elsewhere a run folder; name experiments or run folders" in done.stderr
    )
    trained.predict({"r1": "a*20", "r2": "a*20"}, folder=trained.root / "table4" / "seed-0", run="mine")
    mine = json.loads(sync_eval("table4", "--json").stdout)
    assert [row["run"] for row in mine["rows"]] == ["mine"], "a folder goes before an experiment of its name"


def test_a_file_of_ones_own_and_runs_elsewhere(trained: Any, sync_eval: Command) -> None:
    (trained.root / "mine.toml").write_text(
        'title = "Mine"\nplace = "ours"\ndataset = "none"\n[[rows]]\nlabel = "a|b"\ntrain.pairs.share = 0.1\n'
    )
    (row,) = json.loads(sync_eval("mine.toml", "--json").stdout)["experiments"][0]["rows"]
    assert (row["row"], row["metrics"]["mof"]["mean"]) == ("a|b", 60)
    (trained.root / "experiments").rename(trained.root / "elsewhere")
    assert " 60.00" not in sync_eval("table", "mine.toml").stdout
    assert " 60.00" in sync_eval("table", "mine.toml", "--runs", "elsewhere").stdout
    assert sync_eval("plot", "table4", "--runs", "elsewhere").stdout == "elsewhere/plots/table4.png\n"
    done = sync_eval("table", "--runs", "elsewhere")
    assert done.returncode == 2 and "--runs is where the runs of an experiment are; name one" in done.stderr
    assert "other.toml: there is no such file" in sync_eval("table", "other.toml").stderr


def test_damaged_predictions_are_an_error(trained: Any, sync_eval: Command) -> None:
    run = trained.root / "experiments" / plan(trained, "table4")["/10 %"].run.name
    (run / "seed-1" / "predictions" / "tas" / "e4" / "r1.csv").write_text("changed")
    done = sync_eval("table4")
    assert done.returncode == 1 and "r1.csv: has changed since it was written" in done.stderr


def test_plot_draws_a_sweep_and_says_where(trained: Any, sync_eval: Command) -> None:
    done = sync_eval("plot", "table4")
    expected = trained.root / "experiments" / "plots" / "table4.png"
    assert (done.returncode, done.stdout) == (0, f"{expected}\n"), done.stderr
    with Image.open(expected) as image:
        assert image.format == "PNG"
    named = sync_eval("plot", "table4", "--output", "figures", "--json")
    assert json.loads(named.stdout) == {"plots": ["figures/table4.png"]}
    assert "sweeps no setting" in sync_eval("plot", "table1").stderr
    done = sync_eval("plot", "table4", "--recording", "r1")
    assert (
        done.returncode == 2 and "table4 is an experiment, of which --recording draws nothing" in done.stderr
    )


def test_curves_are_drawn_under_the_protocol_that_the_table_has(
    folder: Any, run_row: Callable[..., None], sync_eval_here: Command
) -> None:
    """Cut out and joined, both a's are one segment, and edit is another."""
    folder.add("r1", "a*10 -*5 a*5 b*10")
    run_row(folder, plan(folder, "table4")["/10 %"], "b*10 a*20")
    drawn = []
    for name, variables in (("masked", {}), ("joined", {"SYNC_PROTOCOL": "published-concat"})):
        done = sync_eval_here("plot", "table4", "--output", name, **variables)
        assert done.returncode == 0, done.stderr
        drawn.append((folder.root / name / "table4.png").read_bytes())
    assert drawn[0] != drawn[1]
    sync_eval_here("plot", "table4", "--protocol", "published-concat", "--output", "option")
    assert (folder.root / "option" / "table4.png").read_bytes() == drawn[1]
