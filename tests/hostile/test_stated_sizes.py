"""Metadata of a store that state more than there is: rows, chunks, widths, and arrays that are pickled code."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

SET = "features.zarr/dinov2-random-demo"
RECORDING = f"{SET}/v3/t0"
TRAIN = ("sync-train", "-q", "--run", "other", "--method", "exo-oracle")
PLAIN = [{"name": "bytes", "configuration": {"endian": "little"}}]
CHECKED = [*PLAIN, {"name": "crc32c"}]


def state(path: Path, **changes: Any) -> None:
    """Change what an array's zarr.json says; `chunks` stands for its grid."""
    table = json.loads(path.read_text())
    if chunks := changes.pop("chunks", None):
        table["chunk_grid"]["configuration"]["chunk_shape"] = chunks
    path.write_text(json.dumps(table | changes))


OF_FEATURES: tuple[dict[str, Any], ...] = (
    {"shape": [10**15, 384]},
    {"shape": [10**15, 384], "codecs": PLAIN},
    {"shape": [10**12, 1], "chunks": [1, 1], "codecs": PLAIN},
    {"shape": [10**6, 10**6], "chunks": [1, 1], "codecs": CHECKED},
    {"shape": [10**30, 384]},
    {"shape": [-1, 384]},
    {"shape": [float("inf"), 384]},
    {"shape": [60.5, 384]},
    {"shape": [61, 384]},
    {"shape": [60, 10**12]},
    {"shape": ["60", 384]},
    {"shape": None},
    {"shape": [60] * 10_000},
    {"chunks": [10**15, 384]},
    {"chunks": [0, 384]},
    {"data_type": "float64"},
    {"data_type": "null_terminated_bytes", "codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
    {"codecs": [{"name": "gzip", "configuration": {"level": 1}}] * 1000},
    {"codecs": None},
    {"node_type": "group"},
)


def test_features_that_state_what_isnt_there(lab: Any) -> None:
    path = lab.root / RECORDING / "features" / "zarr.json"
    good = path.read_text()
    for changes in OF_FEATURES:
        path.write_text(good)
        state(path, **changes)
        message = lab.run(*TRAIN).message
        wanted = r"recording t0, view v3: .* is damaged|v3/t0: 61 rows of features but 60 timestamps"
        assert re.search(wanted, message), (changes, message)


OF_TIMESTAMPS: tuple[dict[str, Any], ...] = (
    {"shape": [10**15]},
    {"shape": [10**15], "chunks": [10**15]},
    {"shape": [10**12], "chunks": [1], "codecs": PLAIN},
    {"shape": [10**30]},
    {"shape": []},
    {"shape": [6, 10]},
    {"shape": [-60]},
)


def test_timestamps_that_state_what_isnt_there(lab: Any) -> None:
    path = lab.root / RECORDING / "timestamps" / "zarr.json"
    good = path.read_text()
    for changes in OF_TIMESTAMPS:
        path.write_text(good)
        state(path, **changes)
        (lab.root / SET / "v3" / "index.json").unlink()
        assert "t0 (damaged)" in lab.run("sync-extract", "ls").stdout, changes
        assert re.search("recording t0, view v3: .* is damaged", lab.run(*TRAIN).message), changes


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("dtype", ["|O", "<f2", "<i8"])
@pytest.mark.parametrize(
    "command", [("sync-extract", "verify"), TRAIN, ("sync-extract", "export", "model")], ids=" ".join
)
def test_an_array_of_version_2_that_is_pickled_code(lab: Any, dtype: str, command: tuple[str, ...]) -> None:
    """numcodecs can unpickle; version 3 has no such codec."""
    mark = lab.root.parent / "executed"
    for name, shape in (("features", [1, 1]), ("timestamps", [1])):
        array = lab.root / RECORDING / name
        for path in (array / "zarr.json", array / "zarr.json.old"):
            path.unlink(missing_ok=True)
        table = {
            "zarr_format": 2,
            "shape": shape,
            "chunks": shape,
            "dtype": dtype,
            "compressor": {"id": "pickle", "protocol": 5},
            "filters": [{"id": "vlen-utf8"}] if dtype == "|O" else None,
            "fill_value": None,
            "order": "C",
        }
        (array / ".zarray").write_text(json.dumps(table))
        (array / ".".join("0" for _ in shape)).write_bytes(pickle.dumps(Evil(mark)))
    done = lab.run(*command)
    assert done.status in (1, 3) and not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))  # it would have
    assert mark.is_dir()
