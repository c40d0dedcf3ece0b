"""Which frames a row is made from, and clips put together from frames that come in any portions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.clips import Clips, assemble
from sync_store.errors import VideoError

OMNIVORE = Clips(num_frames=32, stride=16, anchor=16, edges="backpad")
WINDOW8 = Clips(num_frames=8, stride=1, anchor=4, edges="repeat")

any_clips = st.builds(
    lambda size, stride, anchor, edges: Clips(
        num_frames=size, stride=stride, anchor=min(anchor, size - 1), edges=edges
    ),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(0, 8),
    st.sampled_from(["repeat", "backpad"]),
)


def test_a_dense_backbone_has_a_row_a_frame() -> None:
    assert Clips().rows(5).tolist() == [[0], [1], [2], [3], [4]]


def test_windows_as_the_released_omnivore_features_have_them() -> None:
    """39 frames give [0, 31] and [8, 39) (pytorchvideo's own example of a back-padded last clip)."""
    rows = OMNIVORE.rows(39)
    assert [(row[0], row[-1]) for row in rows.tolist()] == [(0, 31), (7, 38)]
    assert rows[:, 16].tolist() == [16, 23]


@pytest.mark.parametrize("num_frames", [32, 33, 47, 48, 49, 64, 1_000])
def test_number_of_omnivore_windows(num_frames: int) -> None:
    """N = (F − 32) // 16 + 1, and one more if anything is left over."""
    expected = (num_frames - 32) // 16 + 1 + bool((num_frames - 32) % 16)
    assert OMNIVORE.num_rows(num_frames) == len(OMNIVORE.rows(num_frames)) == expected


def test_window_of_eight_repeats_the_ends() -> None:
    rows = WINDOW8.rows(10)
    assert rows[0].tolist() == [0, 0, 0, 0, 0, 1, 2, 3]
    assert rows[5].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows[9].tolist() == [5, 6, 7, 8, 9, 9, 9, 9]
    assert rows[:, 4].tolist() == list(range(10))


def test_too_few_frames() -> None:
    with pytest.raises(VideoError, match=r"only 31 frames on the sampling grid.*clips of 32.*single frames"):
        OMNIVORE.rows(31)
    assert OMNIVORE.num_rows(31) == 0
    assert WINDOW8.rows(1).tolist() == [[0] * 8]


@pytest.mark.parametrize("wrong", [{"num_frames": 0}, {"stride": 0}, {"num_frames": 8, "anchor": 8}])
def test_impossible_clips(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a stride and an anchor within it"):
        Clips(**wrong)


@given(clips=any_clips, num_frames=st.integers(1, 60))
def test_every_row_has_one_moment_and_every_frame_is_real(clips: Clips, num_frames: int) -> None:
    if clips.edges == "backpad" and num_frames < clips.num_frames:
        return
    rows = clips.rows(num_frames)
    assert rows.shape == (clips.num_rows(num_frames), clips.num_frames)
    assert rows.min() >= 0 and rows.max() < num_frames
    assert (np.diff(rows[:, clips.anchor]) > 0).all()
    if clips.edges == "backpad":
        assert (np.diff(rows, axis=1) == 1).all() and rows[-1, -1] == num_frames - 1


@given(
    clips=any_clips,
    num_frames=st.integers(1, 60),
    batch_rows=st.integers(1, 9),
    from_row=st.integers(0, 5),
    portions=st.lists(st.integers(1, 20), min_size=1, max_size=30),
)
def test_clips_do_not_depend_on_the_portions(
    clips: Clips, num_frames: int, batch_rows: int, from_row: int, portions: list[int]
) -> None:
    """From any row on, and also where the frames end before the rows do."""
    if clips.edges == "backpad" and num_frames < clips.num_frames:
        return
    rows = clips.rows(num_frames)[from_row * batch_rows :]
    if not len(rows):
        return
    frames = torch.arange(num_frames)[:, None, None, None].float()
    edges = np.cumsum([rows.min(), *portions])
    images = [frames[start:stop] for start, stop in pairwise(edges)]
    whole = rows[rows.max(axis=1) < min(edges[-1], num_frames)]
    batches = list(assemble([image for image in images if len(image)], rows, batch_rows=batch_rows))
    assert [len(batch) for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    made = torch.cat(batches)[:, :, 0, 0, 0] if batches else torch.zeros(0, clips.num_frames)
    assert torch.equal(made, torch.from_numpy(whole).float())
