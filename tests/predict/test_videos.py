"""Names of folders from names of files."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_predict.videos import describe_videos, safe_name
from sync_store.errors import StoreError, VideoError
from sync_store.names import check_name


@given(st.text(max_size=300))
def test_any_name_becomes_a_safe_one_and_stays_it(stem: str) -> None:
    name = safe_name(stem)
    assert check_name("recording", f"{name}-0123456789ab", StoreError)
    assert Path(name).name == name and not name.startswith(".")
    assert safe_name(name) == name
    assert len(name.encode()) <= 120


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("clip 1", "clip 1"),
        ("..", "video"),
        ("__a", "a"),
        ("a/b:c", "a-b-c"),
        ("é" * 100, "é" * 60),
        ("x. ", "x"),
    ],
)
def test_names(stem: str, name: str) -> None:
    assert safe_name(stem) == name


def test_each_file_once_in_order_and_by_what_is_in_it(tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in ("b.mp4", "a.MKV"))
    a.write_bytes(b"1")
    b.write_bytes(b"1")
    (tmp_path / "link.mov").symlink_to(a)
    first = describe_videos([a, b, tmp_path / "link.mov", a])
    assert [video.path for video in first] == [a, b]
    assert [video.suffix for video in first] == [".mp4", ".mkv"]

    assert describe_videos([a])[0] == first[0]
    os.utime(a, ns=(0, 1_000_000_000))
    (touched,) = describe_videos([a])
    assert touched.name == first[0].name
    assert touched.recording != first[0].recording


def test_a_link_has_its_own_name_and_its_targets_features(tmp_path: Path) -> None:
    """What git-annex and the hub's caches link to is named by a digest."""
    (tmp_path / "objects").mkdir()
    blob = tmp_path / "objects" / "0a1b2c"
    blob.write_bytes(b"1")
    (tmp_path / "kitchen.mp4").symlink_to("objects/0a1b2c")
    (tmp_path / "same.mp4").symlink_to(blob)
    (video,) = describe_videos([tmp_path / "kitchen.mp4", tmp_path / "same.mp4"])
    assert (video.path, video.name, video.suffix) == (tmp_path / "kitchen.mp4", "kitchen", ".mp4")
    os.utime(blob, ns=(0, 1_000_000_000))
    (touched,) = describe_videos([tmp_path / "kitchen.mp4"])
    assert touched.recording != video.recording


def test_two_videos_of_one_name_are_told_apart_by_the_user(tmp_path: Path) -> None:
    paths = [tmp_path / folder / name for folder, name in (("x", "Take.mp4"), ("y", "take.mov"))]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    with pytest.raises(VideoError, match=r"would go to the same folder as those of .*Take\.mp4 \(take\)"):
        describe_videos(paths)


def test_what_is_no_video_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "v.csv").touch()
    with pytest.raises(VideoError, match=r"v\.csv: isn't a video by its name; expected one of \.avi, "):
        describe_videos([tmp_path / "v.csv"])
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.mp4"))
    latin.touch()
    with pytest.raises(VideoError, match=re.escape("its name isn't UTF-8")):
        describe_videos([latin])
