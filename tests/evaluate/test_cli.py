"""The command as users type it, on real folders."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def trained(folder: Any) -> Any:
    """Two methods on four recordings, one of which has no labels."""
    for name in ("r1", "r2", "r3"):
        folder.add(name, "a*10 b*10")
    folder.add("r4", None)
    recordings = ("r1", "r2", "r3", "r4")
    folder.predict(dict.fromkeys(recordings, "a*10 b*10"), method="ego-oracle")
    folder.predict(dict.fromkeys(recordings, "a*5 c*15"), method="no-adaptation")
    return folder


def test_bare_command_prints_the_table_and_writes_nothing(trained: Any, sync_eval: Command) -> None:
    before = sorted(trained.root.rglob("*"))
    done = sync_eval()
    assert done.returncode == 0
    header, *_ = lines = done.stdout.splitlines()
    assert header.split()[0] == "method"
    assert [line.split()[0] for line in lines if "e4" in line] == ["ego-oracle", "no-adaptation"]
    assert done.stderr == "note: recording r4 has no labels and isn't scored\n"
    assert sorted(trained.root.rglob("*")) == before
    assert sync_eval("table").stdout == sync_eval("--project", trained.root).stdout == done.stdout


def test_json_csv_and_markdown_agree(trained: Any, sync_eval: Command) -> None:
    document = json.loads(sync_eval("--json").stdout)
    assert document == json.loads(sync_eval("table", "--format", "json").stdout)
    lines = list(csv.DictReader(io.StringIO(sync_eval("--format", "csv").stdout)))
    assert [float(line["mof"]) for line in lines] == [row["mof"] for row in document["rows"]] == [100, 25]
    markdown = sync_eval("--format", "markdown").stdout
    assert "| no-adaptation | e4 | 50.00 | 50.00 | 50.00 | 50.00 | 25.00 | 100.0% |" in markdown
    assert document["notes"] == ["recording r4 has no labels and isn't scored"]


def test_runs_side_by_side_and_output_to_a_file(trained: Any, sync_eval: Command) -> None:
    frames = dict.fromkeys(("r1", "r2", "r3", "r4"), "a*20")
    trained.predict(frames, run="other", folder=trained.root / "elsewhere")
    done = sync_eval("runs/main", "elsewhere", "--output", "out/table.md", "--format", "markdown")
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote out/table.md" in done.stderr
    written = (trained.root / "out" / "table.md").read_text()
    assert "| tas | other | e4 |" in written and "| ego-oracle | main | e4 |" in written
    (alone,) = json.loads(sync_eval("table", "elsewhere", "--json").stdout)["rows"]
    assert (alone["run"], alone["mof"]) == ("other", 50)


def test_protocol_from_the_project_file_the_option_or_the_environment(
    trained: Any, sync_eval: Command
) -> None:
    project = trained.root / "sync.toml"
    project.write_text(project.read_text() + '\n[evaluate]\nprotocol = "published-concat"\n')
    assert json.loads(sync_eval("--json").stdout)["protocol"] == "published-concat"
    assert json.loads(sync_eval("--json", "--protocol", "masked").stdout)["protocol"] == "masked"
    assert json.loads(sync_eval("--json", SYNC_PROTOCOL="masked").stdout)["protocol"] == "masked"
    project.write_text(project.read_text().replace("protocol", "protcol"))
    done = sync_eval()
    assert done.returncode == 1 and "unknown key 'protcol', did you mean 'protocol'?" in done.stderr


def test_unsegmented_classes_of_the_project_file(folder: Any, sync_eval: Command) -> None:
    """The published figures for B as a background class, and every form says that it was one."""
    folder.add("m3", "B*5 a*10 B*5 b*10")
    folder.predict({"m3": "a*12 B*3 b*10 B*5"})
    assert json.loads(sync_eval("--json").stdout)["rows"][0]["edit"] == 50
    project = folder.root / "sync.toml"
    project.write_text(project.read_text() + '\n[evaluate]\nunsegmented = ["B", "SIL"]\n')
    done = sync_eval("--json")
    assert done.stderr == "note: split test has no label 'SIL', given as unsegmented\n"
    (row,) = json.loads(done.stdout)["rows"]
    keys = ("edit", "mof", "f1_10", "f1_25", "f1_50", "unsegmented")
    assert [row[key] for key in keys] == [100, 40, 100, 100, 0, ["B", "SIL"]]
    (line,) = csv.DictReader(io.StringIO(sync_eval("--format", "csv").stdout))
    assert (line["unsegmented"], line["edit"]) == ("B; SIL", "100.0")
    for form in ("text", "markdown"):
        note = "run main; features demo; split test; sequences 1; frames 30; protocol masked; no segments of B, SIL."
        assert sync_eval("--format", form).stdout.splitlines()[-1] == note
    project.write_text(project.read_text().replace("background = []", 'background = ["B"]'))
    fails(sync_eval(), "[evaluate] unsegmented: 'B' is in dataset.background too")
    project.write_text(project.read_text().replace('["B", "SIL"]', '"B"'))
    fails(sync_eval(), "[evaluate]: unsegmented must be a list of str, got 'B'")


def fails(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_errors_are_one_line_and_say_what_to_do(folder: Any, sync_eval: Command, tmp_path: Path) -> None:
    fails(sync_eval(), "no sync.toml in")
    folder.add("r1", "a*10")
    folder.add("r2", "a*10")
    fails(sync_eval(), "runs: there is no such folder; train first with: sync-train")
    fails(sync_eval("tabel"), "tabel: there is no such folder")
    folder.predict({"r1": "a*10"})
    fails(sync_eval(), "1 of the 2 recordings of split test weren't predicted: r2.")
    fails(sync_eval("plot", "--recording", "r2"), "recording r2 wasn't predicted")
    fails(sync_eval("plot", "--recording", "../r1"), "recording name '../r1'")
    (tmp_path / "runs" / "main" / "seed-0" / "predictions" / "tas" / "e4" / "predictions.json").write_text(
        "{"
    )
    fails(sync_eval(), "predictions.json: can't be read as JSON")


def test_wrong_usage_is_status_2(sync_eval: Command) -> None:
    for arguments in (
        ["--nonsense"],
        ["table", "--format", "pdf"],
        ["score"],
        ["plot", "--format", "text"],
        ["plot", "--protocol", "masked"],
    ):
        done = sync_eval(*arguments)
        assert done.returncode == 2 and "Error: " in done.stderr


def test_plot_writes_a_figure_a_recording_and_says_where(trained: Any, sync_eval: Command) -> None:
    done = sync_eval("plot")
    expected = [trained.root / "runs" / "plots" / f"{name}.png" for name in ("r1", "r2", "r3")]
    assert (done.returncode, done.stdout.splitlines()) == (0, [str(path) for path in expected])
    for path in expected:
        with Image.open(path) as image:
            assert image.format == "PNG" and image.width == 1800
    done = sync_eval(
        "plot", "runs/main", "--recording", "r4", "--recording", "r1", "--output", "figures", "--json"
    )
    assert json.loads(done.stdout) == {"plots": ["figures/r4.png", "figures/r1.png"]}
    assert (trained.root / "figures" / "r4.png").is_file()
    assert sync_eval().returncode == 0, "plots below the runs don't disturb the table"


def test_plot_over_runs_of_several_splits_leaves_out_who_did_not_test(
    folder: Any, sync_eval: Command
) -> None:
    for name in ("r1", "r2"):
        folder.add(name, "a*10 b*10")
    (folder.root / "splits" / "other.txt").write_text("r2\nr3\n")
    folder.predict(dict.fromkeys(("r1", "r2"), "a*20"))
    folder.predict(dict.fromkeys(("r2", "r3"), "b*20"), split="other", run="later")
    done = sync_eval("plot")
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()] == ["r2.png", "r3.png", "r1.png"]
    fails(sync_eval("plot", "--recording", "r9"), "recording r9 wasn't predicted", "split other, test")
    fails(sync_eval("plot", "runs/main", "--recording", "r3"), "recording r3 wasn't predicted")


def write_frames(folder: Path, **files: str) -> None:
    folder.mkdir()
    for name, short in files.items():
        runs = (word.split("*") for word in short.split())
        labels = [label for label, times in runs for _ in range(int(times))]
        (folder / f"{name}.txt").write_text("".join(f"{label}\n" for label in labels))


def test_score_gives_the_published_figures(tmp_path: Path, sync_eval: Command) -> None:
    write_frames(tmp_path / "p", m1="a*8 b*12 c*10", m2="a*5 b*2 a*3 b*10 c*10", m3="a*12 B*3 b*10 B*5")
    write_frames(tmp_path / "g", m1="a*10 b*10 c*10", m2="a*10 b*10 a*10", m3="B*5 a*10 B*5 b*10")
    done = sync_eval("score", "--pred", "p", "--gt", "g", "--background", "B", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    keys = ("edit", "mof", "f1_10", "f1_25", "f1_50")
    assert [found[key] for key in keys] == pytest.approx(
        [86.666667, 64.444444, 77.777778, 77.777778, 55.555556], abs=1e-6
    )
    assert (found["num_sequences"], found["num_frames"]) == (3, 90)
    text = sync_eval("score", "--pred", "p", "--gt", "g", "--background", "B").stdout
    assert text.splitlines()[0] == "3 files, 90 frames"
    assert dict(line.split() for line in text.splitlines()[1:]) == {
        "Edit": "86.67",
        "F1@10": "77.78",
        "F1@25": "77.78",
        "F1@50": "55.56",
        "MoF": "64.44",
    }


def test_score_tells_of_bad_folders_and_misspelt_background(tmp_path: Path, sync_eval: Command) -> None:
    write_frames(tmp_path / "p", r1="a*3", r2="[red]*2")
    write_frames(tmp_path / "g", r1="a*3", r2="<b>*2")
    done = sync_eval("score", "--pred", "p", "--gt", "g", "--background", "Background", "--json")
    assert done.stderr == "note: no file has a label 'Background', given as background\n"
    assert json.loads(done.stdout)["edit"] == 50
    (tmp_path / "p" / "r2.txt").write_text("a\n")
    fails(sync_eval("score", "--pred", "p", "--gt", "g"), "r2.txt: 1 labels in p/r2.txt, but 2 in g/r2.txt")
    (tmp_path / "p" / "r2.txt").unlink()
    fails(sync_eval("score", "--pred", "p", "--gt", "g"), "p: has no r2.txt")
    fails(sync_eval("score", "--pred", "p", "--gt", "nowhere"), "nowhere: there is no such folder")


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after `code` has run in a fresh interpreter."""
    report = "\nimport sys; print('\\n' + ' '.join(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_needs_no_numpy_and_nothing_needs_torch(trained: Any) -> None:
    start = "from sync_eval.cli import main\n"
    heavy = {"numpy", "matplotlib", "rich", "rapidfuzz", "zarr", "torch"}
    assert not heavy & loaded_by(f"{start}main(['--help'], standalone_mode=False)")
    table = loaded_by(f"{start}main(['--project', {str(trained.root)!r}], standalone_mode=False)")
    assert {"numpy", "rich"} <= table and not {"torch", "matplotlib", "zarr"} & table
    plot = loaded_by(f"{start}main(['plot', '--project', {str(trained.root)!r}], standalone_mode=False)")
    assert "matplotlib" in plot and "torch" not in plot


def test_help_names_every_command(sync_eval: Command) -> None:
    done = sync_eval("--help")
    assert done.returncode == 0
    for command in ("table", "plot", "score"):
        assert f"\n  {command} " in done.stdout
        assert sync_eval(command, "--help").returncode == 0
