"""Where numbers come from."""

import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from sync_store import provenance


def test_a_files_digest(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # several blocks and a rest
    (tmp_path / "file").write_bytes(content)
    assert provenance.file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "damage", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_no_digest_of_what_never_ends(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "file")
    with pytest.raises(OSError, match=r"it isn't a file but a pipe or a device: '.*/file'"):
        provenance.file_digest(tmp_path / "file")


def test_versions_of_libraries() -> None:
    versions = provenance.library_versions(["numpy", "no-such-library"])
    assert versions == {"numpy": metadata.version("numpy"), "no-such-library": "absent"}


def test_the_machine() -> None:
    machine = provenance.machine()
    assert sorted(machine) == ["processor", "python", "system"]
    assert machine["python"] == platform.python_version()
    assert all(machine.values())


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a copy of the module, as yet untracked."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    module = tmp_path / "package" / "provenance.py"
    module.parent.mkdir()
    module.write_text(Path(provenance.__file__).read_text())
    (tmp_path / "other.txt").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def loaded(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("copied", checkout / "package" / "provenance.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commit_is_that_of_our_own_checkout_only(checkout: Path) -> None:
    """An environment inside somebody's own repository isn't a checkout of this software."""
    version = metadata.version("sync-tas")
    assert loaded(checkout).code_version() == version
    git(checkout, "add", "package")
    git(checkout, "commit", "--quiet", "-m", "second")
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert loaded(checkout).code_version() == f"{version}+{commit}"
    (checkout / "untracked.txt").touch()
    assert loaded(checkout).code_version() == f"{version}+{commit}"
    (checkout / "other.txt").write_text("changed")
    assert loaded(checkout).code_version() == f"{version}+{commit}.changed"


def test_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert loaded(checkout).code_version() == metadata.version("sync-tas")
