"""A clock that is wrong, or goes back between two runs, changes nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync_store.reader import FeatureStore

OPTIONS = ("--view", "v3", "--quiet")
YEAR_2100_NS = 4_102_444_800_000_000_000

Call = Callable[..., Any]


def test_a_run_goes_on_after_one_whose_clock_was_years_ahead(
    lab: Any, call: Call, wait_until: Call, whole: Any
) -> None:
    process = lab.start(*OPTIONS)
    wait_until((lab.recording("r1", "v3") / "features/c/3/0").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    for path in (lab.store, *lab.store.rglob("*")):
        os.utime(path, ns=(YEAR_2100_NS, YEAR_2100_NS))
    shards = {path: path.stat().st_ino for path in lab.recording("r1", "v3").glob("features/c/*/0")}
    done = call(lab, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert lab.tree() == whole.tree()
    assert {path: path.stat().st_ino for path in shards} == shards


@pytest.mark.parametrize("date", ["@1990-01-01 00:00:00", "@2099-01-01 00:00:00"])
def test_a_wrong_date_makes_nothing_stale_and_nothing_else(
    lab: Any, call: Call, whole: Any, date: str
) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.fail("no faketime on the PATH: `make test-services` installs Debian's package")
    shutil.copytree(whole.store / "tsm-random-demo", lab.store / "tsm-random-demo")
    shutil.copy(whole.store / "zarr.json", lab.store)
    shutil.rmtree(lab.recording("r2", "v3"))
    command = [faketime, "-f", date, str(Path(sys.executable).with_name("sync-extract")), *OPTIONS]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert "1 extracted, 1 complete already" in done.stderr
    store = FeatureStore(lab.store)
    assert store.recordings("tsm-random-demo", "v3") == ["r1", "r2"]
    assert call(lab, "verify").stdout == "2 good, 0 incomplete, 0 damaged\n"
