"""Each file that a command reads, put in a state that no program left it in: one line that names it, and no more."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRAIN = ("sync-train", "-q", "--run", "other", "--method", "exo-oracle")
AGAIN = ("sync-train", "-q", "--method", "tas")
EXPORT = ("sync-train", "export", "main", "--output", "other")
SET = "features.zarr/dinov2-random-demo"
SEED = "runs/main/seed-0"

READERS = {
    "sync.toml": ("sync-extract", "--dry-run"),
    "labels/t0.csv": TRAIN,
    "labels/e0.csv": ("sync-eval",),
    "splits/train.txt": TRAIN,
    "splits/test.txt": ("sync-eval",),
    "classes.txt": TRAIN,
    "offsets.csv": ("sync-extract", "--dry-run", "--overwrite"),
    "features.zarr/zarr.json": TRAIN,
    f"{SET}/zarr.json": TRAIN,
    f"{SET}/v3/t0/features/zarr.json": TRAIN,
    f"{SET}/v3/t0/features/c/0/0": TRAIN,
    f"{SEED}/predictions/tas/e4/e0.csv": ("sync-eval",),
    f"{SEED}/predictions/tas/e4/predictions.json": ("sync-eval",),
    f"{SEED}/config.json": EXPORT,
    f"{SEED}/tas/inputs.json": EXPORT,
    f"{SEED}/tas/result.json": AGAIN,
    f"{SEED}/tas/journal.jsonl": ("sync-eval", "report"),
    "mine.toml": ("sync-eval", "table", "mine.toml"),
    "model/config.json": ("sync-train", "apply", "model", "--recording", "e0"),
    "model/recipe.json": ("sync-train", "apply", "model", "--recording", "e0"),
}
"""A command for each file."""


def replace_by(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def enormous(path: Path) -> None:
    """A hundred gigabytes, none of which takes space."""
    with path.open("wb") as file:
        file.truncate(100 * 10**9)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a hundred gigabytes": enormous,
    "empty": replace_by(b""),
    "zeros": replace_by(bytes(1000)),
    "a picture": replace_by(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "compressed": replace_by(gzip.compress(b"x" * 1000)),
    "nested": replace_by(b'{"a":' * 100_000),
    "a list": replace_by(b"[" * 100_000),
    "a number": replace_by(b'{"format": ' + b"9" * 1_000_000 + b"}"),
    "half a character": replace_by(b'{"format": "\\ud800", "version": 1}'),
}


OF_JSON = ("nested", "a list", "a number", "half a character")
"""Of others than JSON these are lines of text."""

LEFT_OUT = {
    "classes.txt": ("zeros", *OF_JSON),
    "journal.jsonl": ("empty", "zeros", "a picture", "compressed", *OF_JSON),
}
"""Any text is names of classes, any line that isn't an epoch's ends a journal."""


def damages_of(path: Path) -> list[str]:
    left_out = LEFT_OUT.get(path.name, () if path.suffix in (".json", ".toml") else OF_JSON)
    return [damage for damage in DAMAGES if damage not in left_out]


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_one_line(lab: Any, name: str) -> None:
    path = lab.root / name
    for damage in damages_of(path):
        path.unlink(missing_ok=True)
        DAMAGES[damage](path)
        done = lab.run(*READERS[name])
        message = done.failed if done.status == 3 else done.message
        assert path.name in message or path.parent.name in message, (damage, message)
        path.rmdir() if damage == "a folder" else path.unlink()


RELEASES = {
    "egoexo4d/takes.json": [{"take_name": "cmu_1", "take_uid": "1", "frame_aligned_videos": {}}],
    "egoexo4d/annotations/keystep_train.json": {"annotations": {}, "taxonomy": {}},
    "egoexo4d/annotations/keystep_val.json": {"annotations": {}, "taxonomy": {}},
    "assembly101/coarse-annotations/actions.csv": "action_id,action_cls\n0,attach\n",
    "assembly101/coarse-annotations/coarse_labels/assembly_r1.txt": "0\t30\tattach\t\n",
    "assembly101/recordings/r1/C10118_rgb.mp4": "",
}
"""What is read of two published datasets, each of one recording."""


@pytest.mark.parametrize("name", [name for name in RELEASES if not name.endswith((".mp4", "val.json"))])
def test_a_broken_file_of_a_release_is_one_line(lab: Any, name: str) -> None:
    for other, content in RELEASES.items():
        (lab.root / other).parent.mkdir(parents=True, exist_ok=True)
        (lab.root / other).write_text(content if isinstance(content, str) else json.dumps(content))
    kind = name.split("/")[0]
    (lab.root / "sync.toml").write_text(f'[dataset]\nkind = "{kind}"\nroot = "{kind}"\n')
    path = lab.root / name
    for damage in damages_of(path):
        path.unlink(missing_ok=True)
        DAMAGES[damage](path)
        message = lab.run("sync-extract", "split", "--sizes", "1/1/1", "--overwrite").message
        assert path.name in message, (damage, message)
        path.rmdir() if damage == "a folder" else path.unlink()


def test_bombs_in_sync_toml(lab: Any) -> None:
    """Short files that are large numbers, or keys whose parts take their square in time and memory."""
    digits, hexadecimal = "9" * 500_000, "0x" + "f" * 500_000
    for text, problem in (
        (f"[dataset]\nlabel_fps = {digits}\n", "can't be read as TOML (Exceeds the limit (4300 digits)"),
        (f"[dataset]\nlabel_fps = {hexadecimal}\n", "label_fps must be "),
        (f"[views.e4]\nkind = 'ego'\noffset_seconds = {hexadecimal}\n", "int too large to convert to float"),
        (
            f"[views.e4]\nkind = {hexadecimal}\n",
            "kind must be Literal['exo', 'ego'], got a number of thousands",
        ),
        (f"views.e4 = {hexadecimal}\n", "expected a section with keys, got a number of thousands of digits"),
        (".".join("a" * 500_000) + " = 1\n", "can't be read as TOML (line 1 has more than 100 dots)"),
        ("[" + ".".join("a" * 500_000) + "]\n", "can't be read as TOML (line 1 has more than 100 dots)"),
        ("a = " + "[" * 500_000, "can't be read as TOML (maximum recursion depth exceeded"),
        ("a = " + "{b = " * 100_000, "can't be read as TOML (maximum recursion depth exceeded"),
    ):
        (lab.root / "sync.toml").write_text(text)
        assert problem in lab.run("sync-extract", "--dry-run").message
