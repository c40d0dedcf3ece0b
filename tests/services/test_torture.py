"""`make torture` with three moments a command: the same program, the same comparisons."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[1] / "faults" / "torture.py"

pytestmark = pytest.mark.long


def test_killed_at_three_moments_each_command_leaves_what_it_would_have_left() -> None:
    done = subprocess.run(
        [sys.executable, TORTURE, "--times", "3", "--seed", "3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == [
        "sync-extract",
        "sync-extract import lmdb",
        "sync-extract copy",
        "sync-train",
    ]
    assert [row[-1] for row in rows] == ["3 of 3"] * 4
