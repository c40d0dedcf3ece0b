"""Pooled windows that are kept are those that would be made."""

import numpy as np
import pytest
import torch

from sync_train.batches import Draw, Window
from sync_train.kept import Kept, pooled_classes, pooled_rows
from sync_train.pooling import pool_classes, pool_rows
from sync_train.sequences import IGNORE

CPU = torch.device("cpu")


def windows() -> list[Window]:
    return [
        Window(index=0, start=0, stop=50),
        Window(index=1, start=0, stop=40),
        Window(index=1, start=40, stop=71),
    ]


def test_kept_windows_are_those_pooled_anew() -> None:
    rows = [
        torch.randn(length, 6, generator=torch.Generator().manual_seed(length)).half() for length in (50, 71)
    ]
    classes = [torch.from_numpy(np.arange(length) // 7 % 4) for length in (50, 71)]
    classes[1][40:55] = IGNORE
    kept_rows, kept_classes = pooled_rows(rows, CPU), pooled_classes(classes, 4, CPU)
    for _ in range(2):
        for sizes in ([10, 10, 10], [7, 40, 1]):
            draw = Draw(windows=windows(), chunk_rows=sizes, steps=64)
            for window, size, of_rows, of_classes in zip(
                draw.windows, sizes, kept_rows.of(draw), kept_classes.of(draw), strict=True
            ):
                part = slice(window.start, window.stop)
                assert torch.equal(of_rows, pool_rows(rows[window.index][part], size))
                assert torch.equal(of_classes, pool_classes(classes[window.index][part], size, 4))
                assert of_rows.dtype == torch.float16
                assert of_rows.T.is_contiguous()


@pytest.mark.parametrize(("room", "num_made"), [(0, 6), (40, 5), (80, 4), (1000, 3)])
def test_no_more_is_kept_than_there_is_room_for(room: int, num_made: int) -> None:
    made = []

    def make(window: Window, chunk_rows: int) -> torch.Tensor:
        made.append((window, chunk_rows))
        return torch.zeros(10)

    kept = Kept(make, room_bytes=room)
    for _ in range(2):
        for window in windows():
            kept(window, 20)
    assert len(made) == num_made


def test_rows_and_classes_go_to_the_device_before_they_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows for which the device had no room lie elsewhere, classes always do. "meta" stands for a GPU."""
    seen: list[tuple[str, str]] = []

    def rows(rows_TD: torch.Tensor, chunk_rows: int) -> torch.Tensor:
        seen.append(("rows", rows_TD.device.type))
        return pool_rows(rows_TD, chunk_rows)

    def classes(classes_T: torch.Tensor, chunk_rows: int, num_classes: int) -> torch.Tensor:
        seen.append(("classes", classes_T.device.type))
        return classes_T[::chunk_rows]  # votes can't be counted without values

    monkeypatch.setattr("sync_train.kept.pool_rows", rows)
    monkeypatch.setattr("sync_train.kept.pool_classes", classes)
    window, elsewhere = Window(index=0, start=0, stop=40), torch.device("meta")
    kept = (
        pooled_rows([torch.zeros(40, 2)], elsewhere),
        pooled_classes([torch.zeros(40).long()], 3, elsewhere),
    )
    assert [of_window(window, 4).device.type for of_window in kept] == ["meta", "meta"]
    assert seen == [("rows", "meta"), ("classes", "meta")]
