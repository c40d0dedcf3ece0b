"""What features are made from, and the features themselves, change between two runs: said, and never mixed."""

import math
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sync_extract.backbones.resnet_tsm import random_tsm
from sync_extract.backbones.tsm import RANDOM_DEMO_WIDTH
from sync_extract.backbones.tsm_checkpoint import TsmInfo, save_tsm
from sync_store.reader import FeatureStore

OPTIONS = ("--view", "v3", "--recording", "r1")

Call = Callable[..., Any]


def film_anew(lab: Any, seed: int) -> None:
    """Other pictures in a file of the same name."""
    lab.video("r1", "v3").unlink()
    lab.film("r1", "v3", seed)


def test_another_video_after_a_kill_starts_the_recording_anew(lab: Any, call: Call, wait_until: Call) -> None:
    process = lab.start(*OPTIONS)
    wait_until((lab.recording("r1", "v3") / "features/c/3/0").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    film_anew(lab, seed=50)
    resumed = call(lab, *OPTIONS)
    assert resumed.exit_code == 0, resumed.stderr
    assert "r1: 240 rows" in resumed.stderr
    after = lab.tree()
    assert call(lab, *OPTIONS, "--overwrite").exit_code == 0
    assert lab.tree() == after


def test_another_video_after_its_extraction_is_said_though_its_size_is_the_same(lab: Any, call: Call) -> None:
    assert call(lab, *OPTIONS).exit_code == 0
    before, size = lab.tree(), lab.video("r1", "v3").stat().st_size
    film_anew(lab, seed=50)
    path = lab.video("r1", "v3")
    content = path.read_bytes()
    path.write_bytes(content.ljust(size, b"\0")[:size])
    changed = call(lab, *OPTIONS)
    assert changed.exit_code == 3
    assert (
        "recording r1, view v3: the content of v3.mp4 has changed since it was extracted. "
        "Extract it again with --overwrite"
    ) in changed.stderr
    assert lab.tree() == before


def test_a_video_that_was_only_touched_or_copied_is_the_same(lab: Any, call: Call) -> None:
    assert call(lab, *OPTIONS).exit_code == 0
    before = lab.tree()
    content = lab.video("r1", "v3").read_bytes()
    lab.video("r1", "v3").unlink()
    lab.video("r1", "v3").write_bytes(content)
    os.utime(lab.video("r1", "v3"), ns=(1, 1))
    again = call(lab, *OPTIONS)
    assert (again.exit_code, again.stderr) == (
        0,
        "tsm-random-demo: 0 extracted, 1 complete already, 0 failed\n",
    )
    assert lab.tree() == before


@pytest.mark.parametrize("factor", [math.nan, 1e30])
def test_features_that_are_no_numbers_are_refused_with_the_time_of_the_frame(
    lab: Any, call: Call, factor: float
) -> None:
    """Weights of which one is NaN, or so large that features are infinite in float16."""
    module = random_tsm(width=RANDOM_DEMO_WIDTH, shift="none", seed=0)
    with torch.no_grad():
        next(module.layer4.parameters()).mul_(factor)
        next(module.layer4[-1].bn3.parameters()).mul_(factor)
    save_tsm(lab.root / "broken.safetensors", module, TsmInfo(trained_on=()))
    done = call(lab, *OPTIONS, "--weights", "broken.safetensors")
    assert done.exit_code == 3
    assert (
        "failed: v3/r1: recording r1, view v3: the features of the frame at 0.0 s hold NaN or infinity in float16; "
        "nothing of them is stored. Check the weights and precision\n"
    ) in done.stderr
    assert FeatureStore(lab.store).recordings("tsm-random-demo", "v3") == []
