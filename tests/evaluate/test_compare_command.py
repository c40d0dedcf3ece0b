"""`sync-eval compare` as people type it, on real prediction sets, and the names of rows."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_eval.row_names import find_row
from sync_eval.runs import find_groups
from sync_store.errors import DatasetError

Command = Callable[..., Any]
"""Takes arguments, runs the command, and returns its status and what it printed."""

METRICS = ("edit", "f1_10", "f1_25", "f1_50", "mof")


@pytest.fixture
def compare(sync_eval_here: Command) -> Command:
    """Runs `sync-eval compare` within the test's process, in the test's folder."""
    return partial(sync_eval_here, "compare")


@pytest.fixture(scope="module")
def trained(make_folder: Callable[..., Any]) -> Any:
    """24 recordings; `tas` is right more often than `feature`, with three seeds each, and `zoo` with one."""
    folder = make_folder()
    rng = np.random.default_rng(0)
    truth = {}
    for index in range(24):
        frames = [name for name in rng.permutation(list("abcd")) for _ in range(int(rng.integers(4, 12)))]
        truth[f"r{index:02}"] = frames
        folder.add(f"r{index:02}", frames)
    for method, wrong, seeds in (("feature", 0.6, (0, 1, 2)), ("tas", 0.2, (0, 1, 2)), ("zoo", 0.58, (0,))):
        for seed in seeds:
            predicted = {
                name: [str(rng.choice(list("abcd"))) if rng.random() < wrong else label for label in frames]
                for name, frames in truth.items()
            }
            folder.predict(predicted, method=method, seed=seed)
    return folder


def test_text_says_what_is_resolved_and_what_that_means(trained: Any, sync_eval: Command) -> None:
    before = sorted(trained.root.rglob("*"))
    done = sync_eval("compare", "--project", trained.root, "feature", "tas", "zoo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    words = [
        "row",
        "reference",
        "metric",
        "score",
        "ref. score",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
    ]
    assert lines[0].split() == [*" ".join(words).split(), "verdict"]
    assert [line.split()[:3] for line in lines[2:7]] == [
        ["tas", "feature", name] for name in ("Edit", "F1@10", "F1@25", "F1@50", "MoF")
    ]
    assert lines[6].endswith(" better") and lines[7] == ""
    assert sum(line.endswith("not resolved") for line in lines) >= 4, "zoo is like feature"
    notes = "\n".join(lines[lines.index("", 8) :])
    assert "of the 24 recordings of split test that have labels; protocol masked" in notes
    assert "from 10,000 paired bootstrap replicates (seed 0)" in notes
    assert "p (Holm), corrected over all lines of this table (10), is at most 0.05" in notes
    assert "It doesn't say that both are equal" in notes
    assert "tas: run main; method tas; view e4; features demo; seeds 0, 1, 2." in notes
    assert "zoo: run main; method zoo; view e4; features demo; seed 0." in notes
    assert "zoo has one seed, which can't be resampled: what is found holds for this model on" in notes
    assert (
        "\n3 seeds are few: where seeds make more of the uncertainty than recordings do, intervals are"
        in notes
    )
    assert sorted(trained.root.rglob("*")) == before, "nothing is written"


def test_json_agrees_with_the_table_csv_and_itself(
    trained: Any, compare: Command, sync_eval: Command
) -> None:
    asked = ("--project", trained.root, "feature", "tas", "zoo")
    text = compare(*asked, "--json", "--format", "csv").stdout
    document = json.loads(text)
    assert compare(*asked, "--json").stdout == text
    rows = {
        row["method"]: row
        for row in json.loads(sync_eval("--project", trained.root, "--json").stdout)["rows"]
    }
    for line in document["comparisons"]:
        assert line["score"] == pytest.approx(rows[line["row"]][line["metric"]])
        assert line["reference_score"] == pytest.approx(rows["feature"][line["metric"]])
        assert line["difference"] == line["score"] - line["reference_score"]
        assert line["low"] <= line["difference"] <= line["high"] and line["p_value"] <= line["p_holm"]
        assert (line["verdict"] == "not resolved") == (line["p_holm"] > 0.05)
    assert [(line["row"], line["metric"]) for line in document["comparisons"]] == [
        (row, metric) for row in ("tas", "zoo") for metric in METRICS
    ]
    told = ("split", "protocol", "num_recordings", "replicates", "seed", "confidence", "family_size", "notes")
    assert [document[name] for name in told] == ["test", "masked", 24, 10_000, 0, 0.95, 10, []]
    assert [(row["name"], row["seeds"]) for row in document["rows"]] == [
        ("feature", [0, 1, 2]),
        ("tas", [0, 1, 2]),
        ("zoo", [0]),
    ]
    lines = list(csv.DictReader(io.StringIO(compare(*asked, "--format", "csv").stdout)))
    assert lines == [{k: str(v) for k, v in line.items()} for line in document["comparisons"]]


def test_options(trained: Any, compare: Command) -> None:
    def compared(*options: str) -> Any:
        asked = ("--project", trained.root, "feature", "tas", "zoo", "--json")
        return json.loads(compare(*asked, *options).stdout)

    one = compared("--metric", "mof", "--metric", "edit", "--replicates", "1000", "--seed", "5")
    assert [(line["row"], line["metric"]) for line in one["comparisons"]] == [
        (row, metric) for row in ("tas", "zoo") for metric in ("edit", "mof")
    ]
    assert (one["replicates"], one["seed"], one["family_size"]) == (1000, 5, 4)
    pairs = compared("--all-pairs", "--metric", "mof")["comparisons"]
    assert [(line["reference"], line["row"]) for line in pairs] == [
        ("feature", "tas"),
        ("feature", "zoo"),
        ("tas", "zoo"),
    ]
    assert compared("--protocol", "published-concat")["protocol"] == "published-concat"
    markdown = compare(
        *("--project", trained.root, "feature", "tas", "--metric", "mof", "--format", "markdown")
    ).stdout
    assert markdown.splitlines()[1] == "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert markdown.splitlines()[2].startswith("| tas | feature | MoF |")
    assert markdown.splitlines()[2].endswith("| better |")


def test_unsegmented_classes_of_the_project_file_count(folder: Any, compare: Command) -> None:
    """`feature` misses the first B, which costs edit only if B forms segments."""
    for name in ("r1", "r2"):
        folder.add(name, "B*5 a*10 B*5")
    folder.predict(dict.fromkeys(("r1", "r2"), "a*15 B*5"), method="feature")
    folder.predict(dict.fromkeys(("r1", "r2"), "B*5 a*10 B*5"), method="tas")
    (line,) = json.loads(compare("feature", "tas", "--metric", "edit", "--json").stdout)["comparisons"]
    assert line["difference"] > 30 and line["verdict"] == "better"
    project = folder.root / "sync.toml"
    project.write_text(project.read_text() + '\n[evaluate]\nunsegmented = ["B"]\n')
    document = json.loads(compare("feature", "tas", "--metric", "edit", "--json").stdout)
    assert document["comparisons"][0]["difference"] == 0 and document["unsegmented"] == ["B"]
    assert "protocol masked; no segments of B. Difference" in compare("feature", "tas").stdout


def test_a_row_against_itself(trained: Any, compare: Command) -> None:
    done = compare("--project", trained.root, "tas", "main/tas@e4")
    assert [line.split()[5:] for line in done.stdout.splitlines()[2:7]] == [
        ["+0.00", "+0.00", "to", "+0.00", "1.000", "1.000", "not", "resolved"]
    ] * 5


def test_a_line_that_only_the_correction_leaves_unresolved_is_marked(folder: Any, compare: Command) -> None:
    """4 of 24 recordings better, the rest equal: p = 2 · (20/24)²⁴ = 0.025 alone, but not one of five lines."""
    truth = {f"r{index:02}": "a*20" for index in range(24)}
    for name, frames in truth.items():
        folder.add(name, frames)
    folder.predict(dict.fromkeys(truth, "a*10 b*10"), method="feature")
    folder.predict({name: "a*10 b*10" if name > "r03" else "a*11 b*9" for name in truth}, method="tas")
    (alone,) = json.loads(compare("feature", "tas", "--metric", "mof", "--json").stdout)["comparisons"]
    done = compare("feature", "tas")
    assert (
        alone["low"] > 0
        and alone["verdict"] == "better"
        and alone["p_value"] == pytest.approx(0.025, abs=0.005)
    )
    assert done.stdout.splitlines()[6].endswith("not resolved (!)")
    assert (
        "(!) The line's own interval leaves zero out, but of 5 lines some would do so by chance"
        in done.stdout
    )
    assert "(!)" not in compare("feature", "tas", "--metric", "mof").stdout


def test_few_recordings_and_selection_on_test_are_said(folder: Any, compare: Command) -> None:
    for name in ("r1", "r2", "r3"):
        folder.add(name, "a*10 b*10")
    folder.add("r4", None)
    recordings = ("r1", "r2", "r3", "r4")
    chosen = {"selection": "teacher published-test-ego"}
    for method in ("feature", "tas"):
        folder.predict(dict.fromkeys(recordings, "a*10 b*10"), method=method, protocol=chosen)
    done = compare("feature", "tas")
    assert done.stderr == "note: recording r4 has no labels and isn't scored\n"
    assert "3 recordings are few for a bootstrap: the intervals are somewhat too narrow." in done.stdout
    assert done.stdout.splitlines()[2].split()[:2] == ["tas‡", "feature‡"]
    assert "‡ Labels of the test split chose the epoch of a stage (published-test-ego)" in done.stdout
    assert done.stdout.endswith("\nThe intervals know nothing of how epochs were chosen.\n")
    assert "seeds are few" not in done.stdout
    assert (
        "feature, tas have one seed, which can't be resampled: what is found holds for these models"
        in done.stdout
    )
    folder.predict(dict.fromkeys(recordings, "a*20"), method="zoo")
    for rows in (("feature", "zoo"), ("zoo", "feature")):
        done = compare(*rows)
        assert done.returncode == 1
        assert (
            "error: labels of the test split chose the epoch of feature (published-test-ego) and not that of zoo"
            in done.stderr
        )


def test_few_seeds_missing_predictions_and_trained_backbones_are_said(folder: Any, compare: Command) -> None:
    for name in ("r1", "r2"):
        folder.add(name, "a*10 b*10")
    for method, num_seeds, frames in (("feature", 5, "a*20"), ("tas", 3, "a*10 -*10"), ("mmd", 2, "a*20")):
        for seed in range(num_seeds):
            told = {"trained_on": ("views of train",)} if method == "mmd" else {}
            folder.predict(dict.fromkeys(("r1", "r2"), frames), method=method, seed=seed, **told)
    lines = compare("feature", "tas", "mmd").stdout.splitlines()
    assert "tas has predictions for 50.0% of the frames; the others count as wrong." in lines
    assert "mmd†: run main; method mmd; view e4; features demo; seeds 0, 1." in lines
    assert "† The backbone of demo was trained on: views of train." in lines
    assert [line.split()[:2] for line in lines[2:13:6]] == [["tas", "feature"], ["mmd†", "feature"]]
    (few,) = (line for line in lines if "seeds are few" in line)
    assert few.startswith("2 and 3 seeds are few: ") and few.endswith(" too narrow and p is too small.")
    assert "seeds are few" not in compare("feature", "main/feature").stdout
    rows = json.loads(compare("feature", "tas", "--json").stdout)["rows"]
    assert [row["coverage"] for row in rows] == [1, 0.5]


@pytest.fixture
def many(folder: Any) -> Any:
    """`tas` in two runs, `mmd` of two views in one, `exo-oracle` once."""
    folder.add("r1", "a*10")
    folder.add("r2", "a*10")
    frames = {"r1": "a*10", "r2": "a*5 b*5"}
    for run, method, view in (
        ("main", "tas", "e4"),
        ("wide", "tas", "e4"),
        ("main", "mmd", "e4"),
        ("main", "mmd", "e3"),
        ("main", "exo-oracle", "v3"),
    ):
        for seed in (0, 1):
            folder.predict(frames, run=run, method=method, view=view, seed=seed)
    return folder


@pytest.mark.parametrize(
    ("name", "run", "method", "view"),
    [
        ("exo-oracle", "main", "exo-oracle", "v3"),
        ("main/exo-oracle", "main", "exo-oracle", "v3"),
        ("exo-oracle@v3", "main", "exo-oracle", "v3"),
        ("main/tas", "main", "tas", "e4"),
        ("wide/tas@e4", "wide", "tas", "e4"),
        ("mmd@e3", "main", "mmd", "e3"),
    ],
)
def test_names_of_rows(many: Any, name: str, run: str, method: str, view: str) -> None:
    found = find_row(name, find_groups([many.root / "runs"]))
    assert (found.run, found.info.method, found.info.view, found.seeds) == (run, method, view, (0, 1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tas", r"'tas' may be main/tas or wide/tas: say which$"),
        ("mmd", r"'mmd' may be mmd@e3 or mmd@e4: say which$"),
        ("main/mmd", r"'main/mmd' may be mmd@e3 or mmd@e4: say which$"),
        ("exo_oracle", r"no row is called 'exo_oracle', did you mean 'exo-oracle'\?$"),
        ("mian/tas", r"no row is called 'mian/tas', did you mean 'main/tas'\?$"),
        (
            "xyzzy",
            r"no row is called 'xyzzy'; known: exo-oracle, main/tas, mmd@e3, mmd@e4, wide/tas$",
        ),
        ("runs-that-are-not-there/tas", "no row is called"),
    ],
)
def test_wrong_and_ambiguous_names(many: Any, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        find_row(name, find_groups([many.root / "runs"]))


def test_rows_that_differ_in_features_alone_are_told_apart_by_them(folder: Any) -> None:
    folder.add("r1", "a*10")
    for features in ("tsm", "dinov2"):
        folder.predict({"r1": "a*10"}, feature_set=features, folder=folder.root / "runs" / features)
    groups = find_groups([folder.root / "runs"])
    for name in ("tas", "main/tas@e4"):
        with pytest.raises(
            DatasetError, match=rf"'{name}' may be main\[dinov2\]/tas or main\[tsm\]/tas: say which$"
        ):
            find_row(name, groups)
    for name in ("main[tsm]/tas", "main[tsm]/tas@e4", str(folder.root / "runs" / "tsm")):
        assert find_row(name, groups).info.feature_set == "tsm"


def test_rows_with_one_full_name_are_told_apart_by_the_folder_of_all_their_seeds(folder: Any) -> None:
    folder.add("r1", "a*10")
    for split, seed in (("test", 0), ("test", 1), ("val", 0), ("val", 1)):
        place = folder.root / "runs" / split / f"seed-{seed}"
        folder.predict({"r1": "a*10"}, folder=place, split=split, seed=seed)
    groups = find_groups([folder.root / "runs"])
    with pytest.raises(DatasetError) as caught:
        find_row("tas", groups)
    one, other = (folder.root / "runs" / split for split in ("test", "val"))
    assert str(caught.value) == (
        f"'tas' is the name of 2 rows, in {one}, {other}. Give one of them by its folder"
    )
    assert find_row(str(one), groups).seeds == (0, 1)


def test_folders_as_rows(many: Any, compare: Command) -> None:
    done = compare("runs/wide", "main/tas", "--json")
    assert [(row["name"], row["run"], row["seeds"]) for row in json.loads(done.stdout)["rows"]] == [
        ("runs/wide", "wide", [0, 1]),
        ("main/tas", "main", [0, 1]),
    ]
    seed = Path("runs/main/seed-1/predictions/tas/e4")
    one_seed = json.loads(compare(seed, "wide/tas", "--json").stdout)
    assert one_seed["rows"][0]["seeds"] == [1]
    done = compare("runs/main", "wide/tas")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: runs/main: holds 4 rows (exo-oracle, tas, mmd@e3, mmd@e4). Name one of them, with --in runs/main, or "
        "its own folder\n"
    )


def test_rows_in_other_folders(many: Any, compare: Command) -> None:
    (many.root / "runs").rename(many.root / "elsewhere")
    done = compare("--in", "elsewhere/wide", "--in", "elsewhere/main", "main/tas", "wide/tas", "--json")
    assert [row["run"] for row in json.loads(done.stdout)["rows"]] == ["main", "wide"]
    only_folders = compare("elsewhere/wide", "elsewhere/wide/seed-0")
    assert (only_folders.returncode, only_folders.stderr) == (0, "")
    done = compare("main/tas", "wide/tas")
    assert done.returncode == 1 and "runs: there is no such folder" in done.stderr
    (many.root / "runs").mkdir()
    again = compare("elsewhere/wide", "elsewhere/wide/seed-0")
    assert again.stdout == only_folders.stdout, "runs that nobody names needn't be whole"
    (many.root / "main" / "tas").mkdir(parents=True)
    done = compare("main/tas", "elsewhere/wide")
    assert "error: main/tas: there are no finished runs in it" in done.stderr, "a folder goes before a row"


def test_rows_of_different_splits_are_refused(folder: Any, compare: Command) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"}, method="feature")
    folder.predict({"r1": "a*10"}, method="tas", split="test.split1")
    done = compare("feature", "tas")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: rows of one split can be compared, but feature on test and tas on test.split1 were predicted. Score "
        "them apart with: sync-eval table\n"
    )


def test_usage(many: Any, compare: Command) -> None:
    for rows in ((), ("tas",)):
        done = compare(*rows)
        assert done.returncode == 2 and "name two rows or more: the first is what" in done.stderr
    done = compare("main/tas", "wide/tas", "--replicates", "100")
    assert done.returncode == 2 and "100 is not in the range x>=1000" in done.stderr
    done = compare(*["main/tas"] * 9, "--replicates", "1000")
    assert done.returncode == 1
    assert "40 comparisons can't be resolved by 1000 replicates" in done.stderr
    assert "at least 1599 with --replicates" in done.stderr
