"""Recall among the nearest segments, against scikit-learn, and chance, against counting every draw."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from sync_train.checks import retrieval
from sync_train.checks.config import Distance, RetrievalConfig
from sync_train.checks.retrieval import chance, find_hits, score_retrieval
from sync_train.checks.segments import SegmentSet


def segments(features: np.ndarray, labels: list[str], recordings: list[str] | None = None) -> SegmentSet:
    times = np.arange(len(labels), dtype=np.int64)
    return SegmentSet(
        features_SD=torch.from_numpy(features).float(),
        labels=tuple(labels),
        recordings=tuple(recordings or ["r"] * len(labels)),
        start_ns=times,
        stop_ns=times + 1,
        num_without_rows=0,
    )


def random_segments(rng: np.random.Generator, number: int, *, shift: float = 0.0) -> SegmentSet:
    """Classes and recordings leave traces in the features."""
    classes, recordings = rng.integers(0, 8, number), rng.integers(0, 4, number)
    features = rng.normal(0, 1, (number, 12)) + shift
    features[:, :4] += 2.0 * (classes[:, None] % 4)
    return segments(features, [f"c{c}" for c in classes], [f"r{r}" for r in recordings])


def by_scikit_learn(
    queries: SegmentSet, gallery: SegmentSet, k: int, distance: Distance, *, other_recordings: bool
) -> list[bool]:
    """One query after the other, against just the segments that it may retrieve."""
    hits = []
    for query, label, recording in zip(queries.features_SD, queries.labels, queries.recordings, strict=True):
        allowed = [
            n for n in range(len(gallery)) if not other_recordings or gallery.recordings[n] != recording
        ]
        search = NearestNeighbors(n_neighbors=min(k, len(allowed)), metric=distance)
        search.fit(gallery.features_SD[allowed].double().numpy())
        (found,) = search.kneighbors(query[None].double().numpy(), return_distance=False)
        hits.append(label in {gallery.labels[allowed[number]] for number in found})
    return hits


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("other_recordings", [False, True])
@pytest.mark.parametrize("k", [1, 5])
def test_hits_are_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, distance: Distance, other_recordings: bool, k: int
) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", 7)
    rng = np.random.default_rng(k)
    queries, gallery = random_segments(rng, 60), random_segments(rng, 90, shift=1.5)
    config = RetrievalConfig(k=k, distance=distance)
    found = find_hits(queries, gallery, config, other_recordings=other_recordings)
    wanted = by_scikit_learn(queries, gallery, k, distance, other_recordings=other_recordings)
    assert found.tolist() == wanted
    assert 0 < sum(wanted) < len(wanted), "the case says something"


def test_distances_differ_in_what_is_near() -> None:
    """Seen from (1, 0), (0.5, 0.5) is nearer, and (3, 0) lies in the same direction."""
    query = segments(np.array([[1.0, 0.0]]), ["a"])
    gallery = segments(np.array([[3.0, 0.0], [0.5, 0.5]]), ["a", "b"])
    for distance, hit in (("euclidean", False), ("cosine", True)):
        config = RetrievalConfig(k=1, distance=distance)  # type: ignore[arg-type]
        assert find_hits(query, gallery, config).tolist() == [hit]


def test_of_equally_near_ones_the_first_are_taken() -> None:
    query = segments(np.zeros((1, 3)), ["a"])
    same = np.ones((4, 3))
    assert find_hits(query, segments(same, ["b", "a", "a", "a"]), RetrievalConfig(k=1)).tolist() == [False]
    assert find_hits(query, segments(same, ["b", "a", "a", "a"]), RetrievalConfig(k=2)).tolist() == [True]


def test_what_is_left_out_is_never_retrieved_to_fill_up() -> None:
    """Two of three gallery segments are of the query's recording, and five are asked for."""
    query = segments(np.zeros((1, 3)), ["a"], ["x"])
    gallery = segments(np.ones((3, 3)), ["a", "a", "b"], ["x", "x", "y"])
    config = RetrievalConfig(k=5)
    assert find_hits(query, gallery, config).tolist() == [True]
    assert find_hits(query, gallery, config, other_recordings=True).tolist() == [False]


def test_scores() -> None:
    """Every query's nearest is its own moment; in other recordings the wrong class is nearest."""
    query = segments(np.array([[0.0, 0], [10, 0]]), ["a", "b"], ["x", "y"])
    gallery = segments(
        np.array([[0.1, 0], [10.1, 0], [0.5, 0], [9, 0]]), ["a", "b", "b", "a"], ["x", "y", "y", "x"]
    )
    assert score_retrieval(query, gallery, RetrievalConfig(k=1)) == {
        "recall_1": 100.0,
        "recall_1_other_recordings": 0.0,
        "chance": 50.0,
        "chance_other_recordings": 0.0,
    }


def test_one_recording_has_no_others() -> None:
    query = segments(np.zeros((1, 2)), ["a"])
    assert score_retrieval(query, segments(np.zeros((2, 2)), ["a", "b"]), RetrievalConfig()) == {
        "recall_5": 100.0,
        "chance": 100.0,
    }


def test_chance_by_hand() -> None:
    """Two of a, b, a, c are drawn: a is missed in 1 of 6 draws, b and c in 3 of 6, d in all."""
    gallery = segments(np.zeros((4, 1)), ["a", "b", "a", "c"], ["x", "x", "y", "y"])
    for label, share in (("a", 5 / 6), ("b", 1 / 2), ("c", 1 / 2), ("d", 0)):
        query = segments(np.zeros((1, 1)), [label], ["z"])
        assert chance(query, gallery, 2) == pytest.approx(100 * share)
    all_four = segments(np.zeros((4, 1)), ["a", "b", "c", "d"], ["z"] * 4)
    assert chance(all_four, gallery, 2) == pytest.approx(100 * (5 / 6 + 1 / 2 + 1 / 2 + 0) / 4)
    of_x = segments(np.zeros((1, 1)), ["a"], ["x"])
    assert chance(of_x, gallery, 1, other_recordings=True) == pytest.approx(50), "a or c of y"
    assert chance(of_x, gallery, 9) == 100


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=7),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=3),
    st.integers(1, 8),
    st.booleans(),
)
def test_chance_is_the_share_of_all_draws(
    of_gallery: list[tuple[str, str]], of_queries: list[tuple[str, str]], k: int, other_recordings: bool
) -> None:
    gallery, queries = (
        segments(np.zeros((len(pairs), 1)), [label for label, _ in pairs], [name for _, name in pairs])
        for pairs in (of_gallery, of_queries)
    )
    shares = []
    for label, recording in of_queries:
        allowed = [c for c, name in of_gallery if not other_recordings or name != recording]
        draws = list(combinations(allowed, min(k, len(allowed))))
        shares.append(sum(label in draw for draw in draws) / len(draws))
    wanted = 100 * sum(shares) / len(shares)
    assert math.isclose(chance(queries, gallery, k, other_recordings=other_recordings), wanted, abs_tol=1e-9)


def test_random_features_have_chance() -> None:
    """Within four standard errors."""
    rng = np.random.default_rng(0)
    labels = [str(label) for label in rng.integers(0, 20, 3000)]
    queries, gallery = (segments(rng.normal(size=(n, 6)), labels[:n]) for n in (3000, 400))
    found = score_retrieval(queries, gallery, RetrievalConfig())
    share = found["chance"] / 100
    assert abs(found["recall_5"] - found["chance"]) < 400 * math.sqrt(share * (1 - share) / 3000)


def test_k_must_be_a_number_of_segments() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        RetrievalConfig(k=0)
