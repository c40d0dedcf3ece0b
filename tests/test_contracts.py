"""Who may import whom, and what must never stand in a tracked file."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

IMPORT_ALL = """
import importlib, pkgutil, sys
package, *blocked = sys.argv[1:]
for name in blocked:
    sys.modules[name] = None  # importing it raises ImportError
for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
    importlib.import_module(found.name)
    print(found.name)
"""

VIDEO = ("decord", "av", "transformers", "cv2")


def import_all(package: str, *blocked: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", IMPORT_ALL, package, *blocked]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_import_contracts() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("sync_store", ("torch", *VIDEO)),
        ("sync_eval", ("torch", *VIDEO)),
        ("sync_train", VIDEO),
        ("sync_predict", ("torch", *VIDEO)),
    ],
)
def test_every_module_imports_without(package: str, blocked: tuple[str, ...]) -> None:
    done = import_all(package, *blocked)
    assert done.returncode == 0, done.stderr
    modules = {path.stem for path in next(ROOT.glob(f"*/{package}")).rglob("*.py")} - {"__init__"}
    assert {name.rsplit(".")[-1] for name in done.stdout.split()} >= modules


IMPORT_WITHOUT_VIDEO = """
import sys
*blocked, project = sys.argv[1:]
for name in blocked:
    sys.modules[name] = None
from sync_extract.cli import main
main(["--project", project, "import", "npy"])
"""


def test_published_features_are_imported_without_a_video_reader(tmp_path: Path) -> None:
    """The plain installation is enough for who only trains on what others extracted."""
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "frames"\n')
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/r1.npy", np.zeros((8, 30), np.float32))
    (tmp_path / "groundTruth").mkdir()
    (tmp_path / "groundTruth/r1.txt").write_text("walk\n" * 30)
    command = [sys.executable, "-c", IMPORT_WITHOUT_VIDEO, *VIDEO, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 imported" in done.stderr


def test_blocking_blocks() -> None:
    """Extraction does need what is blocked above; if this passed, the tests above would prove nothing."""
    done = import_all("sync_extract", *VIDEO)
    assert done.returncode != 0
    assert re.search(r"import of (decord|av|transformers)\S* halted", done.stderr)


def test_evaluation_never_loads_torch() -> None:
    code = "import sys, sync_eval.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FORBIDDEN = {
    "a package registry's host": r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|deb\.debian\.org",
    "a path of somebody's machine": r"(?<![\w.>~$-])/(work|root|home)/\w",
}


def test_no_file_names_a_registry_or_somebodys_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: can't tell the project's files from others")
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    found = []
    for path in (ROOT / name for name in names if name):
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [
            f"{path}: names {what}: {match[0]}"
            for what, pattern in FORBIDDEN.items()
            if (match := re.search(pattern, text))
        ]
    assert not found
