"""Plain folders of recordings."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from sync_store.datasets import FolderDataset, open_dataset
from sync_store.errors import DatasetError, ProjectError, VideoError
from sync_store.project import load_project

PROJECT = """\
[dataset]
label_fps = 10
background = ["nothing"]
[views.v3]
kind = "exo"
[views.e4]
kind = "ego"
offset_seconds = 0.1
clock = "stream-start"
"""
SEGMENTS = "start_seconds,stop_seconds,label\n0,1.5,pick\n2,3,put\n"

Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Write a file of the dataset."""

    def write(path: str, content: str | bytes = "") -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    write("sync.toml", PROJECT)
    for view in ("v3", "e4"):
        write(f"videos/a/{view}.mp4")
    return write


@pytest.fixture
def dataset(add: Add, tmp_path: Path) -> FolderDataset:
    """Files are read when they are asked for, so tests add them after."""
    opened = open_dataset(load_project(tmp_path))
    assert isinstance(opened, FolderDataset)
    return opened


def test_settings_come_from_the_project(dataset: FolderDataset) -> None:
    assert dataset.label_rate == 10
    assert dataset.background == ("nothing",)


def test_a_root_that_is_not_there(add: Add, tmp_path: Path) -> None:
    add("sync.toml", PROJECT.replace("label_fps", 'root = "gone"\nlabel_fps'))
    with pytest.raises(DatasetError, match=r"sync\.toml: dataset root .*gone isn't a folder"):
        open_dataset(load_project(tmp_path))


class TestRecordings:
    def test_folders_of_videos_sorted(self, add: Add, dataset: FolderDataset) -> None:
        add("videos/c/v3.mp4")
        add("videos/b/v3.mp4")
        add("videos/.b.partial/v3.mp4")
        add("videos/notes.txt")
        add("labels/only-labels.csv", SEGMENTS)
        assert dataset.recordings() == ["a", "b", "c"]

    def test_none(self, tmp_path: Path) -> None:
        (tmp_path / "sync.toml").write_text(PROJECT)
        with pytest.raises(
            DatasetError, match=r"videos: there is no such folder; expected videos/<recording>/"
        ):
            open_dataset(load_project(tmp_path)).recordings()

    def test_a_name_that_cannot_be_a_folder_of_the_store(self, add: Add, dataset: FolderDataset) -> None:
        add("videos/take 1?/v3.mp4")
        with pytest.raises(DatasetError, match=r"recording name 'take 1\?' contains"):
            dataset.recordings()


class TestVideo:
    def test_path_clock_and_exact_offset(self, add: Add, dataset: FolderDataset, tmp_path: Path) -> None:
        add("offsets.csv", "recording,view,offset_seconds\na,e4,0.2\na,v3,-1.000000001\n")
        ego, exo = dataset.video("a", "e4"), dataset.video("a", "v3")
        assert ego.path == tmp_path / "videos/a/e4.mp4"
        assert (ego.recording, ego.view, ego.clock) == ("a", "e4", "stream-start")
        assert ego.offset == Fraction(3, 10)  # 0.1 + 0.2, which floats make 0.30000000000000004
        assert (exo.offset, exo.clock) == (Fraction(-1_000_000_001, 10**9), "container")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("aa,v3,1", r"line 3: there is no recording 'aa' \(did you mean 'a'\?\)\. Correct the line"),
            ("a,v33,1", r"line 3: there is no view 'v33' \(did you mean 'v3'\?\)\. Correct the line"),
            ("a,left,1", r"line 3: there is no view 'left'\. Correct the line, or delete it"),
        ],
    )
    def test_an_offset_of_nothing(self, add: Add, dataset: FolderDataset, line: str, message: str) -> None:
        add("offsets.csv", f"recording,view,offset_seconds\na,e4,0.2\n{line}\n")
        with pytest.raises(DatasetError, match=rf"offsets\.csv {message}"):
            dataset.video("a", "e4")

    def test_any_suffix_in_any_case(self, add: Add, dataset: FolderDataset, tmp_path: Path) -> None:
        add("videos/b/v3.MOV")
        add("videos/b/e4.mkv")
        add("videos/b/e4.txt")
        add("videos/b/e4.left.mp4")
        assert dataset.video("b", "v3").path == tmp_path / "videos/b/v3.MOV"
        assert dataset.video("b", "e4").path == tmp_path / "videos/b/e4.mkv"

    def test_missing(self, add: Add, dataset: FolderDataset) -> None:
        add("videos/b/e4.txt")
        for recording in ("b", "gone"):
            with pytest.raises(
                VideoError, match=rf"recording {recording}, view e4: no video; expected .*e4\.mp4"
            ):
                dataset.video(recording, "e4")

    def test_two(self, add: Add, dataset: FolderDataset) -> None:
        add("videos/a/e4.mov")
        with pytest.raises(VideoError, match=r"a, view e4: several videos \(e4\.mov, e4\.mp4\); keep one"):
            dataset.video("a", "e4")

    def test_a_view_that_sync_toml_does_not_list(self, dataset: FolderDataset) -> None:
        with pytest.raises(ProjectError, match="there is no view 'e5'; known: e4, v3"):
            dataset.video("a", "e5")

    @pytest.mark.parametrize("name", ["..", "../a", "/etc", ""])
    def test_a_name_cannot_leave_the_folder(self, dataset: FolderDataset, name: str) -> None:
        with pytest.raises(VideoError, match="recording name"):
            dataset.video(name, "v3")
        with pytest.raises(DatasetError, match="recording name"):
            dataset.labeled(name)
        with pytest.raises(DatasetError, match="split name"):
            dataset.split(name)


class TestLabels:
    def test_segments(self, add: Add, dataset: FolderDataset) -> None:
        add("labels/a.csv", SEGMENTS)
        (sequence,) = dataset.labeled("a")
        assert (sequence.name, sequence.recording, sequence.segments.labels) == ("a", "a", ("pick", "put"))
        assert sequence.segments.start_ns.tolist() == [0, 2 * 10**9]

    def test_frames_at_the_label_rate(self, add: Add, dataset: FolderDataset) -> None:
        add("labels/a.txt", "pick\npick\nput\n")
        (sequence,) = dataset.labeled("a")
        assert sequence.segments.labels == ("pick", "put")
        assert sequence.segments.stop_ns.tolist() == [200_000_000, 300_000_000]

    def test_none_is_normal(self, dataset: FolderDataset) -> None:
        assert dataset.labeled("a") == []

    def test_two_files(self, add: Add, dataset: FolderDataset) -> None:
        add("labels/a.csv", SEGMENTS)
        add("labels/a.txt", "pick\n")
        with pytest.raises(DatasetError, match=r"recording a: both a\.csv and a\.txt exist; keep one"):
            dataset.labeled("a")

    def test_malformed(self, add: Add, dataset: FolderDataset) -> None:
        add("labels/a.csv", SEGMENTS + "3,x,put\n")
        with pytest.raises(DatasetError, match=r"a\.csv line 4: stop_seconds must be a plain decimal"):
            dataset.labeled("a")


class TestSplits:
    def test_in_the_files_order_with_windows_line_ends(self, add: Add, dataset: FolderDataset) -> None:
        add("splits/test.txt", b"\xef\xbb\xbfb\r\n\r\n a \r\nc")
        assert dataset.split("test") == ["b", "a", "c"]

    def test_missing(self, add: Add, dataset: FolderDataset) -> None:
        with pytest.raises(DatasetError, match=r"test\.txt: there is no such split; have: none"):
            dataset.split("test")
        add("splits/train.txt", "a\n")
        add("splits/adapt.txt", "a\n")
        with pytest.raises(DatasetError, match=r"test\.txt: there is no such split; have: adapt, train"):
            dataset.split("test")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "the split is empty; expected one recording a line"),
            ("\n\n", "the split is empty"),
            ("a\n\nb\na\n", "line 4: recording a is in line 1 already"),
            ("a\n\n../b\n", r"line 3: recording name '\.\./b' begins with '\.'"),
            (b"a\n\xff\n", "can't be read as text"),
        ],
    )
    def test_malformed(self, add: Add, dataset: FolderDataset, content: str | bytes, message: str) -> None:
        add("splits/test.txt", content)
        with pytest.raises(DatasetError, match=r"splits/test\.txt.*" + message):
            dataset.split("test")


class TestClasses:
    def test_in_the_files_order(self, add: Add, dataset: FolderDataset) -> None:
        assert dataset.classes() is None
        add("classes.txt", b"\xef\xbb\xbfput\r\npick up\r\n\r\n")
        assert dataset.classes() == ("put", "pick up")

    @pytest.mark.parametrize("content", ["", "a\nb\na\n"])
    def test_none_or_twice(self, add: Add, dataset: FolderDataset, content: str) -> None:
        add("classes.txt", content)
        with pytest.raises(DatasetError, match=r"classes\.txt: expected one class a line, each once"):
            dataset.classes()


class TestLinksToNothing:
    """Of an optional file that lies elsewhere and isn't there at present: it isn't as if there were none."""

    @pytest.mark.parametrize(
        ("name", "read"),
        [
            ("classes.txt", lambda dataset: dataset.classes()),
            ("labels/a.csv", lambda dataset: dataset.labeled("a")),
            ("labels/a.txt", lambda dataset: dataset.labeled("a")),
            ("actions/a.csv", lambda dataset: dataset.actions("a")),
            ("offsets.csv", lambda dataset: dataset.video("a", "v3")),
            ("recordings.csv", lambda dataset: dataset.procedure("a")),
        ],
    )
    def test_each(
        self, tmp_path: Path, dataset: FolderDataset, name: str, read: Callable[[FolderDataset], object]
    ) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("elsewhere")
        with pytest.raises(DatasetError, match=rf"{name}: (can't be read as text \(|there is no such file)"):
            read(dataset)


class TestTables:
    def test_procedures(self, add: Add, dataset: FolderDataset) -> None:
        add("recordings.csv", b"\xef\xbb\xbfnote,recording,procedure\r\nx, a ,truck\r\n")
        assert dataset.procedure("a") == "truck"
        assert dataset.procedure("b") is None

    def test_without_tables(self, dataset: FolderDataset) -> None:
        assert dataset.procedure("a") is None
        assert dataset.video("a", "v3").offset == 0

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", r"no column 'recording'; expected recording, view, offset_seconds"),
            ("recording,view\n", r"no column 'offset_seconds'"),
            ("recording,view,offset_seconds\na,v3\n", r"line 2: expected 3 columns or more"),
            ("recording,view,offset_seconds\na,v3,1e3\n", r"line 2: offset_seconds must be .* got '1e3'"),
            (
                "recording,view,offset_seconds\na,e4,1\na,v3,nan\n",
                r"line 3: offset_seconds must be .* got 'nan'",
            ),
            ("recording,view,offset_seconds\na,v3,\n", r"line 2: offset_seconds must be .* got ''"),
            (
                "recording,view,offset_seconds\na,v3,1\n\na,v3,2\n",
                "line 4: a second offset of recording a, view v3",
            ),
            (f"recording,view,offset_seconds\na,v3,{'1' * 140_000}\n", "can't be read as CSV"),
            (f"recording,view,{'x' * 140_000}\n", "can't be read as CSV"),
        ],
    )
    def test_malformed_offsets(self, add: Add, dataset: FolderDataset, content: str, message: str) -> None:
        add("offsets.csv", content)
        with pytest.raises(DatasetError, match=r"offsets\.csv.*" + message):
            dataset.video("a", "v3")
