"""A project whose store has features of chosen sets, views and lengths, and nothing to learn."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sync_store.layout import FeatureSet
from sync_store.project import Project, load_project
from sync_store.writer import RecordingWriter

SPLITS = {"train": ("t0", "t1"), "adapt": ("a0", "a1"), "test": ("e0",)}

VIEWS = {"v3": "exo", "v4": "exo", "e4": "ego"}

TENTH_NS = 100_000_000


def write_features(store: Path, feature_set: str, view: str, lengths: Mapping[str, int]) -> None:
    """Rows that are a tenth of a second apart; recordings of one length are copies, which are made in no time."""
    made = FeatureSet(name=feature_set, recipe={"backbone": feature_set}, feature_dim=1)
    written: dict[int, Path] = {}
    for recording, num_rows in lengths.items():
        folder = store / feature_set / view / recording
        if num_rows in written:
            shutil.copytree(written[num_rows], folder)
            continue
        times = np.arange(num_rows, dtype=np.int64) * TENTH_NS
        with RecordingWriter(store, made, view, recording, timestamps=times, provenance={}) as writer:
            writer.append(np.zeros((num_rows, 1), dtype=np.float16))
            writer.commit()
        written[num_rows] = folder


def write_project(
    root: Path,
    *,
    features: Mapping[str, tuple[str, ...]] | None = None,
    num_rows: Mapping[str, int] | None = None,
    settings: str = "",
    views: Mapping[str, str] = VIEWS,
) -> Project:
    """A project with views by feature set; by default all views of one set, which then is the default one."""
    sections = [f'[views.{name}]\nkind = "{kind}"\n' for name, kind in views.items()]
    (root / "sync.toml").write_text("\n".join([settings, *sections]))
    (root / "splits").mkdir()
    for split, names in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
    lengths = {name: (num_rows or {}).get(name, 2) for names in SPLITS.values() for name in names}
    for feature_set, of_set in ({"base": tuple(views)} if features is None else features).items():
        for view in of_set:
            write_features(root / "features.zarr", feature_set, view, lengths)
    return load_project(root)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Project]:
    return partial(write_project, tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With all that the paper's tables need, and two exo views. Not to be changed."""
    tsm = dict.fromkeys(("tsm-exo", "tsm-ego", "tsm-both", "tsm-v3-e4"), ("v3", "e4"))
    return write_project(
        tmp_path_factory.mktemp("whole"),
        features={"base": ("v3", "v4", "e4"), **tsm},
        settings='[extract]\nfeature_set = "base"\n',
    )
