"""EgoExo4D on a small root in the release's format: EGO4D/Ego-Exo4D-docs, docs/data and docs/annotations."""

import copy
import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.datasets.base import Action
from sync_store.datasets.egoexo4d import EgoExo4DDataset
from sync_store.datasets.egoexo4d.keysteps import flatten
from sync_store.errors import DatasetError, NoVideoError, ProjectError
from sync_store.project import load_project

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

OMELET, SALAD, TIRE = "Cooking an Omelet", "Making Cucumber & Tomato Salad", "Fix a Flat Tire"


def uid(number: int) -> str:
    """A uid as the release's: hyphens, no underscores."""
    return f"{number:08d}-1111-4222-8333-444444444444"


def stream(camera: str, stream_id: str, name: str) -> dict[str, Any]:
    file = f"{camera}.mp4" if name == "0" else f"{camera}_{stream_id}.mp4"
    return {
        "cam_id": camera,
        "stream_id": stream_id,
        "readable_stream_id": name,
        "clip_uid": uid(9),
        "relative_path": f"frame_aligned_videos/{file}",
    }


def take(
    number: int, name: str, task: str | None, parent: str | None, *exo: str, aria: str = "aria01"
) -> Any:
    streams = {"slam-left": "1201-1", "slam-right": "1201-2", "et": "211-1", "rgb": "214-1"}
    pseudo = {"clip_uid": None, "stream_id": "0", "readable_stream_id": "0", "relative_path": None}
    return {
        "root_dir": f"takes/{name}",
        "take_name": name,
        "take_uid": uid(number),
        "is_dropped": False,
        "task_id": 4001,
        "task_name": task,
        "parent_task_name": parent,
        "duration_sec": 21.366666666666667,
        "timesync_start_idx": 6372,
        "timesync_end_idx": 7013,
        "best_exo": None,
        "capture": {
            "cameras": [
                {"cam_id": aria, "is_ego": True, "device_type": "aria"},
                *({"cam_id": camera, "is_ego": False, "device_type": "hero10"} for camera in exo),
            ]
        },
        "frame_aligned_videos": {
            aria: {key: stream(aria, stream_id, key) for key, stream_id in streams.items()},
            **{camera: {"0": stream(camera, "0", "0")} for camera in exo},
            "collage": {"0": {**pseudo, "relative_path": "ego_preview.mp4"}},
            "best_exo": {"0": pseudo},
        },
    }


TAKES = [
    take(1, "cmu_cooking_01", OMELET, "Cooking", "cam01", "cam02", "cam03"),
    take(2, "sfu_cooking_02", SALAD, "Cooking", "gp01", "gp02", "cam02", aria="aria02"),
    take(3, "unc_bike_03", TIRE, "Bike Repair", "cam01"),
    take(4, "iiith_cooking_04", OMELET, "Cooking", "cam02", "cam01"),
    take(5, "nus_cooking_05", SALAD, "Cooking", "cam04"),
]


def node(step_id: int, name: str, parent: int | None, leaf: bool = False) -> dict[str, Any]:
    record = {"id": step_id, "is_leafnode": leaf, "name": name, "parent_id": parent, "parent_name": "…"}
    return {**record, "unique_id": 800 + step_id} if leaf else record


TREES: dict[str, list[dict[str, Any]]] = {
    OMELET: [
        node(0, OMELET, None),
        node(1, "Preparation", 0),
        node(2, "Get ingredients", 1),
        node(3, "Get eggs", 2, leaf=True),
        node(10, "Get oil", 2, leaf=True),
        node(4, "Break eggs", 1, leaf=True),
        node(5, "Fry", 0),
        node(6, "Heat pan", 5, leaf=True),
        node(7, "Taste", 0, leaf=True),
    ],
    SALAD: [
        node(0, SALAD, None),
        node(1, "Preparation", 0),
        node(2, "Wash", 1, leaf=True),
        node(3, "Cut", 0),
        node(4, "Cut tomato", 3, leaf=True),
    ],
    TIRE: [node(0, TIRE, None), node(1, "Remove tube", 0, leaf=True)],
}


def keysteps(number: int, name: str, scenario: str, *segments: tuple[float, float, int]) -> Any:
    return {
        "take_uid": uid(number),
        "take_name": name,
        "scenario": scenario,
        "annotation_meta": {"annotator_id": 5792777457490871},
        "segments": [
            {
                "start_time": start,
                "end_time": end,
                "step_id": step,
                "step_name": "…",
                "step_description": "…",
                "is_essential": True,
                "step_unique_id": 800 + step,
            }
            for start, end, step in segments
        ],
    }


TRAIN = [
    keysteps(1, "cmu_cooking_01", OMELET, (0.85598, 33.20377, 3), (33.204, 50, 4), (50.0, 61.5, 7)),
    keysteps(3, "unc_bike_03", TIRE, (1.0, 2.0, 1)),
]
VAL = [keysteps(2, "sfu_cooking_02", SALAD, (0.0, 10.0, 2), (4.0, 6.0, 4))]


def marks(*cameras: str | None, rejected: bool | str = False) -> Any:
    """An annotator's description of a take, with flags in both of the release's forms."""
    return {
        "annotation_uid": uid(8),
        "annotator_id": "5284063695022975",
        "rejected": rejected,
        "reject_reason": None,
        "descriptions": [
            {
                "text": "C moves.",
                "timestamp": 0.03831,
                "narration_subject": "C",
                "ego_visible": "0" if place % 2 else True,
                "unsure": "1" if place % 2 else False,
                "best_exo": None if camera is None else {"raw_cam_id": "1", "cam_id": camera},
            }
            for place, camera in enumerate(cameras)
        ],
    }


DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "train": {
        uid(1): [marks("cam03", None, "cam01"), marks("cam03"), marks(*["cam01"] * 5, rejected="1")],
        uid(3): [marks(*["cam02"] * 9)],
    },
    "val": {uid(2): [marks("gp01", "gp02", "gp02", "cam09", "cam09", "cam09")]},
}


class Release:
    """The files, each of which a test can change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "egoexo"
        self.takes: list[Any] = copy.deepcopy(TAKES)
        trees = {name: {str(node["id"]): node for node in nodes} for name, nodes in TREES.items()}
        self.train, self.val = (
            {
                "annotations": {record["take_uid"]: record for record in copy.deepcopy(records)},
                "taxonomy": copy.deepcopy(trees),
                "vocabulary": {},
            }
            for records in (TRAIN, VAL)
        )
        self.descriptions = copy.deepcopy(DESCRIPTIONS)
        self.write("takes.json", self.takes)
        self.write("annotations/keystep_train.json", self.train)
        self.write("annotations/keystep_val.json", self.val)
        for split, annotations in self.descriptions.items():
            self.write(f"annotations/atomic_descriptions_{split}.json", {"annotations": annotations})
        self.touch(
            *(f"takes/{record['take_name']}/{path}" for record in self.takes for path in paths(record))
        )
        self.configure()

    def configure(self, keys: str = "", views: str = "") -> None:
        text = f'[dataset]\nkind = "egoexo4d"\nroot = "egoexo"\n[dataset.egoexo4d]\n{keys}\n{views}\n'
        (self.folder / "sync.toml").write_text(text, encoding="utf-8")

    def write(self, path: str, content: Any) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def touch(self, *paths: str) -> None:
        for path in paths:
            self.write(path, b"")

    def split(self, name: str, *lines: str) -> None:
        folder = self.folder / "splits"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")

    def open(self) -> EgoExo4DDataset:
        return EgoExo4DDataset(load_project(self.folder))


def paths(record: Any) -> list[str]:
    found = [
        stream["relative_path"]
        for streams in record["frame_aligned_videos"].values()
        for stream in streams.values()
        if stream["relative_path"]
    ]
    return [*found, *(path.replace("videos/", "videos/downscaled/448/") for path in found)]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def spans(dataset: EgoExo4DDataset, recording: str) -> list[tuple[float, float, str]]:
    (sequence,) = dataset.labeled(recording)
    assert (sequence.name, sequence.recording) == (recording, recording)
    segments = sequence.segments
    return [
        (start / 1e9, stop / 1e9, label)
        for start, stop, label in zip(
            segments.start_ns.tolist(), segments.stop_ns.tolist(), segments.labels, strict=True
        )
    ]


class TestRecordings:
    def test_the_papers_scenarios_by_default(self, release: Release) -> None:
        assert release.open().recordings() == [
            "cmu_cooking_01",
            "iiith_cooking_04",
            "nus_cooking_05",
            "sfu_cooking_02",
        ]

    @pytest.mark.parametrize(
        ("scenarios", "expected"),
        [
            ([], [record["take_name"] for record in TAKES]),
            ([TIRE], ["unc_bike_03"]),
            (["Bike Repair", OMELET], ["cmu_cooking_01", "iiith_cooking_04", "unc_bike_03"]),
        ],
    )
    def test_chosen_scenarios(self, release: Release, scenarios: list[str], expected: list[str]) -> None:
        release.configure(f"scenarios = {json.dumps(scenarios)}")
        assert release.open().recordings() == sorted(expected)

    def test_an_unknown_scenario(self, release: Release) -> None:
        release.configure(f'scenarios = ["{OMELET}", "Fix a flat tire"]')
        with pytest.raises(
            DatasetError,
            match=r"sync\.toml \[dataset\.egoexo4d\]: no take is of scenario 'Fix a flat tire', did you mean 'Fix a F",
        ):
            release.open().recordings()

    def test_procedure_and_uid(self, release: Release) -> None:
        dataset = release.open()
        assert dataset.procedure("cmu_cooking_01") == OMELET
        assert dataset.uid("sfu_cooking_02") == uid(2)
        assert dataset.recording_of(uid(2)) == dataset.recording_of("sfu_cooking_02") == "sfu_cooking_02"
        with pytest.raises(
            DatasetError, match=r"'unc_bike_03' is no take of the chosen scenarios in .*takes\.json"
        ):
            dataset.uid("unc_bike_03")
        with pytest.raises(DatasetError, match=rf"'{uid(3)}' is no take of the chosen scenarios"):
            dataset.recording_of(uid(3))

    def test_scenario_from_keysteps_where_the_take_has_none(self, release: Release) -> None:
        release.takes[0].update(task_name=None, parent_task_name=None)
        release.takes[3].update(task_name=None, parent_task_name=None)
        release.write("takes.json", release.takes)
        dataset = release.open()
        assert dataset.recordings() == ["cmu_cooking_01", "nus_cooking_05", "sfu_cooking_02"]
        assert dataset.procedure("cmu_cooking_01") == OMELET

    def test_no_labels_are_read_for_videos(self, release: Release) -> None:
        for split in ("train", "val"):
            release.write(f"annotations/keystep_{split}.json", b"{")
        dataset = release.open()
        assert [
            dataset.video(name, view).view for name in dataset.recordings() for view in ("ego", "best-exo")
        ]
        assert dataset.procedure("cmu_cooking_01") == OMELET

    def test_no_root(self, release: Release) -> None:
        (release.folder / "sync.toml").write_text('[dataset]\nkind = "egoexo4d"\nroot = "gone"\n')
        with pytest.raises(DatasetError, match=r"sync\.toml: dataset root .*gone isn't a folder"):
            release.open()


class TestVideo:
    @pytest.mark.parametrize(
        ("recording", "view", "camera", "stream_name", "file"),
        [
            ("cmu_cooking_01", "ego", "aria01", "rgb", "aria01_214-1.mp4"),
            ("sfu_cooking_02", "ego", "aria02", "rgb", "aria02_214-1.mp4"),
            ("cmu_cooking_01", "best-exo", "cam03", "0", "cam03.mp4"),
            ("cmu_cooking_01", "cam01", "cam01", "0", "cam01.mp4"),
            ("sfu_cooking_02", "gp01", "gp01", "0", "gp01.mp4"),
            ("cmu_cooking_01", "aria01", "aria01", "rgb", "aria01_214-1.mp4"),
            ("cmu_cooking_01", "aria01-slam-left", "aria01", "slam-left", "aria01_1201-1.mp4"),
        ],
    )
    def test_views(
        self, release: Release, recording: str, view: str, camera: str, stream_name: str, file: str
    ) -> None:
        views = f'[views.{view}]\nkind = "exo"\noffset_seconds = 0.1\n'
        for resolution, below in (("full", ""), ("448", "downscaled/448/")):
            release.configure(f'resolution = "{resolution}"', views)
            dataset = release.open()
            source = dataset.video(recording, view)
            assert source.path == release.root / f"takes/{recording}/frame_aligned_videos/{below}{file}"
            assert (source.recording, source.view, source.offset) == (recording, view, Fraction(1, 10))
        assert (dataset.camera(recording, view), dataset.stream(recording, view)) == (camera, stream_name)

    def test_default_views_count_from_the_first_frame(self, release: Release) -> None:
        project = load_project(release.folder)
        assert (project.views_of_kind("exo"), project.views_of_kind("ego")) == (["best-exo"], ["ego"])
        assert release.open().video("cmu_cooking_01", "ego").clock == "stream-start"

    @pytest.mark.parametrize(
        ("resolution", "below", "part"),
        [("full", "", "takes"), ("448", "downscaled/448/", "downscaled_takes/448")],
    )
    def test_a_file_that_was_not_fetched(
        self, release: Release, resolution: str, below: str, part: str
    ) -> None:
        release.configure(f'resolution = "{resolution}"')
        file = release.root / f"takes/nus_cooking_05/frame_aligned_videos/{below}aria01_214-1.mp4"
        file.unlink()
        with pytest.raises(NoVideoError) as caught:
            release.open().video("nus_cooking_05", "ego")
        assert str(caught.value) == (
            f"recording nus_cooking_05, view ego: no video; expected {file}. "
            f"Fetch it with: egoexo -o {release.root} --parts {part} --uids {uid(5)}"
        )

    @pytest.mark.parametrize("view", ["cam07", "best_exo", "collage", "aria01-slam"])
    def test_a_camera_that_the_take_has_not(self, release: Release, view: str) -> None:
        release.configure(views=f'[views.{view}]\nkind = "exo"')
        expected = (
            f"recording iiith_cooking_04, view {view}: takes.json names no such camera; "
            "have: aria01, aria01-et, aria01-slam-left, aria01-slam-right, cam01, cam02"
        )
        for ask in (release.open().video, release.open().camera, release.open().stream):
            with pytest.raises(NoVideoError) as caught:
                ask("iiith_cooking_04", view)
            assert str(caught.value) == expected

    def test_streams_without_a_video(self, release: Release) -> None:
        release.takes[0]["frame_aligned_videos"]["aria01"]["rgb"]["relative_path"] = None
        release.takes[3]["frame_aligned_videos"] = None
        release.write("takes.json", release.takes)
        dataset = release.open()
        with pytest.raises(
            NoVideoError, match=r"cmu_cooking_01, view ego: .* have: aria01-et, aria01-slam-left"
        ):
            dataset.video("cmu_cooking_01", "ego")
        for view in ("ego", "best-exo"):
            with pytest.raises(
                NoVideoError, match=rf"view {view}: takes\.json names no such camera; have: none"
            ):
                dataset.video("iiith_cooking_04", view)

    def test_the_glasses_of_who_performs_the_task(self, release: Release) -> None:
        cameras = release.takes[0]["frame_aligned_videos"]
        cameras["aria00"] = {"rgb": stream("aria00", "214-1", "rgb")}  # an observer's
        cameras["cam01"] = {"0": stream("cam01", "0", "0")}
        release.takes[0]["capture"]["cameras"].append({"cam_id": "aria00", "is_ego": False})
        release.takes[0]["capture"]["cameras"].append({"cam_id": "cam01", "is_ego": "1"})  # a worn GoPro
        release.takes[3]["capture"] = None
        release.write("takes.json", release.takes)
        dataset = release.open()
        assert dataset.camera("cmu_cooking_01", "ego") == "aria01"
        assert dataset.camera("iiith_cooking_04", "ego") == "aria01"

    def test_a_worn_gopro_where_there_are_no_glasses(self, release: Release) -> None:
        del release.takes[0]["frame_aligned_videos"]["aria01"]
        release.takes[0]["capture"]["cameras"][3]["is_ego"] = True
        release.write("takes.json", release.takes)
        dataset = release.open()
        assert (dataset.camera("cmu_cooking_01", "ego"), dataset.stream("cmu_cooking_01", "ego")) == (
            "cam03",
            "0",
        )
        assert dataset.camera("cmu_cooking_01", "best-exo") == "cam01"  # never the worn one

    def test_a_short_root_dir(self, release: Release) -> None:
        release.takes[0]["root_dir"] = "cmu_cooking_01"
        del release.takes[3]["root_dir"]
        release.write("takes.json", release.takes)
        for name in ("cmu_cooking_01", "iiith_cooking_04"):
            assert release.open().video(name, "ego").path.is_file()

    def test_a_view_that_sync_toml_does_not_list(self, release: Release) -> None:
        with pytest.raises(ProjectError, match="there is no view 'cam01'; known: best-exo, ego"):
            release.open().video("cmu_cooking_01", "cam01")

    def test_an_unknown_recording(self, release: Release) -> None:
        for name in ("../x", uid(1)):
            with pytest.raises(DatasetError, match="is no take of the chosen scenarios"):
                release.open().video(name, "ego")


class TestBestExo:
    def test_most_marks_in_the_take_without_rejected_ones(self, release: Release) -> None:
        assert release.open().camera("cmu_cooking_01", "best-exo") == "cam03"

    def test_a_marked_camera_that_the_take_has_not(self, release: Release) -> None:
        assert release.open().camera("sfu_cooking_02", "best-exo") == "gp02"

    def test_without_marks_the_camera_most_often_best_in_the_dataset(self, release: Release) -> None:
        assert release.open().camera("iiith_cooking_04", "best-exo") == "cam02"  # 9 marks, cam01 has 1
        assert release.open().camera("nus_cooking_05", "best-exo") == "cam04"  # the only one it has

    def test_ties(self, release: Release) -> None:
        release.descriptions["train"][uid(1)] = [marks("cam01", "cam02")]
        release.write(
            "annotations/atomic_descriptions_train.json", {"annotations": release.descriptions["train"]}
        )
        assert release.open().camera("cmu_cooking_01", "best-exo") == "cam02"  # by the dataset
        for split in ("train", "val"):
            release.write(f"annotations/atomic_descriptions_{split}.json", {"annotations": {}})
        assert release.open().camera("iiith_cooking_04", "best-exo") == "cam01"  # by name

    def test_takes_json_has_no_say(self, release: Release) -> None:
        release.takes[0]["best_exo"] = "cam02"
        release.write("takes.json", release.takes)
        assert release.open().camera("cmu_cooking_01", "best-exo") == "cam03"

    def test_one_file_is_enough(self, release: Release) -> None:
        (release.root / "annotations/atomic_descriptions_val.json").unlink()
        assert release.open().camera("cmu_cooking_01", "best-exo") == "cam03"
        (release.root / "annotations/atomic_descriptions_train.json").unlink()
        dataset = release.open()
        with pytest.raises(
            DatasetError,
            match=r"neither atomic_descriptions_train\.json nor atomic_descriptions_val\.json is there, which say "
            r".*egoexo -o .*egoexo --parts annotations$",
        ):
            dataset.video("cmu_cooking_01", "best-exo")
        assert dataset.camera("cmu_cooking_01", "ego") == "aria01"

    @pytest.mark.parametrize(
        ("annotations", "message"),
        [
            ({"annotations": []}, r"annotations must be an object \{…\}, got \[\]"),
            ({"annotations": {"u": {}}}, r"take u must be a list \[…\], got \{\}"),
            (
                {"annotations": {"u": [{}]}},
                r"take u, annotation 0: descriptions must be a list \[…\], got nothing",
            ),
            (
                {"annotations": {"u": [{"descriptions": [3]}]}},
                r"annotation 0, description 0 must be an object",
            ),
            (
                {"annotations": {"u": [{"descriptions": [{"best_exo": "cam01"}]}]}},
                r"description 0: best_exo must be an object \{…\}, got \"cam01\"",
            ),
            (
                {"annotations": {"u": [{"descriptions": [{"best_exo": {"cam_id": 1}}]}]}},
                r"description 0: best_exo: cam_id must be a text, got 1",
            ),
        ],
    )
    def test_malformed(self, release: Release, annotations: Any, message: str) -> None:
        release.write("annotations/atomic_descriptions_train.json", annotations)
        with pytest.raises(DatasetError, match=r"atomic_descriptions_train\.json.*" + message):
            release.open().camera("cmu_cooking_01", "best-exo")


class TestLabels:
    @pytest.mark.parametrize(
        ("level", "labels"),
        [
            ('"parent"', ["Get ingredients", "Preparation", "Taste"]),
            ('"step"', ["Get eggs", "Break eggs", "Taste"]),
            ("1", ["Preparation", "Preparation", "Taste"]),
            ("2", ["Get ingredients", "Break eggs", "Taste"]),
            ("3", ["Get eggs", "Break eggs", "Taste"]),
            ("9", ["Get eggs", "Break eggs", "Taste"]),
        ],
    )
    def test_levels(self, release: Release, level: str, labels: list[str]) -> None:
        release.configure(f"label_level = {level}")
        times = [(0.85598, 33.20377), (33.204, 50.0), (50.0, 61.5)]
        expected = [(*time, label) for time, label in zip(times, labels, strict=True)]
        assert spans(release.open(), "cmu_cooking_01") == expected

    def test_classes_come_from_the_taxonomy_not_from_labels(self, release: Release) -> None:
        parents = ("Preparation", "Cut", "Get ingredients", "Fry", "Taste")
        dataset = release.open()
        # the scenarios in the order of the setting, their leaves by id; "Preparation" is shared
        assert dataset.classes() == parents
        assert dataset.action_classes() == (
            *("Wash", "Cut tomato", "Get eggs", "Break eggs", "Heat pan", "Taste", "Get oil"),
        )
        for level, expected in (
            ("1", ("Preparation", "Cut", "Fry", "Taste")),
            ('"step"', dataset.action_classes()),
        ):
            release.configure(f"label_level = {level}")
            assert release.open().classes() == expected
        release.configure("scenarios = []")
        assert (release.open().classes() or ())[-1] == "Remove tube"
        release.configure('scenarios = ["Cooking"]')
        assert set(release.open().classes() or ()) == set(parents)

    def test_every_label_is_a_class(self, release: Release) -> None:
        for level in ('"parent"', '"step"', "1", "2"):
            release.configure(f"scenarios = []\nlabel_level = {level}")
            dataset = release.open()
            labels = {
                label
                for name in dataset.recordings()
                for s in dataset.labeled(name)
                for label in s.segments.labels
            }
            assert labels <= set(dataset.classes() or ())

    @pytest.mark.parametrize(
        ("overlap", "expected"),
        [
            ("later", [(0.0, 4.0, "Preparation"), (4.0, 6.0, "Cut"), (6.0, 10.0, "Preparation")]),
            ("earlier", [(0.0, 10.0, "Preparation")]),
        ],
    )
    def test_overlaps(self, release: Release, overlap: str, expected: list[tuple[float, float, str]]) -> None:
        release.configure(f'overlap = "{overlap}"')
        assert spans(release.open(), "sfu_cooking_02") == expected

    def test_actions_may_overlap(self, release: Release) -> None:
        release.val["annotations"][uid(2)]["segments"].reverse()
        release.write("annotations/keystep_val.json", release.val)
        second = 10**9
        assert release.open().actions("sfu_cooking_02") == [
            Action(start_ns=0, stop_ns=10 * second, label="Wash"),
            Action(start_ns=4 * second, stop_ns=6 * second, label="Cut tomato"),
        ]

    def test_takes_without_keysteps(self, release: Release) -> None:
        dataset = release.open()
        assert (dataset.labeled("iiith_cooking_04"), dataset.actions("iiith_cooking_04")) == ([], [])
        release.train["annotations"][uid(1)]["segments"] = []
        release.write("annotations/keystep_train.json", release.train)
        assert release.open().labeled("cmu_cooking_01") == []

    def test_a_taxonomy_of_lists(self, release: Release) -> None:
        expected = release.open().classes(), spans(release.open(), "cmu_cooking_01")
        lists = {name: list(nodes.values()) for name, nodes in release.train["taxonomy"].items()}
        for taxonomy in (lists, list(lists.values()), [release.train["taxonomy"][name] for name in lists]):
            for content, split in ((release.train, "train"), (release.val, "val")):
                release.write(f"annotations/keystep_{split}.json", {**content, "taxonomy": taxonomy})
            assert (release.open().classes(), spans(release.open(), "cmu_cooking_01")) == expected

    def test_ids_as_text_and_tiny_times(self, release: Release) -> None:
        segment = release.train["annotations"][uid(1)]["segments"][0]
        segment.update(step_id="3", start_time=1e-05)
        release.write("annotations/keystep_train.json", release.train)
        assert spans(release.open(), "cmu_cooking_01")[0] == (1e-05, 33.20377, "Get ingredients")

    def test_a_step_that_has_steps_below_it(self, release: Release) -> None:
        release.train["annotations"][uid(1)]["segments"] = keysteps(1, "", "", (1, 2, 2))["segments"]
        release.write("annotations/keystep_train.json", release.train)
        dataset = release.open()
        assert spans(dataset, "cmu_cooking_01") == [(1.0, 2.0, "Get ingredients")]  # a parent already
        with pytest.raises(
            DatasetError,
            match=rf"take {uid(1)}, segment 0: step_id 2 has steps below it; expected one without",
        ):
            dataset.actions("cmu_cooking_01")

    def test_files_of_one_split_only(self, release: Release) -> None:
        (release.root / "annotations/keystep_val.json").unlink()
        dataset = release.open()
        assert spans(dataset, "cmu_cooking_01") and dataset.labeled("sfu_cooking_02") == []
        (release.root / "annotations/keystep_train.json").unlink()
        dataset = release.open()
        message = (
            r"annotations: neither keystep_train\.json nor keystep_val\.json is there.* --parts annotations$"
        )
        for ask in (dataset.classes, dataset.action_classes, lambda: dataset.labeled("cmu_cooking_01")):
            with pytest.raises(DatasetError, match=message):
                ask()

    def test_keysteps_of_another_scenario(self, release: Release) -> None:
        release.train["annotations"][uid(1)]["scenario"] = TIRE
        release.write("annotations/keystep_train.json", release.train)
        with pytest.raises(
            DatasetError,
            match=r"recording cmu_cooking_01: its keysteps are of scenario 'Fix a Flat Tire', which "
            r"isn't chosen, while takes\.json says 'Cooking an Omelet'\. Add it to scenarios in sync\.toml \[dataset",
        ):
            release.open().labeled("cmu_cooking_01")

    def test_no_taxonomy_of_a_chosen_scenario(self, release: Release) -> None:
        for content, split in ((release.train, "train"), (release.val, "val")):
            tree = {TIRE: content["taxonomy"][TIRE]}
            release.write(f"annotations/keystep_{split}.json", {**content, "taxonomy": tree})
        with pytest.raises(DatasetError, match=r"no taxonomy of a chosen scenario; have: Fix a Flat Tire"):
            release.open().classes()
        with pytest.raises(
            DatasetError,
            match=rf"take {uid(1)}: scenario 'Cooking an Omelet' has no taxonomy; have: Fix a Flat Tire",
        ):
            release.open().labeled("cmu_cooking_01")

    def test_a_take_that_takes_json_has_not(self, release: Release) -> None:
        release.write("takes.json", release.takes[1:])
        with pytest.raises(
            DatasetError,
            match=rf"keystep_train\.json: take {uid(1)}: isn't in takes\.json\. .*--parts metadata annotations",
        ):
            release.open().classes()

    def test_a_take_in_both_files(self, release: Release) -> None:
        release.val["annotations"][uid(1)] = release.train["annotations"][uid(1)]
        release.write("annotations/keystep_val.json", release.val)
        with pytest.raises(
            DatasetError, match=rf"val\.json: take {uid(1)}: is in keystep_train\.json already"
        ):
            release.open().classes()

    def test_taxonomies_that_differ(self, release: Release) -> None:
        release.val["taxonomy"][OMELET]["3"]["name"] = "Fetch eggs"
        release.write("annotations/keystep_val.json", release.val)
        with pytest.raises(
            DatasetError,
            match=r"val\.json: taxonomy: the steps of 'Cooking an Omelet' aren't those of keystep_train\.json\. Fetch",
        ):
            release.open().classes()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"start_time": 50, "end_time": 50.0}, r"end_time must be after start_time, got 50 and 50\.0"),
            ({"start_time": 60.0}, r"end_time must be after start_time, got 60\.0 and 33\.20377"),
            ({"start_time": "1"}, r'start_time must be a number of seconds, got "1"'),
            (
                {"start_time": 10**400},
                r"start_time is 1000+… seconds, more than 1000000; is it in another unit\?",
            ),
            ({"step_id": "1" * 5000}, r'step_id must be a whole number, got "1111'),
            ({"start_time": True}, r"start_time must be a number of seconds, got true"),
            ({"end_time": None}, r"end_time must be a number of seconds, got null"),
            ({"end_time": float("nan")}, r"end_time must be a number of seconds, got NaN"),
            (
                {"end_time": 5e9},
                r"end_time is 5000000000\.0 seconds, more than 1000000; is it in another unit\?",
            ),
            ({"step_id": 99}, r"step_id 99 isn't in the taxonomy of the take's scenario"),
            ({"step_id": 0}, r"step_id 0 has steps below it; expected one without"),
            ({"step_id": None}, r"step_id must be a whole number, got null"),
            ({"step_id": "x"}, r'step_id must be a whole number, got "x"'),
        ],
    )
    def test_malformed_segments(self, release: Release, change: dict[str, Any], message: str) -> None:
        release.train["annotations"][uid(1)]["segments"][0].update(change)
        release.write("annotations/keystep_train.json", release.train)
        with pytest.raises(DatasetError, match=rf"keystep_train\.json: take {uid(1)}, segment 0: {message}"):
            release.open().labeled("cmu_cooking_01")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                b"{",
                r"can't be read as JSON \(.*\)\. Fetch it anew with: egoexo -o .*egoexo --parts annotations",
            ),
            (b"\xff", r"can't be read as JSON"),
            (b"[" * 100_000, r"can't be read as JSON"),
            ([], r"taxonomy must be an object \{…\} or a list \[…\] of scenarios, got null"),
            ({"taxonomy": {}}, r"annotations must be an object \{…\}, got nothing"),
            ({"taxonomy": {}, "annotations": {"u": {}}}, r"take u: scenario must be a text, got nothing"),
            (
                {"taxonomy": {}, "annotations": {"u": {"scenario": "s", "segments": None}}},
                r"take u: segments must be a list \[…\], got null",
            ),
            (
                {"taxonomy": {}, "annotations": {uid(1): {"scenario": OMELET, "segments": [7]}}},
                r"segment 0 must be an object \{…\}, got 7",
            ),
            ({"taxonomy": {"s": 3}}, r"taxonomy\.s must be a list \[…\], got 3"),
            ({"taxonomy": [[{"id": 0}]]}, r"taxonomy\[0\], id 0: name must be a text, got nothing"),
            ({"taxonomy": {"s": []}}, r"s: one step must have no parent_id, the scenario itself; got 0"),
            (
                {"taxonomy": {"s": [node(0, "a", None), node(0, "b", None)]}},
                r"taxonomy\.s: id 0 is there twice",
            ),
            ({"taxonomy": {"s": [node(0, "a", None), node(1, "b", None)]}}, r"the scenario itself; got 2"),
            ({"taxonomy": {"s": [node(0, "a", None), node(1, "b", 7)]}}, r"s, id 1: parent_id 7 isn't there"),
            (
                {"taxonomy": {"s": [node(0, "a", None), node(1, "b", 2), node(2, "c", 1)]}},
                r"s, id \d: parent_id \d is below the step itself",
            ),
        ],
    )
    def test_malformed_files(self, release: Release, content: Any, message: str) -> None:
        release.write("annotations/keystep_val.json", content)
        release.write("annotations/keystep_train.json", {**release.train, "annotations": {}})
        with pytest.raises(DatasetError, match=rf"keystep_val\.json.*{message}"):
            release.open().labeled("cmu_cooking_01")


STEPS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 8), st.sampled_from("abc")).map(
        lambda step: Action(start_ns=step[0], stop_ns=step[0] + step[1], label=step[2])
    ),
    max_size=7,
)


class TestFlatten:
    @given(STEPS)
    def test_each_moment_on_its_own(self, steps: list[Action]) -> None:
        steps = sorted(steps, key=lambda step: step.start_ns)
        later, earlier = flatten(steps, "later"), flatten(steps, "earlier")
        for moment in range(21):
            held = [step for step in steps if step.start_ns <= moment < step.stop_ns]
            last = [step for step in held if step.start_ns == max(s.start_ns for s in held)]
            last = [step for step in last if step.stop_ns == min(s.stop_ns for s in last)]
            first = [step for step in held if step.start_ns == min(s.start_ns for s in held)]
            first = [step for step in first if step.stop_ns == max(s.stop_ns for s in first)]
            for segments, expected in ((later, last), (earlier, first)):
                index = int(segments.index_at(np.array([moment]), slack_ns=0)[0])
                assert (segments.labels[index] if index >= 0 else None) == (
                    expected[0].label if expected else None
                )

    @given(STEPS)
    def test_neighbours_that_touch_differ(self, steps: list[Action]) -> None:
        segments = flatten(sorted(steps, key=lambda step: step.start_ns), "later")
        for i in range(1, len(segments)):
            touches = segments.start_ns[i] == segments.stop_ns[i - 1]
            assert not touches or segments.labels[i] != segments.labels[i - 1]


class TestSplits:
    def test_names_and_uids(self, release: Release) -> None:
        release.split("test_ego", "sfu_cooking_02", "", uid(1))
        assert release.open().split("test_ego") == ["sfu_cooking_02", "cmu_cooking_01"]

    def test_a_take_that_is_not_chosen(self, release: Release) -> None:
        release.split("train", "sfu_cooking_02", "unc_bike_03")
        with pytest.raises(
            DatasetError,
            match=r"splits: split train: 'unc_bike_03' is no take of the chosen scenarios in .*takes\.json",
        ):
            release.open().split("train")

    def test_missing(self, release: Release) -> None:
        with pytest.raises(DatasetError, match=r"splits/train\.txt: there is no such split; have: none"):
            release.open().split("train")


class TestTakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"take_name": None}, r"0: take_name must be a text, got null"),
            ({"take_uid": 7}, r"0 \(cmu_cooking_01\): take_uid must be a text, got 7"),
            ({"task_name": []}, r"0 \(cmu_cooking_01\): task_name must be a text, got \[\]"),
            (
                {"root_dir": "takes/../../x"},
                r'root_dir must be a path inside the folder of the dataset, got "takes/',
            ),
            ({"frame_aligned_videos": []}, r"frame_aligned_videos must be an object \{…\}, got \[\]"),
            (
                {"frame_aligned_videos": {"cam01": 1}},
                r"frame_aligned_videos\.cam01 must be an object \{…\}, got 1",
            ),
            ({"frame_aligned_videos": {"cam01": {"0": None}}}, r"cam01\.0 must be an object \{…\}, got null"),
            (
                {"frame_aligned_videos": {"cam01": {"0": {"relative_path": 1}}}},
                r"cam01\.0: relative_path must be a text, got 1",
            ),
            (
                {"capture": {"cameras": [{"is_ego": True}]}},
                r"capture\.cameras: cam_id must be a text, got nothing",
            ),
            ({"take_uid": uid(2)}, r"1: a second take has take_uid '00000002-"),
            ({"take_name": "sfu_cooking_02"}, r"1: a second take has take_name 'sfu_cooking_02'"),
        ],
    )
    def test_malformed(self, release: Release, change: dict[str, Any], message: str) -> None:
        release.takes[0].update(change)
        release.write("takes.json", release.takes)
        with pytest.raises(DatasetError, match=rf"takes\.json: take .*{message}"):
            release.open().recordings()

    @pytest.mark.parametrize("path", ["/etc/passwd", "../x.mp4", "a/../../x.mp4", "", "c:\\x.mp4"])
    def test_a_path_cannot_leave_the_takes_folder(self, release: Release, path: str) -> None:
        release.takes[0]["frame_aligned_videos"]["cam01"]["0"]["relative_path"] = path
        release.write("takes.json", release.takes)
        with pytest.raises(
            DatasetError,
            match=r"takes\.json: take 0 \(cmu_cooking_01\): frame_aligned_videos\.cam01\.0\.relative_path must be a "
            r"path inside the folder of the dataset, got",
        ):
            release.open().recordings()

    def test_a_name_that_cannot_be_a_folder_of_the_store(self, release: Release) -> None:
        release.takes[0].update(take_name="a/b")
        release.write("takes.json", release.takes)
        with pytest.raises(DatasetError, match=r"takes\.json: take name 'a/b' contains a path separator"):
            release.open().recordings()

    def test_no_file(self, release: Release) -> None:
        (release.root / "takes.json").unlink()
        (release.root / "takes.json").mkdir()
        with pytest.raises(
            DatasetError, match=r"takes\.json: can't be read: Is a directory\. Check its disk"
        ):
            release.open().recordings()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, r"there is no such file\. Fetch it with: egoexo -o .*egoexo --parts metadata$"),
            ({}, r"must be a list \[…\], got \{\}"),
            (
                b"[",
                r"can't be read as JSON \(.*\)\. Fetch it anew with: egoexo -o .*egoexo --parts metadata$",
            ),
            ([3], r": take 0 must be an object \{…\}, got 3"),
        ],
    )
    def test_no_list(self, release: Release, content: Any, message: str) -> None:
        (release.root / "takes.json").unlink()
        if content is not None:
            release.write("takes.json", content)
        with pytest.raises(DatasetError, match=rf"takes\.json:? ?{message}"):
            release.open().recordings()

    def test_a_byte_order_mark(self, release: Release) -> None:
        release.write("takes.json", b"\xef\xbb\xbf" + json.dumps(release.takes).encode())
        assert len(release.open().recordings()) == 4


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("label_level = 0", r'label_level must be "parent", "step" or a depth from 1 on, got 0'),
        (
            'label_level = "leaf"',
            r"label_level must be Union\[Literal\['parent', 'step'\], int\], got 'leaf'",
        ),
        ("label_level = true", r"label_level must be .*got True"),
        (f'scenarios = ["{OMELET}", "{OMELET}"]', r"scenarios must be named once each, got"),
        ('resolution = "480"', r"resolution must be .*got '480'"),
        ('overlap = "last"', r"overlap must be .*got 'last'"),
        ("level = 1", r"unknown key 'level', did you mean 'label_level'\?"),
    ],
)
def test_settings(release: Release, keys: str, message: str) -> None:
    release.configure(keys)
    with pytest.raises(ProjectError, match=message):
        load_project(release.folder)


def write_video(path: Path, fps: int, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream("mpeg4", rate=fps)
        track.height, track.width, track.pix_fmt = 32, 32, "yuv420p"
        for shade in range(count):
            picture = np.full((32, 32, 3), 10 * shade, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode(None))


def test_extraction_from_three_lines(release: Release) -> None:
    (release.folder / "sync.toml").write_text('[dataset]\nkind = "egoexo4d"\nroot = "egoexo"\n')
    shutil.rmtree(release.root / "takes")
    videos = release.root / "takes/cmu_cooking_01/frame_aligned_videos"
    for name in ("aria01_214-1.mp4", "cam03.mp4"):
        write_video(videos / name, fps=30, count=6)
    done = subprocess.run(
        [
            COMMAND,
            "--view",
            "ego",
            "--backbone",
            "dinov2-random-demo",
            "--device",
            "cpu",
            "--dry-run",
            "--json",
        ],
        cwd=release.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(job["recording"], job["view"], job["expected_rows"]) for job in report["to_do"]] == [
        ("cmu_cooking_01", "ego", 6)
    ]
    absent = [entry["recording"] for entry in report["absent"]]
    assert absent == ["iiith_cooking_04", "nus_cooking_05", "sfu_cooking_02"]
    assert report["failed"] == []
