"""`sync-extract coverage` on stores of which rows are missing."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sync_extract.cli import main
from sync_store.errors import IncompleteError, StoreError
from sync_store.labels import grid_times
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

Invoke = Callable[..., Result]

LONG, SHORT = "9011-a01", "9026-b04b"


def write_rows(folder: Path, view: str, recording: str, rows: "slice | list[int]", *, name: str = "tsm",
               commit: bool = True) -> None:  # fmt: skip
    """Rows at these frames of a grid of 30 a second."""
    times = grid_times(19_143, Fraction(30))[rows]
    feature_set = FeatureSet(name=name, recipe={"name": name}, feature_dim=1)
    with RecordingWriter(
        folder / "features.zarr", feature_set, view, recording, timestamps=times, provenance={}
    ) as writer:
        writer.append(np.zeros((len(times), 1), np.float16))
        if commit:
            writer.commit()


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two recordings with labels over 19,143 frames; e4 of the second has the first 1,482 of them."""
    (tmp_path / "sync.toml").write_text('[views.v3]\nkind = "exo"\n[views.e4]\nkind = "ego"\n')
    (tmp_path / "labels").mkdir()
    (tmp_path / "videos").mkdir()
    for recording in (LONG, SHORT):
        (tmp_path / f"labels/{recording}.csv").write_text(
            "start_seconds,stop_seconds,label\n1.0,300.5,put\n300.5,638.1,take\n"
        )
        for view in ("v3", "e4"):
            write_rows(
                tmp_path, view, recording, slice(0, 1_482 if (view, recording) == ("e4", SHORT) else None)
            )
    return tmp_path


@pytest.fixture
def coverage(monkeypatch: pytest.MonkeyPatch, lab: Path) -> Invoke:
    def coverage(*arguments: str) -> Result:
        monkeypatch.chdir(lab)
        return CliRunner().invoke(main, ["coverage", *arguments])

    return coverage


def test_a_short_view_is_reported_and_keeps_its_times(lab: Path, coverage: Invoke) -> None:
    done = coverage()
    assert (done.exit_code, done.stderr) == (0, "")
    # 638.1 − 1482/30 = 588.7
    assert done.stdout.splitlines() == [
        f"recording {SHORT}, view e4: features end at 49.4 s, labels at 638.1 s. 588.7 of 637.1 labelled seconds have "
        "no features (tsm) and count as wrong in scores: get the whole video, or leave the recording out of the test "
        "split",
        "4 arrays: 3 cover their labels, 0 lack less than 1 s of them, 1 more, 0 unlabeled, 0 incomplete, 0 damaged",
    ]
    times = FeatureStore(lab / "features.zarr").timestamps("tsm", "e4", SHORT)
    assert times.tolist() == [round(Fraction(f * 10**9, 30)) for f in range(1_482)]


def test_json_has_every_array(coverage: Invoke) -> None:
    done = coverage("--json")
    assert done.exit_code == 0
    rows = {(row["view"], row["recording"]): row for row in json.loads(done.stdout)["recordings"]}
    assert sorted(rows) == sorted((view, recording) for view in ("v3", "e4") for recording in (LONG, SHORT))
    assert rows["e4", SHORT] == {
        "feature_set": "tsm",
        "view": "e4",
        "recording": SHORT,
        "state": "measured",
        "first_row_seconds": 0.0,
        "last_row_seconds": round(1_481 / 30, 6),
        "labels_start_seconds": 1.0,
        "labels_stop_seconds": 638.1,
        "labeled_seconds": 637.1,
        "missing_start_seconds": 0.0,
        "missing_inside_seconds": 0.0,
        "missing_end_seconds": 588.7,
        "missing_seconds": 588.7,
        "share": round(1 - 588.7 / 637.1, 6),
    }
    assert {row["share"] for key, row in rows.items() if key != ("e4", SHORT)} == {1.0}


def test_every_problem_has_its_words(lab: Path, coverage: Invoke) -> None:
    several = [f for f in range(19_143) if 300 <= f < 6_000 or 6_090 <= f < 19_000]
    write_rows(lab, "v3", "several", several)
    (lab / "labels/several.csv").write_text((lab / f"labels/{LONG}.csv").read_text())
    write_rows(lab, "v3", "little", slice(0, 19_143 - 15))
    (lab / "labels/little.csv").write_text((lab / f"labels/{LONG}.csv").read_text())
    write_rows(lab, "v3", "begun", slice(0, 9), commit=False)
    write_rows(lab, "v3", "unlabeled", slice(0, 9))
    write_rows(lab, "v3", "broken", slice(0, 9))
    (lab / "features.zarr/tsm/v3/broken/zarr.json").write_text("{")
    done = coverage("--view", "v3")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "recording begun, view v3: its features were never finished. Extract them with: sync-extract --view v3 "
        "--recording begun",
        "recording broken, view v3: its features are damaged. Extract it again with: sync-extract --view v3 "
        "--recording broken --overwrite",
        # 300 − 30 frames, 90, and 19,143 − 19,000
        "recording several, view v3: features begin at 10.0 s, labels at 1.0 s; features end at 633.3 s, labels at "
        "638.1 s; 3.0 s are missing in between. 16.8 of 637.1 labelled seconds have no features (tsm) and count as "
        "wrong in scores: get the whole video, or leave the recording out of the test split",
        "7 arrays: 2 cover their labels, 1 lack less than 1 s of them, 1 more, 1 unlabeled, 1 incomplete, 1 damaged",
    ]


def test_a_chosen_feature_set(lab: Path, coverage: Invoke) -> None:
    write_rows(lab, "v3", LONG, slice(0, 300), name="other")
    assert "5 arrays: 3 cover" in coverage().stdout
    assert "1 arrays: 0 cover" in coverage("--feature-set", "other").stdout
    done = coverage("--feature-set", "othr")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no feature set 'othr', did you mean 'other'?" in done.stderr
    assert "there is no view 'e3'" in coverage("--view", "e3").stderr


def test_without_a_store(lab: Path, coverage: Invoke) -> None:
    (lab / "features.zarr").rename(lab / "moved")
    done = coverage()
    assert done.exit_code == 1
    assert "there is no feature store here" in done.stderr


def test_malformed_labels(lab: Path, coverage: Invoke) -> None:
    (lab / f"labels/{LONG}.csv").write_text("start_seconds,stop_seconds,label\n1.0,x,put\n")
    done = coverage()
    assert done.exit_code == 1
    assert f"{LONG}.csv line 2: stop_seconds must be a plain decimal number" in done.stderr


def test_times_that_were_damaged_since_the_index_was_written(lab: Path, coverage: Invoke) -> None:
    store = FeatureStore(lab / "features.zarr")
    whole = store.read("tsm", "v3", LONG)
    np.testing.assert_array_equal(store.timestamps("tsm", "v3", LONG), whole.timestamps)
    assert "0 damaged" in coverage().stdout
    for file in (lab / "features.zarr/tsm/v3" / LONG / "timestamps").rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(
        StoreError, match=rf"recording {LONG}, view v3: .* is damaged .*Extract it again with: .* --overwrite"
    ):
        store.timestamps("tsm", "v3", LONG)
    with pytest.raises(IncompleteError, match=r"recording x, view v3: isn't in the store"):
        store.timestamps("tsm", "v3", "x")
    done = coverage()
    assert (done.exit_code, "1 damaged" in done.stdout) == (0, True)


def test_takes_of_other_scenarios_count_as_unlabelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "egoexo4d"\nroot = "."\n')
    uid, task = "00000001-1111-4222-8333-444444444444", "Cooking an Omelet"
    take = {"take_name": "omelet", "take_uid": uid, "root_dir": "takes/omelet", "task_name": task,
            "frame_aligned_videos": {}}  # fmt: skip
    tree = [{"id": 0, "name": task, "parent_id": None}, {"id": 1, "name": "Break eggs", "parent_id": 0}]
    segment = {"start_time": 0.0, "end_time": 100.0, "step_id": 1}
    annotations = {uid: {"take_uid": uid, "scenario": task, "segments": [segment]}}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "takes.json").write_text(json.dumps([take]))
    keysteps = json.dumps({"annotations": annotations, "taxonomy": {task: tree}})
    (tmp_path / "annotations/keystep_train.json").write_text(keysteps)
    for recording in ("omelet", "bike"):
        write_rows(tmp_path, "ego", recording, slice(0, 3_000))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["coverage"])
    assert done.stdout == (
        "2 arrays: 1 cover their labels, 0 lack less than 1 s of them, 0 more, 1 unlabeled, 0 incomplete, 0 damaged\n"
    )
