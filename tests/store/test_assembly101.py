"""Assembly101 on a small root in the release's format: assembly-101/assembly101-annotations, READMEs of its folders."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sync_store.datasets import open_dataset
from sync_store.datasets.assembly101 import CAMERAS, Assembly101Dataset
from sync_store.datasets.base import Action
from sync_store.errors import DatasetError, NoVideoError, ProjectError, VideoError
from sync_store.project import load_project
from sync_store.reader import FeatureStore

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

R1 = "nusar-2021_action_both_9011-a01_9011_user_id_2021-02-01_153724"
R2 = "nusar-2021_action_both_9086-c14a_9086_user_id_2021-02-16_153910"
R3 = "nusar-2021_action_both_9026-b04b_9026_user_id_2021-02-03_163855"

COARSE_ACTIONS = (
    "action_id,verb_id,noun_id,action_cls,verb_cls,noun_cls\r\n"
    "0,2,14,inspect toy,inspect,toy\r\n"
    "1,0,1,attach wheel,attach,wheel\r\n"
    "2,1,1,detach wheel,detach,wheel\r\n"
    "3,5,3,attempt to screw chassis,attempt to screw,chassis\r\n"
)
"""The header and first row of the release's, its line ends, and classes of ours."""

ASSEMBLY = "000000300\t000000450\tinspect toy\t\n000000450\t000000600\tattach wheel\t\n"
DISASSEMBLY = "000000010\t000000100\tinspect toy\t\r\n000000100\t000000300\tdetach wheel\t\r\n"

FINE_ACTIONS = (
    "id,action_id,verb_id,noun_id,action_cls,verb_cls,noun_cls\n"
    "0,2,18,27,clap hand,clap,hand\n"
    "1,0,0,1,pick up screw,pick up,screw\n"
    "2,1,1,1,put down screw,put down,screw\n"
)
FINE_HEADER = (
    "id,video,start_frame,end_frame,action_id,verb_id,noun_id,action_cls,verb_cls,noun_cls,"
    "toy_id,toy_name,is_shared,is_RGB\n"
)


def fine(recording: str, camera: str, start: int, end: int, label: str) -> str:
    return f"7,{recording}/{camera}.mp4,{start},{end},2,18,27,{label},clap,hand,a01,suv,0,1\n"


class Release:
    """The files, each of which a test can change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "assembly101"
        self.root.mkdir()
        self.configure()
        self.coarse, self.fine = (
            f"assembly101-annotations/{name}-annotations" for name in ("coarse", "fine-grained")
        )
        self.write(f"{self.coarse}/actions.csv", COARSE_ACTIONS)
        self.write(f"{self.coarse}/coarse_labels/assembly_{R1}.txt", ASSEMBLY)
        self.write(f"{self.coarse}/coarse_labels/disassembly_{R1}.txt", DISASSEMBLY)
        self.write(f"{self.fine}/actions.csv", FINE_ACTIONS)
        views = ("C10118_rgb", "C10119_rgb", "HMC_84358933_mono10bit")
        of_r1 = ((84, 111, "clap hand"), (90, 90, "pick up screw"), (0, 29, "put down screw"))
        lines = [fine(R1, view, *action) for view in views for action in of_r1]
        self.write(f"{self.fine}/train.csv", FINE_HEADER + "".join(lines))
        self.write(f"{self.fine}/validation.csv", FINE_HEADER + fine(R2, views[0], 30, 59, "clap hand"))
        self.write(
            f"{self.fine}/test.csv",
            f"id,video,start_frame,end_frame,is_shared,is_RGB\n1,{R3}/x.mp4,1,2,0,1\n",
        )
        for recording, cameras in ((R1, (*views, "HMC_84346135_mono10bit")), (R2, ("C10118_rgb",))):
            self.touch(*(f"recordings/{recording}/{camera}.mp4" for camera in cameras))
        self.touch(f"recordings/{R2}/HMC_21179183_mono10bit.mp4")

    def configure(self, text: str = "") -> None:
        (self.folder / "sync.toml").write_text(
            f'[dataset]\nkind = "assembly101"\nroot = "assembly101"\n{text}', encoding="utf-8"
        )

    def write(self, path: str, content: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())

    def touch(self, *paths: str) -> None:
        for path in paths:
            self.write(path, "")

    def labels(self, name: str, content: str) -> None:
        self.write(f"{self.coarse}/coarse_labels/{name}.txt", content)

    def split(self, name: str, content: str) -> None:
        folder = self.folder / "splits"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_bytes(content.encode())

    def open(self) -> Assembly101Dataset:
        return Assembly101Dataset(load_project(self.folder))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def spans(dataset: Assembly101Dataset, recording: str) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Name of each sequence, and start and stop frame and label of its segments."""
    return [
        (
            sequence.name,
            [
                (round(start * 30 / 1e9), round(stop * 30 / 1e9), label)
                for start, stop, label in zip(
                    sequence.segments.start_ns.tolist(),
                    sequence.segments.stop_ns.tolist(),
                    sequence.segments.labels,
                    strict=True,
                )
            ],
        )
        for sequence in dataset.labeled(recording)
    ]


class TestVideos:
    def test_open_dataset_and_recordings(self, release: Release) -> None:
        release.touch(f"recordings/.{R3}/C10118_rgb.mp4", f"recordings/{R3}/notes.txt", "recordings/README")
        dataset = open_dataset(load_project(release.folder))
        assert isinstance(dataset, Assembly101Dataset)
        assert dataset.recordings() == [R1, R2]
        assert (dataset.label_rate, dataset.background) == (Fraction(30), ())

    def test_recordings_of_the_projects_views_only(self, release: Release) -> None:
        release.configure('[views.v4]\nkind = "exo"\n')
        assert release.open().recordings() == [R1]

    def test_every_view_and_both_headsets(self, release: Release) -> None:
        # assembly101-download-scripts, README: which camera IDs correspond to which views
        table = """v1 C10095_rgb
            v2 C10115_rgb
            v3 C10118_rgb
            v4 C10119_rgb
            v5 C10379_rgb
            v6 C10390_rgb
            v7 C10395_rgb
            v8 C10404_rgb
            e1 HMC_84346135_mono10bit HMC_21176875_mono10bit
            e2 HMC_84347414_mono10bit HMC_21176623_mono10bit
            e3 HMC_84355350_mono10bit HMC_21110305_mono10bit
            e4 HMC_84358933_mono10bit HMC_21179183_mono10bit"""
        lines = [line.split() for line in table.splitlines()]
        assert {view: tuple(cameras) for view, *cameras in lines} == CAMERAS
        for headset in (0, 1):
            for view, *cameras in lines:
                camera = cameras[min(headset, len(cameras) - 1)]
                release.touch(f"recordings/of{headset}/{camera}.mp4")
                source = release.open().video(f"of{headset}", view)
                assert source.path == release.root / f"recordings/of{headset}/{camera}.mp4"

    def test_default_views_count_from_the_first_frame_and_begin_with_the_papers(
        self, release: Release
    ) -> None:
        project = load_project(release.folder)
        assert sorted(project.views) == sorted(CAMERAS)
        assert (project.views_of_kind("exo")[0], project.views_of_kind("ego")[0]) == ("v3", "e4")
        assert {release.open().video(R1, view).clock for view in ("v3", "e4", "e1")} == {"stream-start"}

    def test_offset_and_clock_of_sync_toml(self, release: Release) -> None:
        release.configure('[views.e4]\nkind = "ego"\noffset_seconds = -0.1\n')
        source = release.open().video(R2, "e4")
        assert (source.offset, source.clock) == (Fraction(-1, 10), "container")
        assert (source.recording, source.view) == (R2, "e4")

    def test_without_a_folder_recordings(self, release: Release) -> None:
        for recording in (R1, R2):
            (release.root / "recordings" / recording).rename(release.root / recording)
        (release.root / "recordings").rmdir()
        dataset = release.open()
        assert dataset.recordings() == [R1, R2]
        assert dataset.video(R1, "v4").path == release.root / R1 / "C10119_rgb.mp4"
        assert [name for name, _ in spans(dataset, R1)] == [f"disassembly_{R1}", f"assembly_{R1}"]

    def test_a_missing_view_is_normal(self, release: Release) -> None:
        with pytest.raises(NoVideoError) as caught:
            release.open().video(R2, "e1")
        assert str(caught.value) == (
            f"recording {R2}, view e1: no video; expected HMC_84346135_mono10bit.mp4 or HMC_21176875_mono10bit.mp4 "
            f"in {release.root / 'recordings' / R2}"
        )
        with pytest.raises(NoVideoError, match=r"view v3: no video; expected C10118_rgb\.mp4 in .*unknown$"):
            release.open().video("unknown", "v3")

    def test_both_headsets_in_one_recording(self, release: Release) -> None:
        release.touch(f"recordings/{R1}/HMC_21179183_mono10bit.mp4")
        with pytest.raises(
            VideoError,
            match=r"view e4: several videos \(HMC_21179183_mono10bit\.mp4, HMC_84358933_mono10bit\.mp4\); keep one",
        ):
            release.open().video(R1, "e4")

    def test_another_container(self, release: Release) -> None:
        release.touch(f"recordings/{R3}/C10118_rgb.MKV")
        assert release.open().video(R3, "v3").path.name == "C10118_rgb.MKV"
        assert release.open().recordings() == sorted([R1, R2, R3])

    def test_a_view_that_is_none(self, release: Release) -> None:
        release.configure('[views.v9]\nkind = "exo"\n')
        for ask in (lambda: release.open().video(R1, "v9"), lambda: release.open().recordings()):
            with pytest.raises(
                ProjectError, match=r"sync\.toml: Assembly101 has no view 'v9'; known: e1, e2, e3"
            ):
                ask()
        with pytest.raises(ProjectError, match="there is no view 'e4'"):
            release.open().video(R1, "e4")

    def test_without_videos_the_labels_say_what_recordings_there_are(self, release: Release) -> None:
        release.configure('[views.v8]\nkind = "exo"\n')
        release.labels(f"assembly_{R3}", ASSEMBLY)
        release.labels("readme", "")
        assert release.open().recordings() == sorted([R1, R3])
        (release.root / release.coarse / "coarse_labels").rename(release.folder / "elsewhere")
        with pytest.raises(
            DatasetError, match=r"recordings: no folder in it holds a video .* <recording>/C10118_rgb\.mp4"
        ):
            release.open().recordings()

    def test_names_that_leave_the_folder(self, release: Release) -> None:
        for ask in (lambda: release.open().video("../x", "v3"), lambda: release.open().labeled("../x")):
            with pytest.raises((VideoError, DatasetError), match=r"recording name .\.\./x. begins"):
                ask()

    def test_no_root(self, release: Release) -> None:
        (release.folder / "sync.toml").write_text('[dataset]\nkind = "assembly101"\nroot = "gone"\n')
        with pytest.raises(DatasetError, match=r"sync\.toml: dataset root .*gone isn't a folder"):
            release.open()


class TestCoarse:
    def test_both_sequences_in_order_of_time(self, release: Release) -> None:
        dataset = release.open()
        assert spans(dataset, R1) == [
            (f"disassembly_{R1}", [(10, 100, "inspect toy"), (100, 300, "detach wheel")]),
            (f"assembly_{R1}", [(300, 450, "inspect toy"), (450, 600, "attach wheel")]),
        ]
        assert {sequence.recording for sequence in dataset.labeled(R1)} == {R1}

    def test_frames_become_the_nearest_nanosecond(self, release: Release) -> None:
        release.labels(f"assembly_{R2}", "1\t2\tinspect toy\t\n2\t54001\tattach wheel\t\n")
        (sequence,) = release.open().labeled(R2)
        assert sequence.segments.start_ns.tolist() == [33_333_333, 66_666_667]
        assert sequence.segments.stop_ns.tolist() == [66_666_667, 1_800_033_333_333]

    def test_label_f_is_at_frame_f_of_a_grid_of_30(self, release: Release) -> None:
        dataset = release.open()
        first, second = (sequence.segments for sequence in dataset.labeled(R1))
        frames = np.array([round(Fraction(f * 10**9, 30)) for f in range(620)], dtype=np.int64)
        names = dataset.classes() or ()
        of_frame = np.maximum(first.classes_at(frames, names), second.classes_at(frames, names)).tolist()
        # end exclusive; class 0 is a class
        assert of_frame == [-1] * 10 + [0] * 90 + [2] * 200 + [0] * 150 + [1] * 150 + [-1] * 20

    def test_classes_in_order_of_their_ids_class_0_too(self, release: Release) -> None:
        expected = ("inspect toy", "attach wheel", "detach wheel", "attempt to screw chassis")
        assert release.open().classes() == expected
        header, *rows = COARSE_ACTIONS.splitlines()
        release.write(
            f"{release.coarse}/actions.csv", "\ufeff" + "\n".join([header, *reversed(rows), "", ""])
        )
        assert release.open().classes() == expected

    def test_202_classes(self, release: Release) -> None:
        rows = "".join(f"{number},1,2,action {number},v,n\r\n" for number in range(202))
        release.write(f"{release.coarse}/actions.csv", COARSE_ACTIONS.splitlines()[0] + "\r\n" + rows)
        assert release.open().classes() == tuple(f"action {number}" for number in range(202))

    def test_recordings_without_labels(self, release: Release) -> None:
        assert release.open().labeled(R2) == []
        release.labels(f"assembly_{R2}", "000000010\t000000020\t\n000000020\t000000030\t\n")  # test split
        assert release.open().labeled(R2) == []
        release.labels(f"disassembly_{R2}", DISASSEMBLY)
        assert [name for name, _ in spans(release.open(), R2)] == [f"disassembly_{R2}"]

    def test_sequences_that_overlap(self, release: Release) -> None:
        release.labels(f"assembly_{R1}", "299\t400\tinspect toy\t\n")
        with pytest.raises(
            DatasetError,
            match=rf"coarse_labels: disassembly_{R1}\.txt ends at 10\.0 s, after assembly_{R1}\.txt begins at "
            r"9\.966666667 s; expected one after the other",
        ):
            release.open().labeled(R1)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", r": the file is empty; expected start_frame, end_frame and label a line"),
            ("1\t2\tinspect toy\t\n2\t3\n", r" line 2: expected start_frame, end_frame and label .* got '2 3'"),
            ("1\t2 inspect toy\n", r" line 1: end_frame must be a whole number, got '2 inspect toy'"),
            ("1 2 inspect toy\n", r" line 1: expected start_frame, end_frame and label separated by tabs, got '1 2"),
            ("1\t2\tinspect toy\t4\t\n", r" line 1: expected start_frame, end_frame and label separated by tabs"),
            ("a\t2\tinspect toy\t\n", r" line 1: start_frame must be a whole number, got 'a'"),
            ("1\t-2\tinspect toy\t\n", r" line 1: end_frame must be a whole number, got '-2'"),
            ("1\t2.5\tinspect toy\t\n", r" line 1: end_frame must be a whole number, got '2\.5'"),
            ("1\t999999999\tinspect toy\t\n", r" line 1: end_frame is 999999999, more than 30000000"),
            ("2\t2\tinspect toy\t\n", r" line 1: end_frame must be after start_frame, got 2 and 2"),
            (
                "1\t2\tinspect toy\t\n\n3\t4\tinspect toy\t\n",
                r" line 3: start_frame must be 2, where the segment above it ends, got 3",
            ),
            ("1\t2\tinspect toys\t\n", r" line 1: label 'inspect toys' isn't in actions\.csv, did you mean 'inspect t"),
            ("1\t2\tzzz\t\n", r" line 1: label 'zzz' isn't in actions\.csv$"),
        ],
    )  # fmt: skip
    def test_malformed_labels(self, release: Release, content: str, message: str) -> None:
        release.labels(f"assembly_{R1}", content)
        with pytest.raises(DatasetError, match=rf"coarse_labels/assembly_{R1}\.txt" + message):
            release.open().labeled(R1)

    def test_labels_that_are_no_text(self, release: Release) -> None:
        (release.root / release.coarse / f"coarse_labels/assembly_{R1}.txt").write_bytes(b"\xff\xfe")
        with pytest.raises(DatasetError, match=r"assembly_.*\.txt: can't be read as text"):
            release.open().labeled(R1)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", r": no column 'action_id'; the first line must name action_id, action_cls"),
            ("action_id,name\n0,x\n", r": no column 'action_cls'"),
            ("action_id,action_cls\n", r": has no action_id 0; expected 0, 1, 2 … without a hole"),
            ("action_id,action_cls\n0,x\n2,y\n", r": has no action_id 1; expected 0, 1, 2 … without a hole"),
            ("action_id,action_cls\n1,x\n2,y\n", r": has no action_id 0;"),
            ("action_id,action_cls\n0,x\n0,y\n", r" line 3: action_id 0 is there already, for 'x'"),
            ("action_id,action_cls\n0,x\n1,x\n", r": action_cls 'x' is there twice; a label wouldn't tell"),
            ("action_id,action_cls\nzero,x\n", r" line 2: action_id must be a whole number, got 'zero'"),
            ("action_id,action_cls\n0, \n", r" line 2: action_cls is empty"),
            ("action_id,verb_id,action_cls\n0,x\n", r" line 2: expected 3 columns, got 2"),
            ('action_id,action_cls\n0,"' + 200_000 * "x", r": can't be read as CSV \(field larger"),
        ],
    )
    def test_malformed_actions(self, release: Release, content: str, message: str) -> None:
        release.write(f"{release.coarse}/actions.csv", content)
        with pytest.raises(DatasetError, match=r"coarse-annotations/actions\.csv" + message):
            release.open().classes()

    @pytest.mark.parametrize("name", ["train.csv", "test.csv"])
    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            (os.mkfifo, r"can't be read as CSV \(it isn't a file but a pipe or a device\)"),
            (Path.mkdir, r"can't be read as CSV \(.*Is a directory"),
            (lambda path: path.symlink_to("elsewhere"), r"there is no such file"),
            (
                lambda path: (path.touch(), os.truncate(path, 10**11)),
                r"can't .*\(it has 10{11} bytes, more than",
            ),
        ],
        ids=["a pipe", "a folder", "a link to nothing", "a hundred gigabytes"],
    )
    def test_lists_of_actions_that_are_no_files(
        self, release: Release, name: str, damage: Callable[[Path], object], problem: str
    ) -> None:
        path = release.root / release.fine / name
        path.unlink()
        damage(path)
        with pytest.raises(DatasetError, match=rf"fine-grained-annotations/{name}: {problem}"):
            release.open().actions(R1)

    def test_no_actions(self, release: Release) -> None:
        (release.root / release.coarse / "actions.csv").unlink()
        with pytest.raises(DatasetError, match=r"coarse-annotations/actions\.csv: there is no such file"):
            release.open().labeled(R1)


class TestPlaces:
    @pytest.mark.parametrize("place", ["", "annotations", "a/b"])
    def test_annotations_are_found_below_root(self, release: Release, place: str) -> None:
        expected = spans(release.open(), R1), release.open().actions(R1)
        old = release.root / release.coarse
        new = release.root / place / "coarse"
        new.parent.mkdir(parents=True, exist_ok=True)
        if place == "a/b":  # the files themselves, two folders below
            new = new.parent
            new.rmdir()
        old.rename(new)
        assert (spans(release.open(), R1), release.open().actions(R1)) == expected

    def test_annotations_elsewhere(self, release: Release) -> None:
        expected = spans(release.open(), R1), release.open().actions(R1)
        (release.root / "assembly101-annotations").rename(release.folder / "a101")
        release.configure('[dataset.assembly101]\nannotations = "a101"\n')
        assert (spans(release.open(), R1), release.open().actions(R1)) == expected
        release.configure('[dataset.assembly101]\nannotations = "b"\n')
        with pytest.raises(
            DatasetError, match=r"sync\.toml \[dataset\.assembly101\]: annotations .*/b isn't a folder"
        ):
            release.open().labeled(R1)

    def test_two_of_them(self, release: Release) -> None:
        release.touch("old/coarse_labels/x", "old/validation.csv")
        for ask, content in (
            (lambda: release.open().labeled(R1), "coarse_labels"),
            (lambda: release.open().actions(R1), r"train\.csv or validation\.csv"),
        ):
            with pytest.raises(
                DatasetError,
                match=rf"/old and .*-annotations both have {content}\. Keep one, or .* \[dataset\.assembly101\]",
            ):
                ask()

    def test_none(self, release: Release) -> None:
        (release.root / "assembly101-annotations").rename(release.folder / "a101")
        dataset = release.open()
        for ask in (lambda: dataset.labeled(R1), dataset.classes):
            with pytest.raises(
                DatasetError,
                match=r"/assembly101: neither it nor a folder up to two below it has coarse_labels\. Put the folder "
                r"coarse-annotations of the release there, or name its place with annotations in sync\.toml",
            ):
                ask()
        for ask_fine in (lambda: dataset.actions(R1), dataset.action_classes):
            with pytest.raises(
                DatasetError,
                match=r"has train\.csv or validation\.csv\. Put the folder fine-grained-annotations",
            ):
                ask_fine()

    def test_extraction_reads_no_annotations(self, release: Release) -> None:
        (release.root / "assembly101-annotations").rename(release.folder / "a101")
        dataset = release.open()
        assert [dataset.video(name, "e4").view for name in dataset.recordings()] == ["e4", "e4"]


class TestFine:
    def test_once_for_all_views_with_the_last_frame(self, release: Release) -> None:
        thirtieth = Fraction(10**9, 30)
        expected = [
            (0, 30, "put down screw"),
            (84, 112, "clap hand"),
            (90, 91, "pick up screw"),
        ]
        assert release.open().actions(R1) == [
            Action(start_ns=round(start * thirtieth), stop_ns=round(stop * thirtieth), label=label)
            for start, stop, label in expected
        ]
        assert release.open().actions(R2) == [Action(start_ns=10**9, stop_ns=2 * 10**9, label="clap hand")]
        assert release.open().actions(R3) == []  # the labels of test.csv are withheld

    def test_a_test_file_with_labels(self, release: Release) -> None:
        release.write(f"{release.fine}/test.csv", FINE_HEADER + fine(R3, "x", 0, 29, "clap hand"))
        assert release.open().actions(R3) == [Action(start_ns=0, stop_ns=10**9, label="clap hand")]

    def test_classes_in_order_of_their_ids(self, release: Release) -> None:
        assert release.open().action_classes() == ("pick up screw", "put down screw", "clap hand")
        (release.root / release.fine / "actions.csv").unlink()
        assert release.open().action_classes() is None
        assert len(release.open().actions(R1)) == 3

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (fine(R1, "v", 5, 4, "clap hand"), "end_frame must not be before start_frame, got 4 and 5"),
            ("7,C10118.mp4,1,2,2,18,27,clap hand,clap,hand,a01,suv,0,1\n", "video must be <recording>/<camera>.mp4"),
            (fine(R1, "v", 1, 2, "clap hands"), "action_cls 'clap hands' isn't in actions.csv, did you mean 'clap h"),
            ("7,x/v.mp4,1.0,2,2,18,27,clap hand,clap,hand,a01,suv,0,1\n", "start_frame must be a whole number"),
            ("7,x/v.mp4,1,2\n", "expected 14 columns, got 4"),
        ],
    )  # fmt: skip
    def test_malformed(self, release: Release, line: str, message: str) -> None:
        release.write(f"{release.fine}/train.csv", FINE_HEADER + fine(R1, "v", 1, 2, "clap hand") + line)
        with pytest.raises(DatasetError, match=r"train\.csv line 3: ") as caught:
            release.open().actions(R1)
        assert message in str(caught.value)

    def test_without_labels_in_the_training_file(self, release: Release) -> None:
        release.write(f"{release.fine}/train.csv", "id,video,start_frame,end_frame\n")
        with pytest.raises(
            DatasetError, match=r"train\.csv: no column 'action_cls'; the first line must name video"
        ):
            release.open().actions(R1)


class TestSplits:
    def test_forms_of_the_release(self, release: Release) -> None:
        dataset = release.open()
        release.split(
            "train", f"assembly_{R1}.txt\t\tnotshared\t-\t-\ndisassembly_{R1}.txt\t\tnotshared\t-\t-"
        )
        release.split(
            "val", f"disassembly_{R2}.txt\t\tnotshared\ta30\tsuv\r\nassembly_{R1}.txt\t\tshared\ta01\tx"
        )
        release.split("test", f"assembly_{R3}.txt\t\tnotshared")
        release.split("own", f"{R2}\r\n\r\n{R1}\n")
        assert dataset.split("train") == [R1]
        assert dataset.split("val") == [R2, R1]
        assert dataset.split("test") == [R3]
        assert dataset.split("own") == [R2, R1]

    def test_the_releases_folder_of_splits(self, release: Release) -> None:
        release.write(
            f"{release.coarse}/coarse_splits/test_coarse_assembly.txt", f"assembly_{R3}.txt\t\tshared"
        )
        release.configure(f'splits = "assembly101/{release.coarse}/coarse_splits"\n')
        assert release.open().split("test_coarse_assembly") == [R3]
        with pytest.raises(
            DatasetError, match=r"test\.txt: there is no such split; have: test_coarse_assembly"
        ):
            release.open().split("test")

    def test_toys(self, release: Release) -> None:
        dataset = release.open()
        assert [dataset.procedure(name) for name in (R1, R2, R3, "mine")] == ["a01", "c14a", "b04b", None]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**plain, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def write_video(path: Path, count: int, *, start_ticks: int = 0) -> None:
    """Ten-bit gray at 60 frames a second; frame k is of one gray, which the features tell from all others."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx265", rate=60, options={"x265-params": "log-level=none"})
        video.height, video.width, video.pix_fmt = 48, 64, "gray10le"
        video.time_base = video.codec_context.time_base = Fraction(1, 60)
        for number in range(count):
            gray = np.full((48, 64), 64 + 16 * number, dtype=np.uint16)
            frame = av.VideoFrame.from_ndarray(gray, format="gray10le")
            frame.pts, frame.time_base = number + start_ticks, Fraction(1, 60)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Release, subprocess.CompletedProcess[str]]":
    """Recordings of either headset, one short, one without e4, after the bare command on a three-line sync.toml."""
    release = Release(tmp_path_factory.mktemp("lab"))
    recordings = release.root / "recordings"
    for recording in (R1, R2):
        for file in (recordings / recording).iterdir():
            file.unlink()
    write_video(recordings / R1 / "HMC_84358933_mono10bit.mp4", 41, start_ticks=7)
    write_video(recordings / R2 / "HMC_21179183_mono10bit.mp4", 20)
    release.touch(f"recordings/{R3}/C10118_rgb.mp4")
    labels = "".join(f"{f:09d}\t{f + 1:09d}\t{'attach' if f % 2 else 'detach'} wheel\t\n" for f in range(21))
    release.labels(f"assembly_{R1}", labels)
    (release.root / release.coarse / f"coarse_labels/disassembly_{R1}.txt").unlink()
    assert len((release.folder / "sync.toml").read_text().splitlines()) == 3
    return release, run(release.folder, "--view", "e4", "--backbone", "dinov2-random-demo")


class TestExtraction:
    """`sync-extract --view e4` in a process of its own, on real video of 60 frames a second."""

    def test_views_that_a_recording_has_not_are_absent_not_failed(self, extracted: Any) -> None:
        _, done = extracted
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert done.stderr.splitlines()[-2:] == [
            f"view e4: 1 recordings without such a video: {R3}",
            "dinov2-random-demo: 2 extracted, 0 complete already, 0 failed",
        ]

    def test_named_it_is_a_failure(self, extracted: Any) -> None:
        release, _ = extracted
        done = run(release.folder, "--view", "e4", "--backbone", "dinov2-random-demo", "--recording", R3)
        assert done.returncode == 3
        assert (
            f"failed: e4/{R3}: recording {R3}, view e4: no video; expected HMC_84358933_mono10bit.mp4"
            in done.stderr
        )

    def test_row_f_is_of_frame_2f_and_gets_label_f(self, extracted: Any) -> None:
        release, _ = extracted
        rows = FeatureStore(release.folder / "features.zarr").read("dinov2-random-demo", "e4", R1)
        # the container's first frame is at 7/60 s, and counts as 0
        assert rows.timestamps.tolist() == [round(Fraction(f * 10**9, 30)) for f in range(21)]
        names = ("detach wheel", "attach wheel")
        (sequence,) = release.open().labeled(R1)
        assert sequence.segments.classes_at(rows.timestamps, names).tolist() == [f % 2 for f in range(21)]

        # the features of every frame, by the same command at the video's own rate
        done = run(release.folder, "--view", "e4", "--backbone", "dinov2-random-demo", "--fps", "native",
                   "--feature-set", "every", "--recording", R1)  # fmt: skip
        assert done.returncode == 0, done.stderr
        every = FeatureStore(release.folder / "features.zarr").read("every", "e4", R1)
        assert len(every.features) == 41
        assert len(np.unique(every.features, axis=0)) == 41
        np.testing.assert_allclose(rows.features, every.features[::2], atol=2e-3)
        nearest = (
            ((rows.features[:, None].astype(float) - every.features[None]) ** 2).sum(axis=2).argmin(axis=1)
        )
        assert nearest.tolist() == list(range(0, 41, 2))

    def test_a_short_stream_keeps_its_times(self, extracted: Any) -> None:
        release, _ = extracted
        rows = FeatureStore(release.folder / "features.zarr").read("dinov2-random-demo", "e4", R2)
        assert rows.timestamps.tolist() == [round(Fraction(f * 10**9, 30)) for f in range(10)]
