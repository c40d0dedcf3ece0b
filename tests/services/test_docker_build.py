"""Both images of the Dockerfile, built and run for real, and held to what the commands make outside them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("docker.sh")
BIN = Path(sys.executable).parent
APP, STRANGER = 1000, 4321
"""Users of the image, and of `docker.sh slurm`."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "SYNC_DEVICE": "cpu"}
VARIABLES = [f"{name}={value}" for name, value in ENVIRONMENT.items()]


def docker(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run docker.sh."""
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False, env=environment)


def succeed(*arguments: str | Path) -> str:
    """What a successful docker.sh prints."""
    done = docker(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the built images; as building takes minutes and root, only where services are required."""
    if os.environ.get("SYNC_REQUIRE_SERVICES") != "1":
        pytest.skip("images of the Dockerfile: run `make test-services`, as root on Debian")
    folder = Path(os.environ.get("SYNC_SERVICES", tmp_path_factory.mktemp("images"))) / "docker"
    succeed("clean", folder)  # what a run that was killed left
    try:
        succeed("build", folder)
        yield folder
    finally:
        succeed("clean", folder)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings with settings that ask for little, in folders that every user may write to."""
    folder = tmp_path_factory.mktemp("rendered") / "project"
    options = ["--seed", "74", "--recordings", "1/1/1"]
    subprocess.run([BIN / "sync-demo", "render", folder, *options], check=True, capture_output=True)
    settings = folder / "sync.toml"
    text, num_changed = re.subn(
        r"^(max_epochs|fps) = \d+$", r"\1 = 1", settings.read_text(), flags=re.MULTILINE
    )
    assert num_changed == 4
    settings.write_text(text)
    folder.chmod(0o777)
    return folder


def digests(project: Path) -> dict[str, tuple[list[str], str]]:
    """Digests of features and of times by the recording's folder in the store."""
    found = {}
    for path in (project / "features.zarr").rglob("zarr.json"):
        attributes = json.loads(path.read_text())["attributes"]
        if "shard_sha256" in attributes:
            folder = str(path.parent.relative_to(project))
            found[folder] = (attributes["shard_sha256"], attributes["timestamps_sha256"])
    return found


def weights(project: Path) -> dict[str, bytes]:
    """All trained weights by their file."""
    return {
        str(path.relative_to(project)): path.read_bytes() for path in project.glob("runs/**/*.safetensors")
    }


def test_entry_points(images: Path, rendered: Path) -> None:
    for image, command in (("train", "sync-train"), ("extract", "sync-extract")):
        assert f"Usage: {command} [OPTIONS]" in succeed("run", images, image, rendered, "--help")


def test_images_make_what_the_commands_make_outside(images: Path, rendered: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for project in (inside, outside):
        shutil.copytree(rendered, project)
    for command in ("sync-extract", "sync-train"):
        subprocess.run(
            [BIN / command, "--quiet"],
            cwd=outside,
            env=os.environ | ENVIRONMENT,
            check=True,
            capture_output=True,
        )
    succeed("slurm", images, "extract", inside, "env", *VARIABLES, "sync-extract")
    succeed("slurm", images, "train", inside, "env", *VARIABLES, "sync-train")
    assert len(digests(outside)) == 6
    assert digests(inside) == digests(outside)
    assert len(weights(outside)) >= 5
    assert weights(inside) == weights(outside)
    made = [*(inside / "features.zarr").rglob("*"), *(inside / "runs").rglob("*")]
    assert {path.stat().st_uid for path in made} == {STRANGER}
    table = json.loads(succeed("slurm", images, "train", inside, "sync-eval", "--json"))
    assert len(table["rows"]) == 6
    (plot,) = succeed("slurm", images, "train", inside, "sync-eval", "plot").split()
    assert (inside / Path(plot).relative_to("/project")).read_bytes().startswith(b"\x89PNG")


def test_the_images_user_is_app(images: Path, rendered: Path, tmp_path: Path) -> None:
    project = shutil.copytree(rendered, tmp_path / "project")
    recording = min(path.name for path in (project / "videos").iterdir())
    succeed("run", images, "extract", project, "--view", "e4", "--recording", recording, "--device", "cpu")
    assert len(digests(project)) == 1
    assert {path.stat().st_uid for path in (project / "features.zarr").rglob("*")} == {APP}


def test_slurms_way_is_strict(images: Path, rendered: Path) -> None:
    def fails(code: str) -> str:
        done = docker("slurm", images, "extract", rendered, "python", "-c", code)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    assert fails("open('/cache/file', 'w')") == "OSError: [Errno 30] Read-only file system: '/cache/file'"
    assert fails("import os, pwd; pwd.getpwuid(os.getuid())") == (
        f"KeyError: 'getpwuid(): uid not found: {STRANGER}'"
    )
    assert fails("import os; os.environ['HOME']") == "KeyError: 'HOME'"
    assert fails("import socket; socket.create_connection(('127.0.0.1', 1))") == (
        "OSError: [Errno 101] Network is unreachable"
    )


def test_the_trainer_has_no_video_reader(images: Path, rendered: Path) -> None:
    listed = {
        image: succeed("slurm", images, image, rendered, "python", "-m", "pip", "list")
        for image in ("train", "extract")
    }
    for package in ("av", "decord", "transformers"):
        assert re.search(rf"^{package} ", listed["extract"], re.MULTILINE)
        assert not re.search(rf"^{package} ", listed["train"], re.MULTILINE)
