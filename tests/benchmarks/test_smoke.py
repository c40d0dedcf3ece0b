"""Every benchmark runs from end to end; at these sizes its figures mean nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("__init__", "measure")
)

LONG = ("gpu", "scaling", "distillation_epoch")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in NAMES]
)
def test_runs_and_writes_a_result(name: str, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--smoke", "--out", str(out)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # tests run side by side
    done = subprocess.run(
        command, cwd=ROOT, env=one_thread, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result["targets"]) <= set(result["ratios"])
    assert result["machine"]["cores"] >= 1 and result["libraries"]["torch"] != "absent"
    assert re.fullmatch(r"[0-9a-f]{12}(\.changed)?|unknown", result["commit"])
    for timing in result["timings"].values():
        assert 0 < timing["fastest_seconds"] <= timing["median_seconds"] <= timing["slowest_seconds"]
    for name_of_ratio, ratio in result["ratios"].items():
        assert ratio["least"] <= ratio["of_medians"] <= ratio["most"]
        assert name_of_ratio in done.stdout


def test_make_bench_runs_them_all() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert sorted(re.findall(r"-m benchmarks\.(\w+)", makefile)) == NAMES
