"""Which files a page shows, how it names them, and what it is told of their time."""

from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_eval.report.videos import PageVideo, VideoFinder, relative_address, shown_views
from sync_eval.runs import find_groups
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.writer import RecordingWriter

VIEWS = """
[dataset]
label_fps = 10
[views.e4]
kind = "ego"
offset_seconds = 0.1
clock = "stream-start"
[views.v3]
kind = "exo"
[views.v4]
kind = "exo"
"""


@pytest.fixture
def filmed(folder: Any) -> Any:
    """One recording, predicted on e4, with files of all three views; they are never opened here."""
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"})
    (folder.root / "sync.toml").write_text(VIEWS)
    (folder.root / "videos" / "r1").mkdir(parents=True)
    for view in ("e4", "v3", "v4"):
        (folder.root / "videos" / "r1" / f"{view}.mp4").write_bytes(b"12345678")
    (folder.root / "offsets.csv").write_text("recording,view,offset_seconds\nr1,e4,-2.25\nr1,v3,3\n")
    return folder


def finder(folder: Any, page_folder: Path | None = None) -> VideoFinder:
    groups = find_groups([folder.root / "runs"])
    return VideoFinder(load_project(folder.root), folder.dataset, groups, page_folder or folder.root)


def test_the_predicted_view_and_the_first_exo_view_are_shown_exo_first(filmed: Any) -> None:
    assert finder(filmed).videos("r1") == [
        PageVideo(
            view="v3",
            kind="exo",
            src="videos/r1/v3.mp4",
            offset_seconds=3.0,
            clock="container",
            first_seconds=None,
            codec=None,
        ),
        PageVideo(
            view="e4",
            kind="ego",
            src="videos/r1/e4.mp4",
            offset_seconds=-2.15,
            clock="stream-start",
            first_seconds=None,
            codec=None,
        ),
    ]


def test_views_that_were_predicted_on_are_all_shown(filmed: Any) -> None:
    project = load_project(filmed.root)
    filmed.predict({"r1": "a*10"}, method="exo-oracle", view="v4", kind="exo")
    assert shown_views(project, find_groups([filmed.root / "runs"])) == ["v4", "e4"]
    filmed.predict({"r1": "a*10"}, method="exo-oracle", view="gone", kind="exo")
    assert shown_views(project, find_groups([filmed.root / "runs"])) == ["v4", "e4"]


def test_views_without_a_file_are_left_out(filmed: Any) -> None:
    (filmed.root / "videos" / "r1" / "v3.mp4").unlink()
    assert [video.view for video in finder(filmed).videos("r1")] == ["e4"]
    assert finder(filmed).videos("r2") == []


def test_extraction_has_recorded_when_the_first_frame_is_and_its_codec(filmed: Any) -> None:
    demo = FeatureSet(name="demo", recipe={"backbone": "test"}, feature_dim=1)
    source = {"size_bytes": 8, "start_seconds": 1.5, "codec": "hevc"}
    for view in ("v3", "e4"):
        told = source if view == "v3" else source | {"size_bytes": 9}
        writer = RecordingWriter(
            filmed.root / "features.zarr",
            demo,
            view,
            "r1",
            timestamps=np.arange(2),
            provenance={"source": told},
        )
        writer.append(np.zeros((2, 1), dtype=np.float16))
        writer.commit()
    v3, e4 = finder(filmed).videos("r1")
    assert (v3.first_seconds, v3.codec) == (1.5, "hevc")
    assert (e4.first_seconds, e4.codec) == (None, None), "recorded of another file"


folder_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1
).filter(lambda name: name not in (".", ".."))


@given(st.lists(folder_names, max_size=3), st.lists(folder_names, min_size=1, max_size=3))
def test_an_address_leads_from_the_page_to_the_file(page: list[str], file: list[str]) -> None:
    page_folder, path = Path("/top", *page), Path("/top", *file, "a.mp4")
    address = relative_address(path, page_folder)
    assert urlsplit(address).scheme == "" and not set(address) & set("<>\"'&#?: \\")
    base = f"{page_folder.as_uri()}/report.html"
    assert unquote(urlsplit(urljoin(base, address)).path) == str(path)


def test_offsets_are_exact_decimals(filmed: Any) -> None:
    (filmed.root / "offsets.csv").write_text("recording,view,offset_seconds\nr1,v3,0.367\n")
    assert finder(filmed).videos("r1")[0].offset_seconds == float(Fraction("0.367"))
