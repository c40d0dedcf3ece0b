"""CUDA graphs of networks: without a GPU nothing changes; with one the replayed values are the eager ones."""

import logging
from pathlib import Path

import pytest
import torch
from benchmarks.on_gpu.captured import EAGER_CALLS, MAX_GRAPHS, Captured

from sync_extract.backbones import Placement, load_backbone
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.swin3d import Swin3D

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")


def test_on_a_processor_it_is_the_function_itself() -> None:
    seen = []

    def run(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows)
        return rows + 1

    captured, rows = Captured(run), torch.arange(3.0)
    for _ in range(EAGER_CALLS + 2):
        assert captured(rows).tolist() == [1, 2, 3]
    assert all(each is rows for each in seen) and len(seen) == EAGER_CALLS + 2


@on_gpu
@pytest.mark.parametrize("name", ["dinov2-random-demo", "tsm-random-demo"])
def test_replays_give_the_eager_bits(name: str) -> None:
    backbone = load_backbone(name, placement=Placement.choose("cuda"))
    captured = Captured(backbone.encode)
    height, width = (84, 112) if name.startswith("dinov2") else (72, 96)
    for _ in range(EAGER_CALLS + 3):
        clips = torch.randn(4, 1, 3, height, width, device="cuda", dtype=torch.bfloat16)
        with torch.inference_mode():
            assert torch.equal(captured(clips), backbone.encode(clips))


@on_gpu
def test_omnivore_can_be_captured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "weights"
    torch.save({"trunk": Swin3D(SIZES["omnivore-swin-t"]).state_dict()}, path)
    backbone = load_backbone("omnivore-swin-t", weights=path, placement=Placement.choose("cuda"))
    captured = Captured(backbone.encode)
    clips = torch.randn(1, 32, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        for _ in range(EAGER_CALLS + 2):
            assert torch.equal(captured(clips), backbone.encode(clips))
    assert "no CUDA graph" not in caplog.text


@on_gpu
def test_what_waits_for_the_device_stays_eager_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def waits(rows: torch.Tensor) -> torch.Tensor:
        return rows + rows.sum().item()

    captured, rows = Captured(waits), torch.ones(3, device="cuda")
    stream = torch.cuda.current_stream()
    with caplog.at_level(logging.WARNING):
        for _ in range(EAGER_CALLS + 3):
            assert captured(rows).tolist() == [4, 4, 4]
    assert caplog.text.count("no CUDA graph of (3,)") == 1
    assert torch.cuda.current_stream() == stream


@on_gpu
def test_memory_is_kept_for_few_shapes_alone() -> None:
    captured = Captured(lambda rows: rows * 2)
    for length in range(1, MAX_GRAPHS + 4):
        for _ in range(EAGER_CALLS + 2):
            assert captured(torch.ones(length, device="cuda")).tolist() == [2] * length
    assert len(captured._graphs) == MAX_GRAPHS
