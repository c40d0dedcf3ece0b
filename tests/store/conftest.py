"""A small feature set and recordings for the store's tests."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sync_store.layout import FeatureSet

WIDE = 32768
"""So wide that a chunk holds 32 rows and a shard 256: several shards in little memory."""


@pytest.fixture
def wide_set() -> FeatureSet:
    return FeatureSet(name="wide", recipe={"backbone": "test", "grid_fps": "30"}, feature_dim=WIDE)


@pytest.fixture
def small_set() -> FeatureSet:
    return FeatureSet(name="small", recipe={"backbone": "test", "grid_fps": "30"}, feature_dim=8)


@pytest.fixture
def make_rows() -> Any:
    def make(num_rows: int, feature_dim: int, seed: int = 0) -> npt.NDArray[np.float16]:
        return np.random.default_rng(seed).standard_normal((num_rows, feature_dim)).astype(np.float16)

    return make
