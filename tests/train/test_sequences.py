"""What is read from store and dataset, on a real store. Axes: T rows, P rows of a pair, D feature width."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sync_store.datasets import Dataset, labels_digest, open_dataset
from sync_store.errors import DatasetError, IncompleteError
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.sequences import (
    IGNORE,
    Recording,
    Source,
    label,
    training_classes,
)

TINY = FeatureSet(name="tiny", recipe={"made": "by the test"}, feature_dim=3)


def write(
    store: Path, view: str, name: str, times_ns: np.ndarray, *, seed: int = 0, of_set: FeatureSet = TINY
) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((len(times_ns), 3)).astype(np.float16)
    with RecordingWriter(store, of_set, view, name, timestamps=times_ns, provenance={}) as writer:
        writer.append(rows)
        writer.commit()
    return rows


def open_source(store: Path) -> Source:
    return Source(FeatureStore(store), "tiny", torch.device("cpu"))


def clock(first_ms: int, step_ms: int, count: int) -> np.ndarray:
    return (first_ms + step_ms * np.arange(count, dtype=np.int64)) * 1_000_000


def test_rows_are_read_once_and_kept_as_float16(tmp_path: Path) -> None:
    rows = write(tmp_path / "s", "v3", "r", clock(5, 33, 40))
    source = open_source(tmp_path / "s")
    (first,) = source.recordings("v3", ["r"])
    assert first.rows_TD.dtype == torch.float16
    np.testing.assert_array_equal(first.rows_TD.numpy(), rows)
    np.testing.assert_array_equal(first.timestamps, clock(5, 33, 40))
    for file in (tmp_path / "s" / "tiny" / "v3" / "r" / "features").rglob("*"):
        if file.is_file():
            file.unlink()
    (again,) = source.recordings("v3", ["r"])
    assert again is first


def test_rows_are_placed_on_the_device_while_there_is_room(tmp_path: Path) -> None:
    """Whatever else is free there meanwhile. Ten rows have 60 bytes; "meta" stands for a GPU."""
    for name, count in (("a", 10), ("b", 10), ("c", 20), ("d", 5), ("e", 1)):
        write(tmp_path / "s", "v3", name, clock(0, 100, count))
    source = Source(FeatureStore(tmp_path / "s"), "tiny", torch.device("meta"), room_bytes=150)
    read = source.recordings("v3", list("abcde"))
    assert [recording.rows_TD.is_meta for recording in read] == [True, True, False, True, False]
    assert source.recordings("v3", ["a"])[0] is read[0]


def test_a_missing_recording_names_the_command(tmp_path: Path) -> None:
    write(tmp_path / "s", "v3", "r", clock(0, 100, 4))
    source = open_source(tmp_path / "s")
    with pytest.raises(IncompleteError, match="sync-extract --view e4 --recording r"):
        source.recordings("e4", ["r"])
    assert source.complete_recordings("v3") == {"r"} and source.complete_recordings("e4") == set()


def test_digest_tells_rows_times_views_and_names(tmp_path: Path) -> None:
    digests = set()
    made = {"a": (0, 0), "b": (0, 0), "c": (1, 0), "d": (0, 7)}
    for name, (seed, first) in made.items():
        write(tmp_path / "s", "v3", name, clock(first, 100, 10), seed=seed)
        write(tmp_path / "s", "e4", name, clock(first, 100, 10), seed=seed)
    source = open_source(tmp_path / "s")
    for view in ("v3", "e4"):
        digests |= {source.digest(view, [name]) for name in made}
    digests |= {source.digest("v3", names) for names in (["a", "b"], ["b", "a"], [])}
    assert len(digests) == 11
    assert open_source(tmp_path / "s").digest("v3", ["a"]) == source.digest("v3", ["a"])


def dataset_of(root: Path, labels: dict[str, str], *, classes: str = "", background: str = "") -> Dataset:
    (root / "labels").mkdir()
    for name, text in labels.items():
        (root / "labels" / f"{name}.csv").write_text("start_seconds,stop_seconds,label\n" + text)
    if classes:
        (root / "classes.txt").write_text("\n".join(classes.split()) + "\n")
    (root / "sync.toml").write_text(
        f'[dataset]\nbackground = [{background}]\n[views.v3]\nkind = "exo"\n[views.e4]\nkind = "ego"\n'
    )
    return open_dataset(load_project(root))


def recording_of(name: str, num_rows: int) -> Recording:
    """A row every second, at half of it."""
    times = clock(500, 1000, num_rows)
    return Recording(name=name, rows_TD=torch.zeros(num_rows, 3), timestamps=times)


def test_each_row_gets_the_class_of_its_moment(tmp_path: Path) -> None:
    """Background and gaps teach nothing."""
    dataset = dataset_of(tmp_path, {"r": "0,2,screw\n3,4,attach\n4,6,idle\n"}, background="'idle'")
    classes = training_classes(dataset, ["r"])
    assert classes == ("attach", "screw")
    (labeled,) = label([recording_of("r", 8)], dataset, classes)
    assert labeled.classes_T.tolist() == [1, 1, IGNORE, 0, *[IGNORE] * 4]
    assert labeled.classes_T.dtype == torch.int64


def test_stated_classes_keep_their_order_and_ids(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"r": "0,1,a\n"}, classes="z a idle m", background="'idle'")
    assert training_classes(dataset, ["r"]) == ("z", "a", "m")
    (labeled,) = label([recording_of("r", 1)], dataset, ("z", "a", "m"))
    assert labeled.classes_T.tolist() == [1]


def test_class_0_is_a_class_like_others(tmp_path: Path) -> None:
    """The paper's script masks id 0, which in Assembly101 is `inspect toy`."""
    dataset = dataset_of(tmp_path, {"r": "0,2,inspect\n2,4,screw\n"})
    (labeled,) = label([recording_of("r", 4)], dataset, training_classes(dataset, ["r"]))
    assert labeled.classes_T.tolist() == [0, 0, 1, 1]


def test_only_training_labels_are_asked_for_their_classes(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"train": "0,1,a\n", "other": "nonsense\n"})
    assert training_classes(dataset, ["train"]) == ("a",)


def test_no_classes_is_an_error(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"r": "0,1,idle\n"}, background="'idle'")
    with pytest.raises(DatasetError, match="no labels in the training split"):
        training_classes(dataset, ["r"])


def test_an_unlabelled_recording_is_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"r": "0,1,a\n"})
    with pytest.raises(DatasetError, match="recording q has no labels, but is to be learnt from"):
        label([recording_of("r", 2), recording_of("q", 2)], dataset, ("a",))


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"r": "0,1,a\n1,2,b\n"}, classes="a c")
    with pytest.raises(DatasetError, match="labels of r: 'b' isn't one of the 2 classes"):
        label([recording_of("r", 2)], dataset, ("a", "c"))


def test_labels_digest_tells_every_change(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"a": "0,1,x\n", "b": "0,1,y\n", "c": "0,1.000000001,x\n"})
    digests = [labels_digest(dataset, names) for names in (["a"], ["b"], ["c"], ["a", "b"], ["b", "a"])]
    assert len(set(digests)) == 5
    assert labels_digest(dataset, ["a"]) == digests[0]


def test_a_recording_with_several_labelled_sequences(tmp_path: Path) -> None:
    """As Assembly101's assembly and disassembly, which are two files of one recording."""

    class InTwoFiles:
        """One labelled sequence of the folder dataset, given as two."""

        label_rate, background = Fraction(30), ()

        def labeled(self, recording: str) -> list[Any]:
            (whole,) = dataset.labeled(recording)
            parts = []
            for name, index in (("assembly", 0), ("disassembly", 1)):
                s = whole.segments
                part = replace(
                    s, start_ns=s.start_ns[[index]], stop_ns=s.stop_ns[[index]], labels=(s.labels[index],)
                )
                parts.append(replace(whole, name=f"{name}_{recording}", segments=part))
            return parts

    dataset = dataset_of(tmp_path, {"r": "0,2,attach\n3,5,detach\n"})
    (labeled,) = label([recording_of("r", 6)], InTwoFiles(), ("attach", "detach"))  # type: ignore[arg-type]
    assert labeled.classes_T.tolist() == [0, 0, IGNORE, 1, 1, IGNORE]
