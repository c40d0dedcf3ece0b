"""`sync-extract import omnivore` on EgoExo4D's files: tensors (N, 1, 1536), one a camera of a take."""

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from sync_extract.importing.omnivore_pt import read_rows, window_frames
from sync_store.errors import DatasetError
from sync_store.reader import FeatureStore

Call = Callable[..., Result]

UIDS = {"cmu_01": "00000001-1111-4222-8333-444444444444", "sfu_02": "00000002-1111-4222-8333-444444444444"}

PROJECT = """\
[dataset]
kind = "egoexo4d"
root = "release"
[dataset.egoexo4d]
scenarios = []
[views.cam01]
kind = "exo"
[views.ego]
kind = "ego"
"""


def take(name: str, duration_seconds: Any) -> dict[str, Any]:
    streams = {
        "aria01": {"rgb": {"relative_path": "frame_aligned_videos/aria01_214-1.mp4"}},
        "cam01": {"0": {"relative_path": "frame_aligned_videos/cam01.mp4"}},
    }
    return {
        "take_name": name,
        "take_uid": UIDS[name],
        "root_dir": f"takes/{name}",
        "task_name": "Cooking an Omelet",
        "duration_sec": duration_seconds,
        "frame_aligned_videos": streams,
    }


def tensor(seed: int, num_windows: int) -> torch.Tensor:
    """float32 (N, 1, 1536)."""
    return torch.randn(num_windows, 1, 1536, generator=torch.Generator().manual_seed(seed))


def windows_of(num_frames: int) -> list[tuple[int, int]]:
    """Half-open windows of 32 frames, one each 16, and one at the end if something is left over."""
    starts = list(range(0, num_frames - 31, 16))
    if starts[-1] + 32 < num_frames:
        starts.append(num_frames - 32)
    return [(start, start + 32) for start in starts]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two takes: one of 100 frames with both cameras, one of 64 frames without an exo file."""
    folder = tmp_path / "release/features/omnivore_video"
    folder.mkdir(parents=True)
    takes = [take("cmu_01", 100 / 30), take("sfu_02", 64 / 30)]
    (tmp_path / "release/takes.json").write_text(json.dumps(takes))
    assert len(windows_of(100)) == 6 and len(windows_of(64)) == 3
    torch.save(tensor(1, 6), folder / f"{UIDS['cmu_01']}_aria01_rgb.pt")
    torch.save(tensor(2, 6), folder / f"{UIDS['cmu_01']}_cam01_0.pt")
    torch.save(tensor(3, 3), folder / f"{UIDS['sfu_02']}_aria01_rgb.pt")
    torch.save(tensor(4, 3), folder / "99999999-1111-4222-8333-444444444444_aria01_rgb.pt")
    torch.save(tensor(5, 6), folder / f"{UIDS['cmu_01']}_aria01_slam-left.pt")
    (tmp_path / "sync.toml").write_text(PROJECT)
    return tmp_path


def file_of(lab: Path, recording: str, camera: str = "aria01_rgb") -> Path:
    return lab / f"release/features/omnivore_video/{UIDS[recording]}_{camera}.pt"


def run(call_extract: Call, lab: Path, *more: str) -> Result:
    return call_extract(lab, "import", "omnivore", "release/features/omnivore_video", *more)


def test_windows_become_rows_at_their_middles(lab: Path, call_extract: Call) -> None:
    result = run(call_extract, lab)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-2:] == [
        "view cam01: 1 recordings without such features: sfu_02",
        "omnivore: 3 imported, 0 complete already, 0 failed",
    ]
    store = FeatureStore(lab / "features.zarr")
    ego = store.read("omnivore", "ego", "cmu_01")
    np.testing.assert_array_equal(ego.features, tensor(1, 6).reshape(6, 1536).numpy().astype(np.float16))
    middles = [start + 16 for start, _ in windows_of(100)]
    assert middles == [16, 32, 48, 64, 80, 84]
    assert ego.timestamps.tolist() == [round(Fraction(frame, 30) * 10**9) for frame in middles]
    exo = store.read("omnivore", "cam01", "cmu_01")
    np.testing.assert_array_equal(exo.features, tensor(2, 6).reshape(6, 1536).numpy().astype(np.float16))
    assert store.read("omnivore", "ego", "sfu_02").timestamps.tolist() == [
        533_333_333,
        1_066_666_667,
        1_600_000_000,
    ]
    recipe = store.feature_set("omnivore")["recipe"]
    assert recipe == {
        "imported": "omnivore",
        "source": "egoexo4d-omnivore",
        "grid_fps": "30",
        "window_frames": 32,
        "window_stride": 16,
        "window_anchor": 16,
        "dtype": "float32",
    }
    provenance = store.attributes("omnivore", "ego", "cmu_01")["provenance"]
    assert provenance["grid"] == {"num_rows": 6, "num_frames": 100, "last_row": "back-padded"}
    again = run(call_extract, lab, "--json")
    assert json.loads(again.stdout)["skipped"] == 3
    assert json.loads(again.stdout)["absent"] == [{"view": "cam01", "recording": "sfu_02"}]


@pytest.mark.parametrize("num_frames", [32, 33, 47, 48, 49, 64, 500, 1799])
def test_times_of_windows(num_frames: int) -> None:
    windows = windows_of(num_frames)
    frames, about = window_frames(len(windows), Fraction(str(num_frames / 30)), Fraction(30))
    assert frames.tolist() == [start + 16 for start, _ in windows]
    assert about == {"num_frames": num_frames, "last_row": "back-padded"}
    regular, about = window_frames(len(windows), None, Fraction(30))
    assert regular.tolist() == [16 * index + 16 for index in range(len(windows))]
    assert about == {"last_row": "nominal: up to half a second earlier if it was back-padded"}
    assert 0 <= regular[-1] - frames[-1] < 16


def test_a_count_that_doesnt_fit_the_duration(lab: Path, call_extract: Call) -> None:
    """The release was made without a check of it."""
    torch.save(tensor(1, 5), file_of(lab, "cmu_01"))
    assert run(call_extract, lab).exit_code == 0
    store = FeatureStore(lab / "features.zarr")
    times = store.read("omnivore", "ego", "cmu_01").timestamps
    assert times.tolist() == [round(Fraction(16 * index + 16, 30) * 10**9) for index in range(5)]
    grid = store.attributes("omnivore", "ego", "cmu_01")["provenance"]["grid"]
    assert (grid["num_frames"], grid["expected_rows"]) == (100, 6) and grid["last_row"].startswith("nominal")


@pytest.mark.parametrize("duration", [None, "long", -1, 0, True, 1e30])
def test_no_duration(duration: Any, lab: Path, call_extract: Call) -> None:
    takes = [take("cmu_01", duration), take("sfu_02", duration)]
    (lab / "release/takes.json").write_text(json.dumps(takes))
    assert run(call_extract, lab, "--view", "ego").exit_code == 0
    times = FeatureStore(lab / "features.zarr").read("omnivore", "ego", "cmu_01").timestamps
    assert times[-1] == 3_200_000_000


def test_two_axes_and_half_precision_are_taken(lab: Path, call_extract: Call) -> None:
    for name, count in (("cmu_01", 6), ("sfu_02", 3)):
        torch.save(tensor(1, count).reshape(count, 1536).half().requires_grad_(), file_of(lab, name))
    assert run(call_extract, lab, "--view", "ego").exit_code == 0
    rows = FeatureStore(lab / "features.zarr").read("omnivore", "ego", "cmu_01").features
    np.testing.assert_array_equal(rows, tensor(1, 6).reshape(6, 1536).half().numpy())


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def bad(case: str, marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {
            "payload": Payload(marker),
            "dict": {"features": tensor(1, 6)},
            "three windows": torch.zeros(6, 3, 1536),
            "integers": torch.zeros(6, 1, 1536, dtype=torch.int64),
            "empty": torch.zeros(0, 1, 1536),
            "width": torch.zeros(6, 1, 768),
            "sparse": torch.zeros(6, 1536).to_sparse(),
            "meta": torch.zeros(6, 1536, device="meta"),
        }.get(case),
        buffer,
    )
    return {"text": b"<html>not found</html>", "cut short": buffer.getvalue()[:200], "no bytes": b""}.get(
        case, buffer.getvalue()
    )


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "payload",
            "can't be read as a tensor that torch.save wrote (other objects aren't loaded, since that may run code). "
            "Copy or download it again",
        ),
        ("text", "can't be read as a tensor that torch.save wrote ("),
        ("cut short", "can't be read as a tensor that torch.save wrote ("),
        (
            "no bytes",
            "that torch.save wrote (it is empty, damaged or another kind of file). Copy or download",
        ),
        ("dict", "holds a dict; expected one tensor of float32, (N, 1, D) or (N, D)"),
        ("sparse", "holds a torch.sparse_coo tensor on device cpu; expected one tensor of float32"),
        ("meta", "holds a torch.strided tensor on device meta; expected one tensor of float32"),
        ("three windows", "holds torch.float32 (6, 3, 1536); expected float32 (N, 1, D) or (N, D)"),
        ("integers", "holds torch.int64 (6, 1, 1536); expected float32 (N, 1, D) or (N, D)"),
        ("empty", "holds torch.float32 (0, 1, 1536); expected float32 (N, 1, D) or (N, D)"),
        ("width", "holds float32 768 wide, but the first file float32 1536 wide"),
    ],
)
def test_bad_file_is_listed_and_the_others_go_on(
    case: str, message: str, lab: Path, call_extract: Call
) -> None:
    marker = lab / "executed"
    file_of(lab, "sfu_02").write_bytes(bad(case, marker))
    result = run(call_extract, lab, "--quiet")
    assert result.exit_code == 3
    assert (
        f"failed: ego/sfu_02: release/features/omnivore_video/{UIDS['sfu_02']}_aria01_rgb.pt: "
        in result.stderr
    )
    assert message in result.stderr and "2 imported" in result.stderr
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_are_a_message_whatever_they_are(zipped: bool, tmp_path: Path) -> None:
    """torch raises IndexError, AssertionError, struct.error and others at such files."""
    buffer = io.BytesIO()
    torch.save(tensor(1, 1), buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()[:1000] if not zipped else buffer.getvalue()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=2):
            content[place] = rng.integers(256)
        (tmp_path / "x.pt").write_bytes(content)
        try:
            read_rows(tmp_path / "x.pt")
        except DatasetError:
            refused += 1
    assert refused


def test_half_a_file(lab: Path, call_extract: Call) -> None:
    file = file_of(lab, "sfu_02")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = run(call_extract, lab, "--quiet")
    assert "torch.save wrote (it is cut short). Copy or download it again" in result.stderr


def test_only_bad_files(lab: Path, call_extract: Call) -> None:
    marker = lab / "executed"
    for name in UIDS:
        file_of(lab, name).write_bytes(bad("payload", marker))
    result = run(call_extract, lab, "--view", "ego")
    assert result.exit_code == 1 and "can't be read as a tensor that torch.save wrote" in result.stderr
    assert not marker.exists()


def test_no_file_of_the_dataset(lab: Path, call_extract: Call) -> None:
    (lab / "other").mkdir()
    result = call_extract(lab, "import", "omnivore", "other")
    assert result.stderr.endswith("in view cam01, ego; it has no .pt file\n")
    torch.save(tensor(1, 6), lab / "other/99999999-1111_aria01_rgb.pt")
    result = call_extract(lab, "import", "omnivore", "other")
    assert result.stderr == (
        "error: other: no <take_uid>_<camera>_<stream>.pt of a recording of the dataset in view cam01, ego; it has "
        "99999999-1111_aria01_rgb.pt and the like\n"
    )
    result = call_extract(lab, "import", "omnivore", "sync.toml")
    assert "sync.toml: there is no such folder" in result.stderr


def test_without_the_release_names_are_taken_as_they_are(lab: Path, call_extract: Call) -> None:
    """Recordings are uids, views cameras; a stream other than the camera's main one is named with it."""
    (lab / "sync.toml").write_text(
        '[dataset]\nlabel_fps = 30\n[views.aria01]\nkind = "ego"\n[views.aria01-slam-left]\nkind = "ego"\n'
    )
    assert run(call_extract, lab).exit_code == 0
    store = FeatureStore(lab / "features.zarr")
    assert store.recordings("omnivore", "aria01-slam-left") == [UIDS["cmu_01"]]
    assert len(store.recordings("omnivore", "aria01")) == 3
    torch.save(tensor(1, 6), lab / "release/features/omnivore_video/features.pt")
    result = run(call_extract, lab)
    assert "features.pt: expected a name of the form <take_uid>_<camera>_<stream>.pt" in result.stderr


def test_a_changed_file_is_noticed(lab: Path, call_extract: Call) -> None:
    assert run(call_extract, lab).exit_code == 0
    torch.save(tensor(9, 6), file_of(lab, "cmu_01"))
    result = run(call_extract, lab)
    assert result.exit_code == 3
    assert (
        "view ego: the content of " in result.stderr and "has changed since it was imported" in result.stderr
    )
