"""The Dockerfile as far as it can be checked without a builder; services/test_docker_build.py builds it."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def stages() -> dict[str, tuple[str, list[str]]]:
    """Base and instructions of each stage by name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in filter(None, INSTRUCTIONS):
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = (match[1], [])
        elif found:
            list(found.values())[-1][1].append(line.strip())
    return found


def copied() -> list[str]:
    """What is copied from the folder that the image is built in."""
    lines = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY") and "--from" not in line]
    return [source for sources in lines for source in sources]


def test_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned() -> None:
    (base,) = (line.removeprefix("ARG BASE=") for line in INSTRUCTIONS if line.startswith("ARG BASE="))
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    assert {base for base, _ in stages().values()} - set(stages()) == {"${BASE}"}


def test_images_run_as_app() -> None:
    for name, command in (("train", "sync-train"), ("extract", "sync-extract")):
        _, lines = stages()[name]
        assert [line for line in lines if line.startswith("USER")] == ["USER app"]
        assert lines[-1] == f'ENTRYPOINT ["{command}"]'
    assert "useradd" in " ".join(stages()["dependencies"][1])
    assert list(stages())[-1] == "extract", "the default image is the last one"


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), f"{source} is ignored"


def test_the_wheel_gets_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {package.split("/")[0] for package in packages} <= set(copied())
    assert settings["project"]["readme"] in copied()


def test_everything_installed_is_constrained_and_kept_in_the_builders_cache() -> None:
    installs = [line for line in INSTRUCTIONS if "pip install" in line or "pip wheel" in line]
    assert len(installs) == 5
    for line in installs:
        assert "--mount=type=cache,target=/root/.cache/pip" in line
        assert "-c /constraints.txt" in line or "--no-deps" in line


def test_caches_are_in_a_folder_to_mount() -> None:
    lines = " ".join(stages()["dependencies"][1])
    for name in ("XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR"):
        assert re.search(rf"\b{name}=/cache\b", lines), name
    assert "install -d -m 1777 /cache /models /project" in lines, "any user's id may be given"
