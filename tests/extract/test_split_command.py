"""`sync-extract split` on plain folders and on Assembly101's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sync_extract.cli import main
from sync_store.layout import FeatureSet, ensure_feature_set
from sync_store.project import load_project
from sync_store.splits import read_split
from sync_store.writer import RecordingWriter

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

SPLITS = ("train", "adapt", "test")

Make = Callable[..., Path]
Split = Callable[..., Result]

A101 = "nusar-2021_action_both_{}-a01_{}_user_id_2021-02-01_153724"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A project of plain folders: all recordings have v3, some e4, some labels."""

    def make(
        num_all: int,
        num_labeled: int,
        num_ego: int,
        *,
        name: str = "lab",
        more: str = "",
        backwards: bool = False,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sync.toml").write_text('[views.v3]\nkind = "exo"\n[views.e4]\nkind = "ego"\n' + more)
        (folder / "labels").mkdir()
        for place in sorted(range(num_all), reverse=backwards):
            recording = f"r{place:03d}"
            video = folder / "videos" / recording / "v3.mp4"
            video.parent.mkdir(parents=True)
            video.touch()
            if place < num_ego:
                video.with_name("e4.mp4").touch()
            if place >= num_all - num_labeled:
                (folder / f"labels/{recording}.csv").write_text("start_seconds,stop_seconds,label\n0,1,put\n")
        return folder

    return make


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Split:
    def split(folder: Path, *arguments: str) -> Result:
        monkeypatch.chdir(folder)
        return CliRunner().invoke(main, ["split", *arguments])

    return split


def lines(folder: Path) -> dict[str, list[str]]:
    return {name: read_split(folder / "splits", name) for name in SPLITS}


def test_files_and_notes(make: Make, split: Split) -> None:
    folder = make(12, 9, 11)
    done = split(folder, "--sizes", "4/3/2", "--seed", "5")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"{folder / 'splits'}: 4/3/2 recordings for train/adapt/test, seed 5\n"
    drawn = lines(folder)
    assert [len(names) for names in drawn.values()] == [4, 3, 2]
    assert (folder / "splits/train.txt").read_text() == "".join(
        f"{name}\n" for name in sorted(drawn["train"])
    )
    assert drawn["adapt"] == ["r000", "r001", "r002"]  # which have no labels
    assert "r011" not in drawn["test"]  # which has no e4
    notes = json.loads((folder / "splits/split.json").read_text())
    assert notes.pop("versions").keys() == {"sync-tas", "numpy"}
    assert "PCG64(seed)" in notes.pop("rule")
    assert notes == {
        "seed": 5,
        "sizes_asked": [4, 3, 2],
        "sizes": [4, 3, 2],
        "views": {"exo": "v3", "ego": "e4"},
        "recordings": {
            "all": 12,
            "with_labels": 9,
            "with_both_views": 11,
            "with_labels_and_both_views": 8,
        },
        "train_without_ego": [],
    }
    assert sorted(path.name for path in (folder / "splits").iterdir()) == [
        "adapt.txt",
        "split.json",
        "test.txt",
        "train.txt",
    ]


def test_the_same_whatever_the_folders_order_and_the_process(
    make: Make, split: Split, tmp_path: Path
) -> None:
    folders = [make(14, 10, 12), make(14, 10, 12, name="other", backwards=True)]
    for folder in folders:
        assert split(folder, "--sizes", "5/3/4").exit_code == 0
    assert lines(folders[0]) == lines(folders[1])
    shutil.rmtree(folders[0] / "splits")
    command = [COMMAND, "--project", str(folders[0]), "split", "--sizes", "5/3/4", "--output", "drawn"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in (*(f"{name}.txt" for name in SPLITS), "split.json"):
        assert (tmp_path / "drawn" / name).read_bytes() == (folders[1] / "splits" / name).read_bytes()
    assert not (folders[0] / "splits").exists()
    assert split(folders[1], "--sizes", "5/3/4", "--seed", "1", "--output", "again").exit_code == 0
    assert read_split(folders[1] / "again", "train") != lines(folders[1])["train"]


def test_nothing_is_overwritten_unasked(make: Make, split: Split) -> None:
    folder = make(8, 8, 8)
    (folder / "splits").mkdir()
    (folder / "splits/adapt.txt").write_text("mine\n")
    done = split(folder, "--sizes", "2/2/2")
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {folder / 'splits/adapt.txt'}: is there already. Replace the split with --overwrite\n"
    )
    assert [path.name for path in (folder / "splits").iterdir()] == ["adapt.txt"]
    assert split(folder, "--sizes", "2/2/2", "--overwrite").exit_code == 0
    assert "mine" not in lines(folder)["adapt"]


def test_too_few_shrink_and_say_so(make: Make, split: Split) -> None:
    folder = make(12, 8, 12)
    for arguments in ((), ("--json", "--overwrite")):
        done = split(folder, "--sizes", "10/4/10", *arguments)
        assert done.exit_code == 0
        assert done.stderr.splitlines()[0] == (
            "warning: too few recordings for 10/4/10 in train/adapt/test: of 12, 8 have labels, 12 views v3 and e4, "
            "8 all of these. All three shrank in proportion, to 4/2/4"
        )  # fmt: skip
    written = json.loads(done.stdout)
    assert (written["sizes_asked"], written["sizes"]) == ([10, 4, 10], [4, 2, 4])
    assert {name: written[name] for name in SPLITS} == lines(folder)
    assert written["folder"] == str(folder / "splits")


def test_views_are_those_of_training(make: Make, split: Split) -> None:
    more = '[views.v4]\nkind = "exo"\n[train]\nexo = "v4"\n'
    folder = make(6, 6, 6, more=more)
    done = split(folder, "--sizes", "2/2/2")
    assert done.exit_code == 1
    assert "too few recordings to split: 0 have labels and the exo view, 0 both views" in done.stderr
    assert split(folder, "--sizes", "2/2/2", "--exo", "v3").exit_code == 0
    assert json.loads((folder / "splits/split.json").read_text())["views"] == {"exo": "v3", "ego": "e4"}
    assert "there is no view 'v5'" in split(folder, "--sizes", "2/2/2", "--exo", "v5", "--overwrite").stderr


def test_features_in_the_store_stand_for_videos(make: Make, split: Split) -> None:
    folder = make(6, 6, 0)
    feature_set = FeatureSet(name="tsm", recipe={}, feature_dim=2)
    ensure_feature_set(folder / "features.zarr", feature_set)
    times = np.arange(3, dtype=np.int64)
    stored = [*(("e4", f"r{place:03d}") for place in range(5)), ("v3", "unfilmed"), ("e4", "unfilmed")]
    for view, recording in stored:
        with RecordingWriter(
            folder / "features.zarr", feature_set, view, recording, timestamps=times, provenance={}
        ) as writer:
            writer.append(np.zeros((3, 2), np.float16))
            writer.commit()
    assert split(folder, "--sizes", "3/1/3").exit_code == 0
    notes = json.loads((folder / "splits/split.json").read_text())
    assert notes["train_without_ego"] == ["r005"]
    assert notes["recordings"] == {
        "all": 7,
        "with_labels": 6,
        "with_both_views": 6,
        "with_labels_and_both_views": 5,
    }
    assert lines(folder)["adapt"] == ["unfilmed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3/4", "expected three numbers such as 143/63/156, got '3/4'"),
        ("3/4/x", "expected three numbers such as 143/63/156, got '3/4/x'"),
        ("3/0/4", "every split needs a recording, got '3/0/4'"),
    ],
)
def test_sizes_that_are_none(make: Make, split: Split, text: str, message: str) -> None:
    done = split(make(3, 3, 3), "--sizes", text)
    assert done.exit_code == 2
    assert message in done.stderr


def test_own_recordings_have_no_default_sizes(make: Make, split: Split) -> None:
    done = split(make(3, 3, 3), "--json")
    assert done.exit_code == 1
    assert done.stderr == ("error: say how many recordings each split gets, with --sizes TRAIN/ADAPT/TEST\n")


def test_a_project_without_an_ego_view(make: Make, split: Split) -> None:
    folder = make(3, 3, 3)
    (folder / "sync.toml").write_text('[views.v3]\nkind = "exo"\n')
    done = split(folder, "--sizes", "1/1/1")
    assert done.exit_code == 1
    assert "sync.toml: has no ego view, and a split needs pairs of an exo and an ego view" in done.stderr


def test_assembly101s_143_63_156(tmp_path: Path, split: Split) -> None:
    """362 recordings with labels, five of them without e4, as the release has them (but for its withheld labels)."""
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "assembly101"\nroot = "a101"\n')
    labels = tmp_path / "a101/annotations/coarse-annotations/coarse_labels"
    labels.mkdir(parents=True)
    (labels.parent / "actions.csv").write_text("action_id,action_cls\n0,inspect toy\n")
    for place in range(362):
        recording = A101.format(9000 + place, 9000 + place)
        folder = tmp_path / "a101/recordings" / recording
        folder.mkdir(parents=True)
        (folder / "C10118_rgb.mp4").touch()
        if place >= 5:
            (folder / ("HMC_84358933_mono10bit.mp4", "HMC_21179183_mono10bit.mp4")[place % 2]).touch()
        (labels / f"{('dis' if place % 3 else '')}assembly_{recording}.txt").write_text(
            "1\t2\tinspect toy\t\n"
        )
    done = split(tmp_path)
    assert done.exit_code == 0
    folder = load_project(tmp_path).splits_path
    lacking = [A101.format(place, place) for place in range(9000, 9005)]
    assert done.stderr.splitlines() == [
        f"warning: 5 of train have no view e4: {', '.join(lacking)}. The ego oracle learns without them",
        f"{folder}: 143/63/156 recordings for train/adapt/test, seed 0",
    ]
    assert set(lacking) <= set(lines(tmp_path)["train"])
    assert [len(names) for names in lines(tmp_path).values()] == [143, 63, 156]
    assert folder == tmp_path / "splits"  # beside sync.toml: the dataset's own folder is often shared


def test_egoexo4ds_90_89_44(tmp_path: Path, split: Split) -> None:
    """Three takes in the release's form, which are too few: the warning has the numbers asked for."""
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "egoexo4d"\nroot = "egoexo"\n')
    takes, keysteps = [], {}
    for place in range(3):
        name, uid, task = (
            f"cmu_cooking_0{place}",
            f"{place:08d}-1111-4222-8333-444444444444",
            "Cooking an Omelet",
        )
        videos = {"aria01": ("rgb", "aria01_214-1"), "cam01": ("0", "cam01")}
        streams = {
            camera: {stream: {"relative_path": f"frame_aligned_videos/{file}.mp4"}}
            for camera, (stream, file) in videos.items()
        }
        takes.append({"take_name": name, "take_uid": uid, "root_dir": f"takes/{name}", "task_name": task,
                      "frame_aligned_videos": streams})  # fmt: skip
        segment = {"start_time": 1.0, "end_time": 2.0, "step_id": 1}
        keysteps[uid] = {"take_uid": uid, "scenario": task, "segments": [segment]}
        folder = tmp_path / f"egoexo/takes/{name}/frame_aligned_videos"
        folder.mkdir(parents=True)
        for _, file in videos.values():
            (folder / f"{file}.mp4").touch()
    tree = [{"id": 0, "name": task, "parent_id": None}, {"id": 1, "name": "Break eggs", "parent_id": 0}]
    contents = {
        "takes.json": takes,
        "annotations/keystep_train.json": {"annotations": keysteps, "taxonomy": {task: tree}},
        "annotations/atomic_descriptions_train.json": {"annotations": {}},
    }
    (tmp_path / "egoexo/annotations").mkdir()
    for file, content in contents.items():
        (tmp_path / "egoexo" / file).write_text(json.dumps(content))
    done = split(tmp_path)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith(
        "warning: too few recordings for 90/89/44 in train/adapt/test: of 3, 3 have labels, 3 views best-exo and ego, "
        "3 all of these. All three shrank in proportion, to 1/1/1\n"
    )
