"""Sections of the GPU's benchmark: what fails or takes too long costs the others nothing."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.on_gpu.networks import operations_a_row, random_clips
from benchmarks.on_gpu.report import Report

from sync_extract.backbones import Placement, load_backbone
from sync_extract.backbones.dinov2 import RANDOM_DEMO_CONFIG


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report(out=tmp_path / "r.json", settings={"device": "cpu"}, deadline=time.monotonic() + 60)


def sections(report: Report) -> dict[str, Any]:
    written = json.loads(report.out.read_text())["settings"]["sections"]
    assert isinstance(written, dict)
    return written


def test_an_error_is_recorded_and_the_next_section_runs(report: Report) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    report.section("first", fails, most_seconds=10)
    assert sections(report)["first"]["error"].startswith("RuntimeError: CUDA error: an illegal")
    report.section("second", lambda: {"remark": 3}, most_seconds=10)
    assert sections(report)["second"]["remark"] == 3 and "error" in sections(report)["first"]


def test_a_section_that_takes_too_long_is_ended(report: Report) -> None:
    report.section("slow", lambda: time.sleep(30) or {}, most_seconds=0.2)
    assert sections(report)["slow"]["error"] == "OutOfTimeError: ended after 0.2 s"
    report.section("next", lambda: {"remark": 1}, most_seconds=10)
    assert sections(report)["next"]["remark"] == 1


def test_after_the_deadline_sections_are_listed_as_not_run(report: Report) -> None:
    report.deadline = time.monotonic()
    report.section("late", lambda: {"remark": 1}, most_seconds=10)
    assert sections(report)["late"]["error"] == "OutOfTimeError: no time was left for it"


def test_a_section_that_lacks_another_ones_rate_says_so(report: Report) -> None:
    report.section("alone", lambda: {"rate": report.rate("matrix")}, most_seconds=10)
    assert "the section that measures 'matrix' gave nothing" in sections(report)["alone"]["error"]


def test_the_middle_value_of_a_ratio_counts(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.add_ratio("share", [0.7, 0.5, 0.6], 0.6)
    report.write()
    assert report.ratios["share"] == {"of_medians": 0.6, "least": 0.5, "most": 0.7}
    assert "share: 0.60 (0.50 to 0.70), target 0.6" in capsys.readouterr().out


def test_operations_are_those_of_the_formula() -> None:
    """Of a transformer: 24 S d^2 + 4 S^2 d a layer, and the patches' projection."""
    backbone = load_backbone(
        "dinov2-random-demo", placement=Placement(device=torch.device("cpu"), dtype=torch.float32)
    )
    width, layers = RANDOM_DEMO_CONFIG["hidden_size"], RANDOM_DEMO_CONFIG["num_hidden_layers"]
    assert random_clips(backbone, 2).shape == (2, 1, 3, 84, 112)
    patches = (84 // 14) * (112 // 14)
    tokens = patches + 1
    expected = layers * (24 * tokens * width**2 + 4 * tokens**2 * width) + 2 * patches * 14 * 14 * 3 * width
    assert operations_a_row(backbone) == pytest.approx(expected, rel=1e-3)
