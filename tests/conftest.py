"""What tests of several stages share: a real browser, disks that can be lost, and which of them take long."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LONG_FOLDERS = ("services", "faults", "hostile")
"""All their tests are marked `long`."""


@pytest.hookimpl(tryfirst=True)  # before those that the option -m leaves out are
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long ones to `make test-services`."""
    is_wanted = os.environ.get("SYNC_REQUIRE_SERVICES") == "1"
    for item in items:
        if item.path.parent.name in LONG_FOLDERS:
            item.add_marker(pytest.mark.long)
        if item.get_closest_marker("long") and not is_wanted:
            item.add_marker(pytest.mark.skip(reason="takes a minute: run `make test-services`"))


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], bool]]:
    """Mount a file system in memory, or mount it anew with other options: `mount(folder, options)`.

    False if it is being written to at this moment and so can't become read-only.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root; run as root to test full and failing disks")
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> bool:
        if folder in mounted:
            command = ["mount", "-o", f"remount,{options}", str(folder)]
        else:
            command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and folder not in mounted:
            pytest.skip(f"can't mount a tmpfs here: {done.stderr.strip()}")
        if not done.returncode and folder not in mounted:
            mounted.append(folder)
        assert not done.returncode or "busy" in done.stderr, done.stderr
        return not done.returncode

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for a module; without one its tests are skipped, unless SYNC_REQUIRE_BROWSER forbids it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing = f"no browser: none of {', '.join(names)} is on the PATH. Install Debian's package chromium"
        if os.environ.get("SYNC_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*arguments, "--disable-gpu"])
        yield started
        started.close()
