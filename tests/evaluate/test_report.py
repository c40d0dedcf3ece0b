"""The report's page as a file: its data against the files it was made from, and that nothing in a name gets out."""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_eval.report.page import _json_in_html
from sync_eval.runs import find_groups
from sync_eval.scoring import read_truth, score_set
from sync_experiments.expansion import plan_experiment
from sync_experiments.experiment import read_experiment
from sync_store.project import load_project

Command = Callable[..., "subprocess.CompletedProcess[str]"]

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "\"'>&amp;{{ 7 * 7 }}{% raw %}",
    "schließen 漢字 🙂 \u202e",
    "javascript:alert(3)",
    "__proto__",
)

LOADING = {"src", "href", "srcset", "data", "poster", "action", "background", "style", "xlink:href"}
"""Attributes that fetch something, or style it."""


class Page(HTMLParser):
    """What a page consists of, as Python's own parser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.texts: list[str] = []
        self.cells: list[tuple[str, list[str]]] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.raw:
            self.raw[self._inside][-1] += data
        elif data.strip():
            self.texts.append(data.strip())
            if self._inside == "td":
                self.cells.append((data.strip(), str(self.tags[-1][1].get("class", "")).split()))

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw["script"][0])
        return found


@pytest.fixture
def trained(folder: Any) -> Any:
    """Two methods, one with two seeds, on three recordings, one of which has no labels."""
    folder.add("r1", "a*10 b*10 -*5 a*5")
    folder.add("r2", "a*10 b*10")
    folder.add("r3", None)
    names = ("r1", "r2", "r3")
    folder.predict(dict.fromkeys(names, "a*12 b*18"), method="tas", seed=0)
    folder.predict(dict.fromkeys(names, "b*15 c*15"), method="tas", seed=2)
    folder.predict(dict.fromkeys(names, "a*5 c*15"), method="exo-oracle", view="v3", kind="exo", seed=2)
    return folder


def page_of(folder: Any, name: str = "report.html") -> Page:
    return Page((folder.root / name).read_text())


def spelled(flat: list[int], classes: list[dict[str, str]]) -> list[tuple[float, float, str]]:
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [(start / 1000, (start + length) / 1000, classes[each]["name"]) for start, length, each in triples]


def test_bars_are_those_of_the_files(trained: Any, sync_eval: Command) -> None:
    done = sync_eval("report")
    assert (done.returncode, done.stdout) == (0, f"{trained.root / 'report.html'}\n"), done.stderr
    data = page_of(trained).data
    assert [(row["name"], row["seeds"]) for row in data["rows"]] == [
        ("exo-oracle, v3", [2]),
        ("tas, e4", [0, 2]),
    ]
    r1, _, r3 = data["recordings"]
    assert spelled(r1["truth"], data["classes"]) == [(0, 1, "a"), (1, 2, "b"), (2.5, 3, "a")]
    assert [spelled(flat, data["classes"]) for flat in r1["bars"][1]] == [
        [(0, 1.2, "a"), (1.2, 3, "b")],
        [(0, 1.5, "b"), (1.5, 3, "c")],
    ]
    assert (r3["truth"], r3["scores"]) == ([], [[None], [None, None]])
    assert len({each["color"] for each in data["classes"]}) == 3


def test_scores_of_a_recording_are_those_of_a_split_of_it_alone(trained: Any, sync_eval: Command) -> None:
    sync_eval("report")
    shown = page_of(trained).data["recordings"][0]["scores"]
    (trained.root / "splits" / "test.txt").write_text("r1\n")
    truth = read_truth(trained.dataset, "test")
    for group, of_seeds in zip(find_groups([trained.root / "runs"]), shown, strict=True):
        for found, values in zip(group.sets, of_seeds, strict=True):
            scores = score_set(found, truth).scores
            expected = [scores.edit, scores.f1_10, scores.f1_25, scores.f1_50, scores.mof]
            assert values == pytest.approx(expected, abs=0.005)


def test_the_table_and_its_notes_are_those_of_the_table_command(trained: Any, sync_eval: Command) -> None:
    sync_eval("report", "--protocol", "published-concat")
    texts = page_of(trained).texts
    table = sync_eval("table", "--protocol", "published-concat").stdout.splitlines()
    cells = [cell for line in table[2:5] for cell in re.split(r"\s{2,}", line.strip()) if line.strip()]
    assert cells and [cell for cell in cells if cell not in texts] == []
    assert table[-2] in texts and "protocol published-concat" in table[-2]
    assert "recording r3 has no labels and isn't scored" in texts


def test_runs_output_and_json(trained: Any, sync_eval: Command) -> None:
    trained.predict(dict.fromkeys(("r1", "r2", "r3"), "a*20"), run="other", folder=trained.root / "else")
    done = sync_eval("report", "else", "--output", "pages/other.html", "--json")
    assert json.loads(done.stdout) == {"report": "pages/other.html"}
    assert [row["name"] for row in page_of(trained, "pages/other.html").data["rows"]] == ["tas"]
    assert not (trained.root / "report.html").exists()


def test_videos_are_named_from_the_pages_folder_or_left_out(trained: Any, sync_eval: Command) -> None:
    (trained.root / "videos" / "r1").mkdir(parents=True)
    (trained.root / "videos" / "r1" / "e4.mp4").write_bytes(b"never opened")
    sync_eval("report", "--output", "deep/er/page.html")
    recordings = page_of(trained, "deep/er/page.html").data["recordings"]
    assert [[video["src"] for video in each["videos"]] for each in recordings] == [
        ["../../videos/r1/e4.mp4"],
        [],
        [],
    ]
    sync_eval("report", "--no-videos")
    assert [each["videos"] for each in page_of(trained).data["recordings"]] == [[], [], []]
    assert "e4.mp4" not in (trained.root / "report.html").read_text()


def test_the_same_runs_give_the_same_page(trained: Any, sync_eval: Command) -> None:
    sync_eval("report")
    sync_eval("report", "--output", "again.html", PYTHONHASHSEED="7")
    assert (trained.root / "report.html").read_bytes() == (trained.root / "again.html").read_bytes()


def test_experiments_by_name(folder: Any, sync_eval_here: Command, run_row: Callable[..., None]) -> None:
    folder.add("r1", "a*10 b*10")
    done = sync_eval_here("report", "table4", "table3")
    assert done.returncode == 1 and "no row of table4, table3 has predictions yet" in done.stderr
    rows = {
        row.row.label: row for row in plan_experiment(read_experiment("table4"), load_project(folder.root))
    }
    run_row(folder, rows["0 %"], "a*20", "a*20")
    run_row(folder, rows["10 %"], "a*20", "a*16 b*4")
    run_row(folder, rows["100 %"], "a*10 b*10", "a*12 b*8")
    done = sync_eval_here("report", "table4", "table3")
    assert done.returncode == 0, done.stderr
    page = page_of(folder)
    names = [row["name"] for row in page.data["rows"]]
    assert len(set(names)) == len(names) == 3, "a row of both tables is shown once"
    assert [row["seeds"] for row in page.data["rows"]] == [[0, 1]] * 3
    assert any(text.startswith("Table 4: Amounts of") for text in page.texts)
    assert any(text.startswith("Table 3: ") for text in page.texts)
    marked = [text for text, classes in page.cells if "best" in classes]
    assert "95.00 ± 7.07" in marked and "28.59" in marked
    assert "60.00 ± 14.14" in [text for text, classes in page.cells if "second" in classes]
    (folder.root / "experiments").rename(folder.root / "else")
    done = sync_eval_here("report", "table4")
    assert done.stderr.endswith("Run them with: sync-train experiment table4\n"), done.stderr
    done = sync_eval_here("report", "table3", "--runs", "empty")
    assert done.stderr.startswith("error: empty: no row of table3 has predictions yet")
    assert done.stderr.endswith("Run them with: sync-train experiment table3 --runs empty\n")
    done = sync_eval_here("report", "retrieval", "table4", "--runs", "else")
    assert done.returncode == 0, done.stderr
    page = page_of(folder)
    assert [row["name"] for row in page.data["rows"]] == ["0 %", "10 %", "100 %"]
    titles = [read_experiment(name).title for name in ("retrieval", "table4")]
    shown = [text for text in page.texts if text.endswith(tuple(titles))]
    assert len(shown) == 2, "the table of an experiment without segmentations stands beside the other"


def test_experiments_without_segmentations_are_refused(folder: Any, sync_eval_here: Command) -> None:
    folder.add("r1", "a*10")
    for names in (("retrieval",), ("retrieval", "supp-table5")):
        done = sync_eval_here("report", *names)
        assert done.returncode == 1 and done.stderr == (
            f"error: {', '.join(names)}: numbers only, and no segmentations to show. Print them with: sync-eval table "
            f"{' '.join(names)}\n"
        )


def test_errors_are_those_of_the_table(folder: Any, sync_eval: Command) -> None:
    folder.add("r1", "a*10")
    done = sync_eval("report")
    assert done.returncode == 1 and "there is no such folder; train first with: sync-train" in done.stderr
    folder.predict({"r1": "a*10"})
    done = sync_eval("report", "--output", ".")
    assert done.returncode == 2 and "is a directory" in done.stderr


def write_hostile(folder: Any) -> None:
    frames = [label for label in HOSTILE for _ in range(10)]
    folder.add("r&1 'q' #%41 ü", frames)
    folder.predict(
        {"r&1 'q' #%41 ü": frames[::-1]},
        run=HOSTILE[1],
        folder=folder.root / "runs" / "main" / "seed-0",
        feature_set=HOSTILE[0],
        trained_on=(HOSTILE[1], HOSTILE[2]),
        protocol={"selection": HOSTILE[0]},
    )
    folder.predict({"r&1 'q' #%41 ü": frames}, run=HOSTILE[0], folder=folder.root / "runs" / "b" / "seed-0")
    stage = folder.root / "runs" / "main" / "seed-0" / "tas"
    stage.mkdir()
    (stage / "journal.jsonl").write_text('{"epoch": 0, "loss": 1.0}\n{"epoch": 1, "loss": 0.5}\n')


def test_hostile_names_stay_text(folder: Any, sync_eval: Command) -> None:
    write_hostile(folder)
    done = sync_eval("report")
    assert done.returncode == 0, done.stderr
    page = page_of(folder)
    assert {each["name"] for each in page.data["classes"]} == set(HOSTILE)
    assert [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "link", "base")] == []
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert [name for _, attributes in page.tags for name in attributes if name.startswith("on")] == []
    assert any(HOSTILE[0] in text for text in page.texts) and any(HOSTILE[1] in text for text in page.texts)
    assert "49" not in page.texts


def test_nothing_is_loaded_and_only_known_code_may_run(trained: Any, sync_eval: Command) -> None:
    sync_eval("report")
    page = page_of(trained)
    loading = [(tag, value) for tag, found in page.tags for name, value in found.items() if name in LOADING]
    assert loading and all(tag == "a" and str(value).startswith("#") for tag, value in loading)
    assert not re.search(r"url\(|@import", page.raw["style"][0])
    assert not re.search(
        r"innerHTML|outerHTML|document\.write|\beval\b|fetch\(|XMLHttp|import\(", page.raw["script"][1]
    )
    (policy,) = [
        found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "style-src": digest(page.raw["style"][0]),
        "script-src": digest(page.raw["script"][1]),
        "media-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }


@given(st.recursive(st.text() | st.sampled_from(HOSTILE) | st.integers(), lambda each: st.lists(each)))
def test_json_in_a_page_reads_back_and_holds_no_markup(value: Any) -> None:
    text = str(_json_in_html(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_a_page_without_journals_or_notes(folder: Any, sync_eval: Command) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"})
    sync_eval("report")
    page = page_of(folder)
    assert "Learning curves" not in page.texts and "Scores" in page.texts
