"""A stage's folder: when it is done, done again, or refused."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sync_store.errors import TrainingError
from sync_train.batches import Windowing
from sync_train.checkpoint import SegmenterInfo, load_segmenter
from sync_train.fit_config import FitConfig
from sync_train.loop import Task
from sync_train.models.segmenter import Segmenter
from sync_train.stage import Stage, check_inputs, delete_stage

INFO = SegmenterInfo(
    feature_set="tiny",
    fingerprint="abc",
    feature_dim=2,
    classes=("a", "b"),
    windowing=Windowing(chunk_rows=3, max_chunks=20),
)


class Shrink:
    """Shrinks the last head's bias; cheap, since the network never runs."""

    def __init__(self, model: Segmenter) -> None:
        self.module = model
        bias = model.c2f_tcn.outcc.conv.bias
        assert isinstance(bias, torch.nn.Parameter)
        self._bias = bias
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.SGD([bias], lr=0.1)]

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        yield {"loss": (self._bias + 1).square().sum()}

    def validate(self) -> dict[str, float]:
        return {"score": -float(self._bias.detach().abs().sum())}


class Log:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def started(self, stage: str, seed: int, max_epochs: int) -> None:
        self.lines.append((stage, seed, max_epochs))

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.lines.append(epoch)

    def finished(self, result: Mapping[str, Any], again: bool) -> None:
        self.lines.append((result["num_epochs"], again))


def make_stage(folder: Path, **inputs: Any) -> Stage:
    return Stage(
        name="teacher",
        folder=folder,
        seed=4,
        config=FitConfig(max_epochs=3, selection="last"),
        inputs={"config": {"rate": 1, "levels": (1, 2)}, "features": "abc", **inputs},
        provenance={"code": "1.0"},
        checkpoint_seconds=0.0,
    )


def make_model() -> Segmenter:
    torch.manual_seed(0)
    return INFO.build()


def never(model: Segmenter) -> Task:
    raise AssertionError("nothing is left to fit")


def test_a_stage_is_fitted_once(tmp_path: Path) -> None:
    log, model = Log(), make_model()
    stage = make_stage(tmp_path / "teacher")
    assert stage.run(model, INFO, Shrink, log) is model
    assert log.lines == [("teacher", 4, 3), 0, 1, 2, (3, False)]
    again = INFO.build()
    assert make_stage(tmp_path / "teacher").run(again, INFO, never, log) is again
    assert log.lines[-2:] == [("teacher", 4, 3), (3, True)]
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_finished_stage_holds_what_made_it(tmp_path: Path) -> None:
    model = make_stage(tmp_path / "teacher").run(make_model(), INFO, Shrink, Log())
    loaded, info = load_segmenter(tmp_path / "teacher")
    assert info == INFO
    assert torch.equal(loaded.c2f_tcn.outcc.conv.bias, model.c2f_tcn.outcc.conv.bias)
    tables = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "teacher").glob("*.json")}
    assert sorted(tables) == ["config", "inputs", "provenance", "result"]
    assert tables["inputs"] == {"config": {"rate": 1, "levels": [1, 2]}, "features": "abc"}
    assert tables["provenance"] == {"code": "1.0"}
    assert tables["result"]["num_epochs"] == 3 and tables["result"]["score"] is None
    assert not (tmp_path / "teacher" / "checkpoint.pt").exists()


def test_killed_after_the_weights_were_written(tmp_path: Path) -> None:
    """The result is written last; without it the fit is repeated, with the same end."""
    folder = tmp_path / "teacher"
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "result.json").unlink()
    log = Log()
    make_stage(folder).run(make_model(), INFO, Shrink, log)
    assert log.lines == [("teacher", 4, 3), 0, 1, 2, (3, False)]
    assert (folder / "model.safetensors").read_bytes() == weights


def test_parts_of_files_that_a_kill_left_are_deleted(tmp_path: Path) -> None:
    """A checkpoint of the paper's networks has hundreds of megabytes."""
    folder = tmp_path / "teacher"
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    (folder / "result.json").unlink()
    orphan = folder / ".checkpoint.pt.0123.partial"
    orphan.write_bytes(b"half")
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    assert not orphan.exists()


def test_a_folder_without_inputs_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    (folder / "checkpoint.pt").write_bytes(b"of something else")
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    assert json.loads((folder / "result.json").read_text())["num_epochs"] == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 100_000, r"can't be read as JSON"),
        ("[1]", r"can't be read as JSON"),
        ('{"num_epochs": 3}', r"missing value for field \"selected_epoch\""),
        (
            '{"num_epochs": "3", "selected_epoch": 2, "score": null, "final_loss": 1}',
            r"num_epochs must be int",
        ),
    ],
)
def test_a_result_that_is_none(tmp_path: Path, content: str, problem: str) -> None:
    make_stage(tmp_path / "teacher").run(make_model(), INFO, Shrink, Log())
    (tmp_path / "teacher" / "result.json").write_text(content)
    with pytest.raises(
        TrainingError, match=rf"teacher/result\.json: {problem}.*; train anew with --overwrite"
    ):
        make_stage(tmp_path / "teacher").run(make_model(), INFO, never, Log())


@pytest.mark.parametrize(
    ("inputs", "difference"),
    [
        ({"features": "def"}, "features = 'abc', now 'def'"),
        ({"config": {"rate": 2, "levels": (1, 2)}}, "config.rate = 1, now 2"),
        ({"config": {"rate": 1, "levels": (1,)}}, "config.levels = [1, 2], now [1]"),
        ({"teacher": "new"}, "teacher = None, now 'new'"),
    ],
)
def test_other_inputs_are_refused_and_the_difference_named(
    tmp_path: Path, inputs: dict[str, Any], difference: str
) -> None:
    make_stage(tmp_path / "teacher").run(make_model(), INFO, Shrink, Log())
    message = re.escape(f"teacher: was trained with {difference}. Choose another name with --run, or train")
    with pytest.raises(TrainingError, match=message):
        make_stage(tmp_path / "teacher", **inputs).run(make_model(), INFO, never, Log())


def test_settings_can_be_checked_before_the_rest_of_the_inputs_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    check_inputs(folder, {"config": "anything"})
    make_stage(folder, weights="of an earlier stage").run(make_model(), INFO, Shrink, Log())
    check_inputs(folder, {"config": {"rate": 1, "levels": (1, 2)}})
    with pytest.raises(TrainingError, match=r"teacher: was trained with config.rate = 1, now 2. Choose"):
        check_inputs(folder, {"config": {"rate": 2, "levels": (1, 2)}})
    with pytest.raises(TrainingError, match=r"was trained with weights = 'of an earlier stage', now None"):
        check_inputs(folder, make_stage(folder).inputs, whole=True)


def test_what_the_task_adds_is_in_the_provenance(tmp_path: Path) -> None:
    """It is found out when the data are read, after the stage was set up."""
    stage = make_stage(tmp_path / "teacher")

    def make_task(model: Segmenter) -> Task:
        stage.provenance["pairs"] = {"mean_coverage": 0.9}
        return Shrink(model)

    stage.run(make_model(), INFO, make_task, Log())
    written = json.loads((tmp_path / "teacher" / "provenance.json").read_text())
    assert written == {"code": "1.0", "pairs": {"mean_coverage": 0.9}}


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "[]"])
def test_damaged_inputs_are_named(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "teacher"
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    (folder / "inputs.json").write_text(text)
    with pytest.raises(
        TrainingError, match=r"inputs.json: can't be read as JSON; train anew with --overwrite"
    ):
        make_stage(folder).run(make_model(), INFO, never, Log())


def test_deleting_a_stage(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    make_stage(folder).run(make_model(), INFO, Shrink, Log())
    delete_stage(folder)
    assert not folder.exists()
    delete_stage(folder)
