"""Names from folders, sync.toml, keys and manifests that would lead elsewhere: refused, or kept in their folder."""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

SET = "features.zarr/dinov2-random-demo"
MANIFEST = "runs/main/seed-0/predictions/tas/e4/predictions.json"

HOSTILE = (
    "../neighbour",
    "../../neighbour/thesis",
    "/tmp/elsewhere",
    "a/../../neighbour",
    "..",
    ".",
    "",
    " ",
    ".hidden",
    "a\nb",
    "a\rb",
    "a\0b",
    "a\x1b[2Jb",
    "a\u202eb",
    "a\u200fb",
    "a\u2028b",
    "a" * 300,
    "ä" * 150,
    "C:\\x",
    "NUL:",
    "zarr.json",
    "x.partial",
)


def test_splits(lab: Any) -> None:
    for name in HOSTILE:
        if name.strip() and len(name.splitlines()) == 1:
            (lab.root / "splits" / "train.txt").write_text(f"t0\n{name}\n")
            message = lab.run("sync-train", "-q", "--run", "other").message
            assert "splits/train.txt line 2: recording name " in message


def test_views(lab: Any) -> None:
    for name in HOSTILE:
        (lab.root / "sync.toml").write_text(f'[views.{json.dumps(name)}]\nkind = "exo"\n')
        assert "sync.toml: view name " in lab.run("sync-extract", "--dry-run").message


def test_folders_of_videos(lab: Any) -> None:
    videos = lab.root / "videos"
    for name in (" ", "a\nb", "a\rb", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "ä" * 120, "C:\\x", "x.partial"):
        (videos / "e0").rename(videos / name)
        assert "recording name " in lab.run("sync-extract", "--dry-run").message
        (videos / name).rename(videos / "e0")


@pytest.mark.parametrize("key", ["run", "method", "view", "split", "feature_set"])
def test_names_in_a_manifest(lab: Any, key: str) -> None:
    path = lab.root / MANIFEST
    table = json.loads(path.read_text())
    for name in ("a\x1b[2Jb", "a\nb", "a\x9b2Jb"):
        path.write_text(json.dumps(table | {key: name}))
        for command in (("sync-eval",), ("sync-train", "export", "main")):
            assert (
                f"predictions.json: {key} {name!r} contains a control character" in lab.run(*command).message
            )
    for name in ("../../../neighbour", "<script>alert(1)</script>"):
        path.write_text(json.dumps(table | {key: name}))
        for command in (("sync-eval", "report"), ("sync-train", "export", "main", "--overwrite")):
            done = lab.run(*command)
            assert done.status in (0, 1) and "Traceback" not in done.stderr


def test_recordings_of_a_manifest_stay_in_its_folder(lab: Any) -> None:
    path = lab.root / MANIFEST
    thesis = lab.root.parent / "neighbour" / "thesis.txt"
    for name in HOSTILE:
        digest = hashlib.sha256(thesis.read_bytes()).hexdigest()
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": {name: digest}}))
        assert "predictions.json: recording name " in lab.run("sync-eval").message


@pytest.mark.parametrize("nested", [True, False])
def test_keys_of_an_lmdb_file(lab: Any, nested: bool) -> None:
    for number, name in enumerate((*HOSTILE[:5], ".", ".hidden", "a\nb", "a\x1b[2Jb", "a\u202eb", "ä" * 120)):
        source = lab.root / f"source{number}"
        source.mkdir()
        key = f"{name}/e4/e4_" if nested else f"{name}_"
        with lmdb.open(str(source)) as environment, environment.begin(write=True) as transaction:
            for frame in range(1, 4):
                transaction.put(f"{key}{frame:010d}.jpg".encode(), np.ones(4, np.float32).tobytes())
        message = lab.run("sync-extract", "import", "lmdb", str(source), "--view", "e4").message
        assert "recording name " in message or "isn't of the form" in message


def test_names_that_are_one_name_elsewhere_stay_apart(lab: Any) -> None:
    """Upper and lower case, and both spellings of an umlaut, are two recordings each; so are dashes and dots."""
    names = [
        "R1",
        "r1",
        *(unicodedata.normalize(form, "schütteln") for form in ("NFC", "NFD")),
        "-q",
        "a..b",
        "CON",
    ]
    lines = (lab.root / "labels" / "t0.csv").read_text()
    for name in names:
        folder = lab.root / "videos" / name
        folder.mkdir()
        (folder / "v3.mp4").write_bytes((lab.root / "videos" / "t0" / "v3.mp4").read_bytes())
        (lab.root / "labels" / f"{name}.csv").write_text(lines)
    done = lab.run("sync-extract", "-q", "--view", "v3")
    assert done.status == 0, done
    stored = {path.name for path in (lab.root / SET / "v3").iterdir() if path.is_dir()}
    assert stored == {"t0", "t1", "a0", "a1", "e0", *names}


def test_a_run_of_such_a_name(lab: Any) -> None:
    for name in ("../neighbour", "/tmp/elsewhere", "..", ".", "a\nb", "a" * 300, "a\u202eb"):
        for command in (("sync-train", "-q", "--run", name), ("sync-train", "-q", "--run", name, "export")):
            done = lab.run(*command)
            assert done.status in (1, 2) and "Traceback" not in done.stderr


def test_links_that_lead_out_of_the_store_are_not_followed_by_overwrite(lab: Any) -> None:
    """A recording's folder that is a link to somebody else's is never emptied."""
    stored = lab.root / SET / "v3" / "t0"
    stored.rename(lab.root / SET / "v3" / "t0-old")
    target: Path = lab.root.parent / "neighbour"
    stored.symlink_to(target)
    done = lab.run("sync-extract", "-q", "--overwrite", "--recording", "t0", "--view", "v3")
    assert done.status in (0, 1, 3) and (target / "thesis.txt").read_text() == "years of work\n"
