"""What tests of several stages share: a real browser, and which of them take long."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

LONG_FOLDERS = ("faults", "hostile")
"""All their tests take long; elsewhere those that are marked `long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long ones to `make test-services`."""
    if os.environ.get("SYNC_REQUIRE_SERVICES") == "1":
        return
    skip = pytest.mark.skip(reason="takes a minute: run `make test-services`")
    for item in items:
        if item.path.parent.name in LONG_FOLDERS or item.get_closest_marker("long"):
            item.add_marker(skip)


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
