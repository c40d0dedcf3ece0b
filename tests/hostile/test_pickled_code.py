"""Files that run a program where they are unpickled: refused by the commands, and the program doesn't run."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def torch_zip(value: Any, path: Path) -> None:
    torch.save(value, path)


def torch_old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def torch_zip_with_another_pickle(value: Any, path: Path) -> None:
    """An archive of tensors, whose list of them is replaced by a program."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = pickle.dumps(value) if name.endswith("data.pkl") else old.read(name)
            new.writestr(name, content)


def plain(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def object_array(value: Any, path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.array([value], dtype=object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)


WRITERS = (torch_zip, torch_old, torch_zip_with_another_pickle, plain, object_array)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_commands_never_run_it(lab: Any, write: Callable[[Any, Path], None]) -> None:
    mark = lab.root.parent / "executed"
    folder = lab.root / "evil"
    folder.mkdir()
    for suffix in (".pt", ".pth", ".npy", ".safetensors"):
        write(Evil(mark), folder / f"uid_e4_0{suffix}")
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        content = (folder / "uid_e4_0.pt").read_bytes()
        transaction.put(b"r1/e4/e4_0000000001.jpg", content + bytes(-len(content) % 4))
    trained = lab.root / "runs" / "main" / "seed-0" / "tas" / "model.safetensors"
    trained.write_bytes((folder / "uid_e4_0.pt").read_bytes())
    for command in (
        ("sync-extract", "import", "npy", "evil", "--view", "e4"),
        ("sync-extract", "import", "omnivore", "evil"),
        ("sync-extract", "--overwrite", "--backbone", "tsm", "--weights", "evil/uid_e4_0.pth"),
        ("sync-train", "-q", "--method", "tas"),
        ("sync-train", "apply", "runs/main/seed-0/tas"),
    ):
        done = lab.run(*command)
        assert done.status in (1, 2, 3) and "Traceback" not in done.stderr, (command, done)
        assert not mark.exists(), command
    lab.run("sync-extract", "import", "lmdb", "evil", "--view", "e4")  # the bytes are numbers there
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))  # it would have run
    assert mark.is_dir()
