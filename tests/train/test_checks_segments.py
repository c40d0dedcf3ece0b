"""Averages over action segments, against loops over rows and labels."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sync_store.errors import DatasetError
from sync_store.project import load_project
from sync_train.batches import Windowing
from sync_train.checks.segments import Representation, SegmentSet, average_segments
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.sequences import Recording
from sync_train.setting import Setting, make_setting

NAMES = ["e0", "t1", "e1"]
DIM = 16


def setting_of(project: Any) -> Setting:
    return make_setting(load_project(project.root), project.config(device="cpu"))


def identity() -> Standardizer:
    return Standardizer(DIM)


def windowing(chunk_rows: int = 3, max_chunks: int = 4) -> Windowing:
    """Windows of 12 rows, so a recording has several."""
    return Windowing(chunk_rows=chunk_rows, max_chunks=max_chunks)


def adapter_model(*, deviation: float = 1.0) -> Segmenter:
    """With an adapter that does something."""
    torch.manual_seed(3)
    adapter = Adapter(AdapterConfig(feature_dim=DIM, num_layers=1, num_heads=2, ffn_dim=8, dropout=0.4))
    torch.nn.init.normal_(adapter.out.weight)
    standardizer = Standardizer(DIM)
    standardizer.deviation_D.fill_(deviation)
    return Segmenter(standardizer, C2FTCN(feature_dim=DIM, num_classes=3), adapter)


def naive(project: Any, recording: Recording, values_TD: np.ndarray, leave_out: tuple[str, ...] = ()) -> Any:
    """(label, start, stop, mean or None) of each line of the label file."""
    found = []
    with project.label_file(recording.name).open() as file:
        for line in csv.DictReader(file):
            start, stop = float(line["start_seconds"]), float(line["stop_seconds"])
            inside = [
                values_TD[row].astype(np.float64)
                for row, time_ns in enumerate(recording.timestamps.tolist())
                if start <= time_ns / 1e9 < stop
            ]
            if line["label"] not in leave_out:
                found.append((line["label"], start, stop, sum(inside) / len(inside) if inside else None))
    return found


def compare(found: SegmentSet, wanted: list[tuple[str, Any]]) -> None:
    kept = [(name, *segment) for name, segment in wanted if segment[3] is not None]
    assert found.num_without_rows == len(wanted) - len(kept)
    assert list(found.recordings) == [name for name, *_ in kept]
    assert list(found.labels) == [label for _, label, *_ in kept]
    np.testing.assert_allclose(found.start_ns / 1e9, [start for _, _, start, *_ in kept], atol=1e-9)
    np.testing.assert_allclose(found.stop_ns / 1e9, [stop for *_, stop, _ in kept], atol=1e-9)
    np.testing.assert_allclose(found.features_SD.numpy(), [mean for *_, mean in kept], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("view", ["v3", "e4"])
def test_rows_are_averaged(tiny: Any, view: str) -> None:
    setting = setting_of(tiny)
    recordings = setting.source.recordings(view, NAMES)
    represent = Representation(standardizer=identity(), windowing=windowing(), average="rows").of_rows
    found = average_segments(recordings, setting.dataset, represent)
    wanted = [(r.name, s) for r in recordings for s in naive(tiny, r, r.rows_TD.numpy())]
    compare(found, wanted)
    assert found.features_SD.dtype == torch.float32 and len(found) == len(wanted) > 10


def test_segments_without_rows_and_background_are_left_out(project: Any) -> None:
    """Rows of v3 are 100 ms apart; `inspect` is background, also where it has no row."""
    file = project.label_file("e0")
    lines = "start_seconds,stop_seconds,label\n0.02,0.08,screw\n0.08,0.1,inspect\n0.1,0.11,attach\n0.2,0.9,inspect\n"
    file.write_text(lines + "1.0,1.5,screw\n100,101,attach\n")
    toml = project.root / "sync.toml"
    toml.write_text(toml.read_text().replace("[dataset]\n", '[dataset]\nbackground = ["inspect"]\n'))
    setting = setting_of(project)
    (recording,) = setting.source.recordings("v3", ["e0"])
    represent = Representation(standardizer=identity(), windowing=windowing(), average="rows").of_rows
    found = average_segments([recording], setting.dataset, represent)
    compare(found, [("e0", s) for s in naive(project, recording, recording.rows_TD.numpy(), ("inspect",))])
    assert found.labels == ("attach", "screw") and found.num_without_rows == 2
    assert torch.equal(found.features_SD[0], recording.rows_TD[1].float()), "one row is its own average"


def test_a_row_counts_from_half_a_millisecond_before_a_start(project: Any) -> None:
    """As everywhere: times of some containers are rounded to milliseconds."""
    project.label_file("e0").write_text("start_seconds,stop_seconds,label\n0.1004,0.2,screw\n")
    setting = setting_of(project)
    (recording,) = setting.source.recordings("v3", ["e0"])
    represent = Representation(standardizer=identity(), windowing=windowing(), average="rows").of_rows
    found = average_segments([recording], setting.dataset, represent)
    assert torch.equal(found.features_SD[0], recording.rows_TD[1].float())


def test_standardising_goes_before_averaging(tiny: Any) -> None:
    setting = setting_of(tiny)
    recordings = setting.source.recordings("v3", NAMES)
    standardizer = Standardizer(DIM)
    standardizer.fit(r.rows_TD for r in recordings)
    means, deviations = standardizer.mean_D.numpy(), standardizer.deviation_D.numpy()
    represent = Representation(standardizer=standardizer, windowing=windowing(), average="rows").of_rows
    found = average_segments(recordings, setting.dataset, represent)
    compare(
        found,
        [(r.name, s) for r in recordings for s in naive(tiny, r, (r.rows_TD.numpy() - means) / deviations)],
    )


@pytest.mark.parametrize("chunk_rows", [1, 3, 7])
def test_steps_are_maxima_and_each_counts_by_its_rows_inside(tiny: Any, chunk_rows: int) -> None:
    setting = setting_of(tiny)
    recordings = setting.source.recordings("e4", NAMES)
    represent = Representation(
        standardizer=identity(), windowing=windowing(chunk_rows), average="steps"
    ).of_rows
    wanted = []
    for recording in recordings:
        rows = recording.rows_TD.numpy()
        steps = [rows[row // chunk_rows * chunk_rows :][:chunk_rows].max(axis=0) for row in range(len(rows))]
        wanted += [(recording.name, segment) for segment in naive(tiny, recording, np.array(steps))]
    compare(average_segments(recordings, setting.dataset, represent), wanted)


def test_adapted_steps_are_what_the_network_sees_in_each_window(tiny: Any) -> None:
    """Windows of 4 steps of 3 rows: an adapter sees no further, and padding doesn't matter to it."""
    setting, model = setting_of(tiny), adapter_model(deviation=2.0)
    (recording,) = setting.source.recordings("e4", ["e0"])
    represent = Representation(
        standardizer=model.standardizer, windowing=windowing(), average="steps", adapted_by=model.train()
    )
    found = average_segments([recording], setting.dataset, represent.of_rows)
    rows = recording.rows_TD.float()
    assert model.adapter is not None and len(rows) > 12 * 5
    adapted: list[torch.Tensor] = []
    for start in range(0, len(rows), 12):
        window = rows[start : start + 12]
        steps = torch.stack([part.amax(0) / 2 for part in window.split(3)])
        with torch.no_grad():
            moved = model.adapter.eval()(steps[None], torch.ones(1, len(steps), dtype=torch.bool))[0]
        adapted += [moved[row // 3] for row in range(len(window))]
    compare(found, [("e0", s) for s in naive(tiny, recording, torch.stack(adapted).numpy())])


def test_an_adapter_that_is_the_identity_changes_nothing(tiny: Any) -> None:
    setting, model = setting_of(tiny), adapter_model()
    assert model.adapter is not None
    torch.nn.init.zeros_(model.adapter.out.weight)
    recordings = setting.source.recordings("e4", NAMES)
    sets = [
        average_segments(
            recordings,
            setting.dataset,
            Representation(
                standardizer=model.standardizer, windowing=windowing(), average="steps", adapted_by=adapted
            ).of_rows,
        )
        for adapted in (model, None)
    ]
    assert torch.equal(sets[0].features_SD, sets[1].features_SD)


def test_segments_of_some_recordings(tiny: Any) -> None:
    setting = setting_of(tiny)
    represent = Representation(standardizer=identity(), windowing=windowing(), average="rows").of_rows
    both, one = (
        average_segments(setting.source.recordings("v3", names), setting.dataset, represent)
        for names in (["e0", "e1"], ["e1"])
    )
    part = both.of_recordings({"e1"})
    assert torch.equal(part.features_SD, one.features_SD) and part.labels == one.labels
    assert part.recordings == one.recordings == ("e1",) * len(one)
    assert part.start_ns.tolist() == one.start_ns.tolist() and part.stop_ns.tolist() == one.stop_ns.tolist()


@pytest.mark.parametrize(
    ("lines", "background", "message"),
    [
        (None, "", r"recording e0 has no labels, but its segments are asked for\. Label it, or take it out"),
        (
            "900,901,screw\n902,903,attach\n",
            "",
            r"none of the 2 segments of 1 recordings has a row\. Check that",
        ),
        (
            "0,5,screw\n",
            'background = ["screw"]\n',
            r"labels of 1 recordings have no segment of a class that isn't",
        ),
    ],
)
def test_recordings_without_segments(project: Any, lines: str | None, background: str, message: str) -> None:
    file: Path = project.label_file("e0")
    toml = project.root / "sync.toml"
    toml.write_text(toml.read_text().replace("[dataset]\n", f"[dataset]\n{background}"))
    file.unlink()
    if lines is not None:
        file.write_text("start_seconds,stop_seconds,label\n" + lines)
    setting = setting_of(project)
    represent = Representation(standardizer=identity(), windowing=windowing(), average="rows").of_rows
    with pytest.raises(DatasetError, match=message):
        average_segments(setting.source.recordings("v3", ["e0"]), setting.dataset, represent)
