"""The folder of a training, and which recordings are held out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sync_extract.tuning.config import FinetuneConfig
from sync_extract.tuning.run import INPUTS, RESULT, Run, hold_out
from sync_store.errors import TrainingError


@pytest.fixture(params=["beside", "scratch"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    scratch = tmp_path / "fast" if request.param == "scratch" else None
    inputs = {"command": "finetune", "start": "abc", "settings": {"epochs": 50, "moments_per_segment": 3}}
    return Run(folder=tmp_path / "backbones/x", config=FinetuneConfig(scratch=scratch), inputs=inputs)


def decode(run: Run) -> Path:
    """As if a first video were decoded."""
    path = run.frames_folder / "v3/r1.u8"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"pictures")
    return path


def test_a_training_goes_on_with_its_pictures(run: Run) -> None:
    assert run.claim(overwrite=False) is None
    path = decode(run)
    assert run.claim(overwrite=False) is None and path.exists()


def test_other_inputs_are_refused_once_there_is_work(run: Run) -> None:
    run.claim(overwrite=False)
    other = replace(run, inputs={**run.inputs, "settings": {"epochs": 50, "moments_per_segment": 1}})
    other.claim(overwrite=False)  # nothing is lost
    run.claim(overwrite=False)
    path = decode(run)
    with pytest.raises(
        TrainingError,
        match=r"x: was trained with settings\.moments_per_segment = 3, now 1\. Choose another name",
    ):
        other.claim(overwrite=False)
    assert path.exists() and json.loads((run.folder / INPUTS).read_text()) == run.inputs
    other.claim(overwrite=True)
    assert not path.exists() and json.loads((run.folder / INPUTS).read_text()) == other.inputs


def test_pictures_are_kept_for_another_fit_until_an_epoch_is_done(run: Run) -> None:
    """As after a lack of memory, which asks for fewer clips a pass."""
    run.claim(overwrite=False)
    path = decode(run)
    settings = {**run.inputs["settings"], "pass_clips": 16}
    other = replace(run, inputs={**run.inputs, "settings": settings, "start": "def"})
    assert other.claim(overwrite=False) is None and path.exists()
    assert other.frames_folder == run.frames_folder and other.digest != run.digest
    assert json.loads((run.folder / INPUTS).read_text()) == other.inputs
    (run.folder / "checkpoint.safetensors").touch()
    with pytest.raises(TrainingError, match=r"x: was trained with settings\.pass_clips = 16, now None"):
        run.claim(overwrite=False)
    assert path.exists()


def test_overwrite_begins_anew_with_the_same_inputs(run: Run) -> None:
    run.claim(overwrite=False)
    path = decode(run)
    (run.folder / "checkpoint.safetensors").touch()
    assert run.claim(overwrite=True) is None
    assert not path.exists() and [entry.name for entry in run.folder.iterdir()] == [INPUTS]


def test_a_result_is_given_and_its_pictures_are_deleted(run: Run) -> None:
    run.claim(overwrite=False)
    path = decode(run)
    (run.folder / RESULT).write_text('{"score": 1.0}')
    assert run.claim(overwrite=False) == {"score": 1.0} and not path.exists()


def test_what_is_held_out() -> None:
    names = [f"r{number}" for number in range(20)]
    learn, held_out = hold_out(names, FinetuneConfig())
    assert len(held_out) == 3 and sorted(learn + held_out) == sorted(names)
    assert learn == [name for name in names if name in learn]
    assert hold_out(names, FinetuneConfig()) == (learn, held_out)
    assert hold_out(names, FinetuneConfig(seed=1))[1] != held_out
    assert [len(part) for part in hold_out(names[:2], FinetuneConfig(held_out=0.9))] == [1, 1]
    assert hold_out(names, FinetuneConfig(selection="last")) == (names, [])
    with pytest.raises(TrainingError, match=r"1 recording can't be divided .* selection = \"last\""):
        hold_out(names[:1], FinetuneConfig())
