"""What is to be done, what is done, and what must not be taken for done."""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_extract.plan import Plan, make_plan
from sync_store.datasets import open_dataset
from sync_store.errors import FingerprintError, SyncError
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.writer import RecordingWriter

SET = FeatureSet(name="set", recipe={"grid_fps": "30"}, feature_dim=2)


class Lab:
    """A project of two recordings in two views, of which each step can be changed."""

    def __init__(self, folder: Path, make_video: Callable[..., Path]) -> None:
        self.folder = folder
        for recording in ("r1", "r2"):
            for view in ("v3", "e4"):
                make_video(folder / f"videos/{recording}/{view}.mp4", count=12)
        self.configure()

    def configure(self, e4: str = "") -> None:
        (self.folder / "sync.toml").write_text(
            f'[views.v3]\nkind = "exo"\n[views.e4]\nkind = "ego"\n{e4}\n', encoding="utf-8"
        )

    def plan(self, feature_set: FeatureSet = SET, **options: Any) -> Plan:
        project = load_project(self.folder)
        defaults: dict[str, Any] = {"views": ["v3", "e4"], "fps": Fraction(30)}
        return make_plan(open_dataset(project), project.store_path, feature_set, **{**defaults, **options})

    def states(self, **options: Any) -> dict[str, str]:
        return {job.name: job.state for job in self.plan(**options).jobs}

    def write(self, recording: str, view: str, *, finish: bool = True, name: str = "set") -> None:
        path = self.folder / f"videos/{recording}/{view}.mp4"
        source = {"size_bytes": path.stat().st_size, "offset_seconds": "0", "clock": "container"}
        feature_set = FeatureSet(name=name, recipe=SET.recipe, feature_dim=2)
        with RecordingWriter(
            self.folder / "features.zarr",
            feature_set,
            view,
            recording,
            timestamps=np.arange(3),
            provenance={"source": source},
        ) as writer:
            writer.append(np.zeros((3, 2), np.float16))
            if finish:
                writer.commit()


@pytest.fixture
def lab(tmp_path: Path, make_video: Callable[..., Path]) -> Lab:
    return Lab(tmp_path, make_video)


def test_new_resumed_done_and_redone(lab: Lab) -> None:
    lab.write("r1", "v3")
    lab.write("r2", "v3", finish=False)
    expected = {"v3/r1": "done", "v3/r2": "resume", "e4/r1": "new", "e4/r2": "new"}
    assert lab.states() == expected
    assert lab.states(overwrite=True) == {**expected, "v3/r1": "redo"}
    assert [job.name for job in lab.plan().to_do] == ["v3/r2", "e4/r1", "e4/r2"]


def test_only_what_is_asked_for_each_once(lab: Lab) -> None:
    assert lab.states(views=["e4"]) == {"e4/r1": "new", "e4/r2": "new"}
    plan = lab.plan(views=["e4", "v3", "e4"], recordings=["r2", "r2"])
    assert [job.name for job in plan.jobs] == ["e4/r2", "v3/r2"]


def test_rows_to_expect(lab: Lab) -> None:
    lab.write("r1", "e4")
    assert [job.expected_rows for job in lab.plan(views=["e4"], fps=Fraction(30)).jobs] == [0, 12]
    assert [job.expected_rows for job in lab.plan(views=["e4"], fps=Fraction(10)).jobs] == [0, 4]
    assert [job.expected_rows for job in lab.plan(views=["e4"], fps=None).jobs] == [0, 12]
    # a frame has one row at the most
    assert [job.expected_rows for job in lab.plan(views=["e4"], fps=Fraction(120)).jobs] == [0, 12]


def test_bad_files_are_found_at_once(lab: Lab) -> None:
    (lab.folder / "videos/r1/e4.mp4").write_text("text")
    (lab.folder / "videos/r2/v3.mp4").unlink()
    plan = lab.plan()
    assert [job.name for job in plan.jobs] == ["v3/r1", "e4/r2"]
    assert [str(failure).partition(": /")[0] for failure in plan.failures] == [
        f"failed: v3/r2: recording r2, view v3: no video; expected {lab.folder}/videos/r2/v3.mp4",
        "failed: e4/r1",
    ]
    assert "not a video that FFmpeg can read" in plan.failures[1].message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("size", r"the size of e4\.mp4 in bytes has changed from \d+ to 3"),
        ("offset_seconds = 0.25", "the view's offset in seconds has changed from 0 to 1/4"),
        ('clock = "stream-start"', "the view's clock has changed from container to stream-start"),
    ],
)
def test_what_was_made_from_something_else_is_not_done(lab: Lab, change: str, message: str) -> None:
    lab.write("r1", "e4")
    if change == "size":
        (lab.folder / "videos/r1/e4.mp4").write_text("new")
    else:
        lab.configure(change)
    plan = lab.plan(views=["e4"], recordings=["r1"])
    assert plan.jobs == []
    with pytest.raises(
        SyncError, match=rf"recording r1, view e4: {message} since it was extracted.*--overwrite"
    ):
        raise SyncError(plan.failures[0].message)
    if change != "size":
        assert lab.states(views=["e4"], overwrite=True)["e4/r1"] == "redo"


def test_the_documented_keys_of_the_source_decide(lab: Lab) -> None:
    """`store_layout.md` names them for other writers."""
    specification = (Path(__file__).parents[2] / "store_layout.md").read_text()
    rows = specification.split("| key of `source` |")[1].split("\n\n")[0]
    documented = re.findall(r"^\| `(\w+)`", rows, flags=re.MULTILINE)
    assert documented == ["size_bytes", "offset_seconds", "clock"]
    lab.write("r1", "e4")
    metadata = lab.folder / "features.zarr/set/e4/r1/zarr.json"
    written = json.loads(metadata.read_text())
    for key in (*documented, "file_name"):
        source = {**written["attributes"]["provenance"]["source"], key: "another"}
        attributes = {**written["attributes"], "provenance": {"source": source}}
        metadata.write_text(json.dumps({**written, "attributes": attributes}))
        failures = lab.plan(views=["e4"]).failures
        assert ["has changed from another" in failure.message for failure in failures] == (
            [True] if key in documented else []
        )


def test_a_link_that_leads_nowhere_is_listed_and_the_others_go_on(lab: Lab) -> None:
    lab.write("r1", "e4")
    video = lab.folder / "videos/r1/e4.mp4"
    video.unlink()
    video.symlink_to(lab.folder / "gone.mp4")
    plan = lab.plan()
    assert [job.name for job in plan.jobs] == ["v3/r1", "v3/r2", "e4/r2"]
    (failure,) = plan.failures
    assert failure.message.startswith(f"{video}: can't be read: No such file")


def test_damaged_metadata_are_listed_and_mended_by_overwrite(lab: Lab) -> None:
    lab.write("r1", "e4")
    (lab.folder / "features.zarr/set/e4/r1/zarr.json").write_text("{")
    plan = lab.plan(views=["e4"])
    assert [job.name for job in plan.jobs] == ["e4/r2"]
    assert re.search(
        r"recording r1, view e4: .*zarr\.json: can't be read as the metadata.*Extract it again with --overwrite",
        plan.failures[0].message,
    )
    assert lab.states(views=["e4"], overwrite=True) == {"e4/r1": "redo", "e4/r2": "new"}


def test_another_recipe_is_refused_and_nothing_is_planned(lab: Lab) -> None:
    lab.write("r1", "e4")
    other = FeatureSet(name="set", recipe={"grid_fps": "10"}, feature_dim=2)
    with pytest.raises(FingerprintError, match=r"grid_fps: stored '30', now '10'.*--feature-set"):
        lab.plan(other)
    assert lab.plan(FeatureSet(name="ten", recipe={"grid_fps": "10"}, feature_dim=2)).failures == []


def test_a_recording_copied_in_from_another_feature_set_is_not_done(lab: Lab) -> None:
    lab.write("r1", "e4")
    metadata = lab.folder / "features.zarr/set/e4/r1/zarr.json"
    metadata.write_text(metadata.read_text().replace(SET.fingerprint, "0" * 64))
    (failure,) = lab.plan(views=["e4"]).failures
    assert "made by another recipe than the rest of set. Extract it again with --overwrite" in failure.message


def test_unknown_recordings(lab: Lab) -> None:
    with pytest.raises(SyncError, match=r"no recording 'r11' in the dataset, did you mean 'r1'\?"):
        lab.plan(recordings=["r11"])
    with pytest.raises(SyncError, match=r"no recording 'x' in the dataset \(2 recordings, such as 'r1'\)"):
        lab.plan(recordings=["x"])


def test_a_dataset_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "sync.toml").write_text('[views.e4]\nkind = "ego"\n')
    (tmp_path / "videos").mkdir()
    project = load_project(tmp_path)
    with pytest.raises(SyncError, match=r"has no recordings\. Check root in sync\.toml \[dataset\]"):
        make_plan(open_dataset(project), project.store_path, SET, fps=None, views=["e4"])
