"""Which recordings are held out, and the score that selects. Axes: T rows, K classes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sync_eval.metrics import Counts, count
from sync_store.errors import TrainingError
from sync_train.batches import Windowing
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.predict import row_probabilities
from sync_train.selection import hold_out, score_model
from sync_train.sequences import IGNORE, Labeled, Recording


@given(count=st.integers(2, 50), share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_recordings_are_divided_with_one_on_each_side_at_least(count: int, share: float, seed: int) -> None:
    names = [f"r{index}" for index in range(count)]
    learn, held_out = hold_out(names, share, seed)
    assert sorted(learn + held_out) == sorted(names)
    assert learn == [name for name in names if name in learn]
    assert len(learn) >= 1 and len(held_out) >= 1
    assert abs(len(held_out) - share * count) <= 1 or len(learn) == 1
    assert hold_out(names, share, seed) == (learn, held_out)


@given(count=st.integers(2, 20), share=st.floats(0.01, 0.99), seed=st.integers(0, 1000), data=st.data())
def test_one_that_is_cut_is_learnt_from(count: int, share: float, seed: int, data: st.DataObject) -> None:
    """And as many others are held out; where it wouldn't have been, the very same."""
    names = [f"r{index}" for index in range(count)]
    cut = data.draw(st.sampled_from(names))
    learn, held_out = hold_out(names, share, seed, cut=cut)
    assert cut in learn
    assert sorted(learn + held_out) == sorted(names)
    usual = hold_out(names, share, seed)
    assert len(held_out) == len(usual[1])
    assert cut in usual[1] or (learn, held_out) == usual


def test_each_recording_is_held_out_by_some_seed() -> None:
    names = [f"r{index}" for index in range(8)]
    assert {name for seed in range(60) for name in hold_out(names, 0.15, seed)[1]} == set(names)


def test_the_papers_split_holds_out_21_of_143() -> None:
    learn, held_out = hold_out([str(index) for index in range(143)], 0.15, 0)
    assert (len(learn), len(held_out)) == (122, 21)


def test_one_recording_cant_be_divided() -> None:
    with pytest.raises(TrainingError, match=r"1 recording can't be divided .* selection = \"last\""):
        hold_out(["only"], 0.15, 0)
    with pytest.raises(TrainingError, match=r"Add recordings or raise pairs.share, or keep the last epoch"):
        hold_out(["only"], 0.15, 0, cut="only", limit="pairs.share")


def test_score_is_the_sum_of_evaluations_metrics_by_row() -> None:
    torch.manual_seed(0)
    model = Segmenter(Standardizer(4), C2FTCN(feature_dim=4, num_classes=3))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.xavier_normal_(parameter, gain=2.0)
    windowing = Windowing(chunk_rows=3, max_chunks=20)
    recordings = []
    for number, length in enumerate((70, 35)):
        classes_T = torch.randint(3, (length // 5,)).repeat_interleave(5)
        classes_T[10:15] = IGNORE
        times = np.arange(length, dtype=np.int64)
        recording = Recording(name=str(number), rows_TD=torch.randn(length, 4).half(), timestamps=times)
        recordings.append(Labeled(recording=recording, classes_T=classes_T))
    total = Counts()
    for labeled in recordings:
        (probabilities_TK,) = row_probabilities(model, [labeled.recording.rows_TD], windowing)
        predicted = [max(range(3), key=lambda k: row[k]) for row in probabilities_TK.tolist()]
        total += count(np.array(predicted), labeled.classes_T.numpy())
    scores = total.scores()
    wanted = {name: getattr(scores, name) for name in ("edit", "f1_10", "f1_25", "f1_50", "mof")}
    found = score_model(model, recordings, windowing)
    assert found == pytest.approx({**wanted, "score": sum(wanted.values())})
    assert 0 < found["mof"] < 100
