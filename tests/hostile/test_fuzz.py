"""Readers of files on bytes that nobody meant: each gives a value or an error of ours, and nothing else.

`SYNC_FUZZ_EXAMPLES` sets how many examples each test takes.
"""

import json
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_eval.checks import read_checks
from sync_eval.report.curves import draw_charts, read_stages
from sync_eval.runs import find_groups
from sync_experiments.experiment import read_experiment
from sync_extract.decode import decode_frames
from sync_extract.header import estimate_rows
from sync_extract.probe import probe
from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import DatasetError, ProjectError, StoreError, SyncError, TrainingError, VideoError
from sync_store.exported import read_recipe
from sync_store.labels import read_frames, read_segments
from sync_store.predictions import find_predictions
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.splits import read_split
from sync_train.checks.result import CheckResult, find_result
from sync_train.journal import read_journal

EXAMPLES = int(os.environ.get("SYNC_FUZZ_EXAMPLES", "60"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def mutated(content: bytes, seed: int) -> bytes:
    """Some bytes changed, a piece cut out, doubled or moved, or the end cut off."""
    draw = random.Random(seed)
    result = bytearray(content)
    for _ in range(draw.choice((1, 2, 8))):
        at, length = draw.randrange(len(result) or 1), draw.choice((1, 4, 64, 1000))
        match draw.randrange(5):
            case 0:
                result[at : at + 1] = draw.randbytes(1)
            case 1:
                result[at : at + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            case 2:
                del result[at : at + length]
            case 3:
                result[at:at] = result[at : at + length]
            case 4:
                del result[at:]
    return bytes(result)


def replaced(table: Any, draw: random.Random, value: Any) -> Any:
    """A copy of a JSON value with one value anywhere in it replaced."""
    if isinstance(table, dict) and table and draw.random() < 0.9:
        key = draw.choice(sorted(table))
        return table | {key: replaced(table[key], draw, value)}
    if isinstance(table, list) and table and draw.random() < 0.7:
        at = draw.randrange(len(table))
        return [*table[:at], replaced(table[at], draw, value), *table[at + 1 :]]
    return value


@fuzz
@given(
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_texts(tmp_path: Path, content: bytes) -> None:
    for read in (read_segments, read_frames):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if read is read_frames else b"start_seconds,stop_seconds,label\n" + content)
        with suppress(DatasetError):
            read(path)
    (tmp_path / "s.txt").write_bytes(content)
    with suppress(DatasetError):
        assert all((tmp_path / name).parent == tmp_path for name in read_split(tmp_path, "s"))


@fuzz
@given(seed=st.integers(0, 2**32))
def test_sync_toml(template: Path, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "sync.toml"
    path.write_bytes(mutated((template / "sync.toml").read_bytes(), seed))
    with suppress(SyncError):
        project = load_project(path)
        with suppress(DatasetError):
            open_dataset(project).recordings()


@fuzz
@given(value=values, seed=st.integers(0, 2**32))
def test_values_in_sync_toml(template: Path, tmp_path: Path, value: Any, seed: int) -> None:
    """Values of TOML, also of other types than the keys have."""
    line = (
        f"{random.Random(seed).choice(('root', 'kind', 'label_fps', 'background', 'splits', 'egoexo4d'))} = "
    )
    text = json.dumps(value, ensure_ascii=False)
    content = f"[dataset]\n{line}{text}\n[views.v3]\nkind = 'exo'\n"
    path = tmp_path / "sync.toml"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with suppress(ProjectError):
        load_project(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("runs/main/seed-0/predictions/tas/e4/predictions.json", lambda lab: find_predictions(lab / "runs")),
        ("model/recipe.json", lambda lab: read_recipe(lab / "model")),
        ("features.zarr/zarr.json", lambda lab: FeatureStore(lab / "features.zarr")),
        ("features.zarr/dinov2-random-demo/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/index.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/features/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/timestamps/zarr.json", None),
    ],
)
def test_values_in_json(lab: Any, name: str, read: Callable[[Path], object] | None) -> None:
    path = lab.root / name
    content = path.read_bytes()

    def read_store(root: Path) -> None:
        store = FeatureStore(root / "features.zarr")
        (feature_set,) = store.feature_sets()
        for entry in store.entries(feature_set, "v3"):
            assert isinstance(entry.num_rows, int) and isinstance(entry.size_bytes, int), entry
        store.read(feature_set, "v3", "t0")

    @fuzz
    @given(value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans())
    def check(value: Any, seed: int, is_bytes: bool) -> None:
        table = replaced(json.loads(content), random.Random(seed), value)
        path.write_bytes(mutated(content, seed) if is_bytes else json.dumps(table).encode())
        with suppress(DatasetError, StoreError, TrainingError):
            (read or read_store)(lab.root)

    check()


JOURNAL = [{"epoch": epoch, "loss": 1.5 / (epoch + 1), "score": 60.0 + epoch} for epoch in range(4)]


def test_journals(lab: Any) -> None:
    """The trainer takes whole lines of numbers, the report draws what can be drawn."""
    path = lab.root / "runs" / "main" / "seed-0" / "tas" / "journal.jsonl"
    groups = find_groups([lab.root / "runs"])

    @fuzz
    @given(value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans())
    def check(value: Any, seed: int, is_bytes: bool) -> None:
        lines = [JOURNAL[0], *(replaced(line, random.Random(seed), value) for line in JOURNAL[1:])]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        path.write_bytes(mutated(content, seed) if is_bytes else content)
        assert all(
            isinstance(float(number), float) for line in read_journal(path) for number in line.values()
        )
        stages = read_stages(groups)
        assert is_bytes or "tas" in [stage.name for stage in stages]
        draw_charts(stages, [0])

    check()


@fuzz
@given(value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans())
def test_results(tmp_path: Path, value: Any, seed: int, is_bytes: bool) -> None:
    """Of a stage, of a check of features, and of a video."""
    inputs = {"settings": "abc"}
    result = CheckResult(
        check="retrieval",
        method="tas",
        seed=0,
        metrics={"recall_5": 50.5},
        num_segments=4,
        inputs=inputs,
        provenance={"trained_on": ["HowTo100M"], "ego_features": {"trained_on": ["v3"]}},
    )
    path = tmp_path / "tas.json"
    table = replaced(asdict(result), random.Random(seed), value)
    path.write_bytes(
        mutated(json.dumps(asdict(result)).encode(), seed) if is_bytes else json.dumps(table).encode()
    )
    if found := find_result(path, inputs):
        assert all(f"{number:.2f}" for number in found.metrics.values())
    with suppress(DatasetError):
        (check,) = read_checks([path], ["recall_5"], "sync-train retrieval")
        assert f"{check.metrics['recall_5']:.2f}" and all(word.isprintable() for word in check.trained_on)


@fuzz
@given(value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans())
def test_experiments(tmp_path: Path, value: Any, seed: int, is_bytes: bool) -> None:
    """An experiment of the package's, whose bytes are others, or one of its values."""
    content = (resources.files("sync_experiments") / "table4.toml").read_text()
    lines = content.splitlines()
    draw = random.Random(seed)
    at = draw.choice([number for number, line in enumerate(lines) if " = " in line])
    lines[at] = f"{lines[at].split(' = ')[0]} = {json.dumps(value, ensure_ascii=False)}"
    path = tmp_path / "mine.toml"
    path.write_bytes(
        mutated(content.encode(), seed) if is_bytes else "\n".join(lines).encode("utf-8", "surrogatepass")
    )
    with suppress(ProjectError):
        read_experiment(path)


TAKE = {
    "take_name": "cmu_1",
    "take_uid": "1",
    "root_dir": "takes/cmu_1",
    "task_name": "Making Eggs",
    "parent_task_name": "Cooking",
    "is_dropped": False,
    "capture": {"cameras": [{"cam_id": "aria01", "is_ego": True, "device_type": "aria"}]},
    "frame_aligned_videos": {
        name: {
            stream: {
                "cam_id": name,
                "stream_id": stream,
                "readable_stream_id": stream,
                "relative_path": f"frame_aligned_videos/{name}.mp4",
            }
        }
        for name, stream in (("cam01", "0"), ("aria01", "rgb"))
    },
}
NODES = [
    {"id": 0, "is_leafnode": False, "name": "Making Eggs", "parent_id": None},
    {"id": 1, "is_leafnode": False, "name": "Fry", "parent_id": 0},
    {"id": 2, "is_leafnode": True, "name": "Break eggs", "parent_id": 1, "unique_id": 802},
]
KEYSTEPS = {
    "take_uid": "1",
    "take_name": "cmu_1",
    "scenario": "Making Eggs",
    "segments": [{"start_time": 0.5, "end_time": 9, "step_id": 2, "step_name": "…", "step_unique_id": 802}],
}
DESCRIPTION = {"rejected": False, "descriptions": [{"best_exo": {"cam_id": "cam01"}}]}
EGOEXO4D = {
    "takes.json": [TAKE],
    "annotations/keystep_train.json": {
        "annotations": {"1": KEYSTEPS},
        "taxonomy": {"Making Eggs": {str(node["id"]): node for node in NODES}},
    },
    "annotations/atomic_descriptions_train.json": {"annotations": {"1": [DESCRIPTION]}},
}


@fuzz
@given(
    name=st.sampled_from(sorted(EGOEXO4D)), value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans()
)
def test_egoexo4d(tmp_path: Path, name: str, value: Any, seed: int, is_bytes: bool) -> None:
    root = tmp_path / "egoexo"
    for folder in ("annotations", "takes/cmu_1/frame_aligned_videos"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "takes/cmu_1/frame_aligned_videos/cam01.mp4").touch()
    for other, table in EGOEXO4D.items():
        changed = replaced(table, random.Random(seed), value) if other == name else table
        content = json.dumps(changed).encode()
        (root / other).write_bytes(mutated(content, seed) if is_bytes and other == name else content)
    (tmp_path / "sync.toml").write_text(
        '[dataset]\nkind = "egoexo4d"\nroot = "egoexo"\n[dataset.egoexo4d]\nscenarios = []\n'
    )
    dataset = open_dataset(load_project(tmp_path))
    read_all(dataset, ("best-exo", "ego"))


COARSE = "annotations/coarse/coarse_labels/assembly_r1.txt"
FINE = "annotations/fine/train.csv"
ASSEMBLY101 = {
    "recordings/r1/C10095_rgb.mp4": "",
    "annotations/coarse/actions.csv": "action_id,verb_id,action_cls\r\n0,2,inspect toy\r\n1,0,attach wheel\r\n",
    COARSE: "000000300\t000000450\tinspect toy\t\n000000450\t000000600\tattach wheel\t\n",
    "annotations/fine/actions.csv": "id,action_id,action_cls\n0,0,clap hand\n1,1,pick up screw\n",
    FINE: "id,video,start_frame,end_frame,action_cls\n0,r1/C10095_rgb.mp4,84,111,clap hand\n",
}


@fuzz
@given(
    name=st.sampled_from(sorted(name for name in ASSEMBLY101 if not name.endswith(".mp4"))),
    text=st.text(max_size=20) | st.sampled_from(["-1", "9" * 12, "9" * 4000, "1e9", '"', "\0", "\x1b[2J"]),
    seed=st.integers(0, 2**32),
    is_bytes=st.booleans(),
)
def test_assembly101(tmp_path: Path, name: str, text: str, seed: int, is_bytes: bool) -> None:
    """Bytes changed anywhere, or one field of a line."""
    for other, content in ASSEMBLY101.items():
        path = tmp_path / "assembly101" / other
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = content if other != name or is_bytes else with_field(content, random.Random(seed), text)
        written = changed.encode("utf-8", "surrogatepass")
        path.write_bytes(mutated(written, seed) if is_bytes and other == name else written)
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "assembly101"\nroot = "assembly101"\n')
    read_all(open_dataset(load_project(tmp_path)), ("v1", "e4"))


def with_field(content: str, draw: random.Random, text: str) -> str:
    """One field of a line replaced."""
    fields = re.split("([,\t\n])", content)
    fields[draw.randrange(0, len(fields), 2)] = text
    return "".join(fields)


def read_all(dataset: Dataset, views: tuple[str, ...]) -> None:
    """All that a dataset says about each recording; what it can print it can also store."""
    with suppress(SyncError):
        dataset.classes()
    with suppress(SyncError):
        for recording in dataset.recordings():
            assert recording.isprintable()
            for read in (dataset.labeled, dataset.actions, dataset.procedure):
                with suppress(SyncError):
                    str(read(recording)).encode()
            for view in views:
                with suppress(SyncError):
                    str(dataset.video(recording, view).path).encode()


@fuzz
@given(seed=st.integers(0, 2**32))
def test_videos(template: Path, tmp_path: Path, seed: int) -> None:
    """What opens is decoded to the end; FFmpeg fails in many ways, and each becomes an error of ours."""
    path = tmp_path / "v.mp4"
    path.write_bytes(mutated((template / "videos" / "t0" / "v3.mp4").read_bytes(), seed))
    with suppress(VideoError):
        estimate_rows(path, None)
        video = probe(path)
        if video.num_frames < 1000 and video.width * video.height < 1 << 20:
            for batch in decode_frames(video, range(video.num_frames), batch_frames=16, num_threads=1):
                assert batch.shape[1:] == (video.height, video.width, 3)
