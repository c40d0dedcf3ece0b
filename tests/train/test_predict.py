"""Predictions against a loop over single windows and rows. Axes: T rows, C chunks, D feature width, K classes."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from sync_train.batches import Windowing
from sync_train.ensemble import ensemble_probabilities
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.predict import row_probabilities, segments_of_probabilities
from sync_train.sequences import Recording

WINDOWING = Windowing(chunk_rows=3, max_chunks=20)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """Its weights are large enough that rows differ in their class."""
    torch.manual_seed(0)
    network = C2FTCN(feature_dim=4, num_classes=3)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.xavier_normal_(parameter, gain=2.0)
    return Segmenter(Standardizer(4), network)


@pytest.fixture(scope="module")
def rows() -> list[torch.Tensor]:
    """Recordings of one window, of several with a short last one, and of a single row."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, 4, generator=generator).half() for length in (50, 133, 1)]


def reference(
    model: Segmenter, rows_TD: torch.Tensor, size: int, max_chunks: int, length: int
) -> torch.Tensor:
    """Probabilities of every row: window for window, chunk for chunk, one at a time."""
    model.eval()
    probabilities = []
    for start in range(0, len(rows_TD), size * max_chunks):
        window = rows_TD[start : start + size * max_chunks].float()
        padded = torch.zeros(1, length, rows_TD.shape[1])
        for chunk in range(-(-len(window) // size)):
            padded[0, chunk] = window[chunk * size : (chunk + 1) * size].max(dim=0).values
        with torch.no_grad():
            (of_window_KL,) = ensemble_probabilities(model.c2f_tcn(padded.transpose(1, 2)))
        probabilities += [of_window_KL[:, row // size] for row in range(len(window))]
    return torch.stack(probabilities)


@pytest.mark.parametrize("pad_to", [None, 400])
def test_every_row_has_its_chunks_probabilities(
    model: Segmenter, rows: list[torch.Tensor], pad_to: int | None
) -> None:
    found = row_probabilities(model, rows, Windowing(chunk_rows=3, max_chunks=20, pad_to=pad_to))
    for rows_TD, probabilities_TK in zip(rows, found, strict=True):
        wanted = reference(model, rows_TD, 3, 20, pad_to or 384)
        assert probabilities_TK.shape == (len(rows_TD), 3)
        torch.testing.assert_close(probabilities_TK, wanted, rtol=1e-4, atol=5e-5)
    assert len(set(found[1].argmax(1).tolist())) > 1


def test_padding_to_the_published_length_is_another_result(
    model: Segmenter, rows: list[torch.Tensor]
) -> None:
    """So it is an option, and stated with the predictions."""
    ours = row_probabilities(model, rows, WINDOWING)
    published = row_probabilities(model, rows, Windowing(chunk_rows=3, max_chunks=20, pad_to=1200))
    assert not torch.allclose(ours[1], published[1], atol=1e-3)


def test_a_batch_gives_what_single_recordings_give(model: Segmenter, rows: list[torch.Tensor]) -> None:
    together = row_probabilities(model, rows, WINDOWING)
    for index, rows_TD in enumerate(rows):
        (alone,) = row_probabilities(model, [rows_TD], WINDOWING)
        torch.testing.assert_close(alone, together[index], rtol=1e-4, atol=1e-5)


def test_chunk_sizes_are_averaged(model: Segmenter, rows: list[torch.Tensor]) -> None:
    """Over rows, since a chunk of each size covers others."""
    sizes = (2, 3, 7)
    found = row_probabilities(model, rows, WINDOWING, chunk_rows=sizes)
    for rows_TD, probabilities_TK in zip(rows, found, strict=True):
        wanted = torch.stack([reference(model, rows_TD, size, 20, 384) for size in sizes]).mean(0)
        torch.testing.assert_close(probabilities_TK, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probabilities_TK.sum(1), torch.ones(len(rows_TD)))


def test_a_repeated_chunk_size_weighs_more(model: Segmenter, rows: list[torch.Tensor]) -> None:
    """C2F-TCN's 3, 4, 5 with weights 1, 3, 1 for GTEA."""
    found = row_probabilities(model, rows, WINDOWING, chunk_rows=(3, 4, 4, 4, 5))
    for rows_TD, probabilities_TK in zip(rows, found, strict=True):
        three, four, five = (reference(model, rows_TD, size, 20, 384) for size in (3, 4, 5))
        torch.testing.assert_close(probabilities_TK, (three + 3 * four + five) / 5, rtol=1e-4, atol=1e-5)


def test_batch_statistics_stay_as_they_are(model: Segmenter, rows: list[torch.Tensor]) -> None:
    """The published evaluation of C2F-TCN leaves the network in training mode."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    row_probabilities(model, rows, WINDOWING)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def segments_of(ids: Sequence[int], confidences: Sequence[float]) -> list[tuple[float, float, str, float]]:
    """Start, stop, label and confidence of rows at 0.5, 1.5, 2.5 … seconds."""
    probabilities = torch.zeros(len(ids), 3)
    for row, (number, confidence) in enumerate(zip(ids, confidences, strict=True)):
        probabilities[row] = (1 - confidence) / 2
        probabilities[row, number] = confidence
    times = 500_000_000 + 1_000_000_000 * np.arange(len(ids), dtype=np.int64)
    recording = Recording(name="r", rows_TD=torch.zeros(len(ids), 1), timestamps=times)
    segments = segments_of_probabilities(recording, probabilities, ("a", "b", "c"))
    assert segments.confidence is not None
    return [
        (start / 1e9, stop / 1e9, name, round(float(confidence), 6))
        for start, stop, name, confidence in zip(
            segments.start_ns, segments.stop_ns, segments.labels, segments.confidence, strict=True
        )
    ]


def test_segments_are_runs_of_the_most_probable_class_with_its_mean_probability() -> None:
    assert segments_of([2, 2, 0, 1, 1, 1], [0.5, 0.7, 0.9, 0.4, 0.5, 0.9]) == [
        (0.0, 2.0, "c", 0.6),
        (2.0, 3.0, "a", 0.9),
        (3.0, 6.0, "b", 0.6),
    ]
    assert segments_of([1], [1.0]) == [(0.0, 1.0, "b", 1.0)]
