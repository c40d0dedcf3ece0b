"""Cross-view retrieval: is a segment of the query's class among the nearest ones of the other view (supplement J)?

Axes: Q queries, G gallery segments, D feature width.
"""

import math
from collections import Counter

import torch
from torch.nn import functional as F

from sync_train.checks.config import Distance, RetrievalConfig
from sync_train.checks.segments import SegmentSet

QUERIES = 512
"""Queries that are compared with the whole gallery at once."""


def score_retrieval(queries: SegmentSet, gallery: SegmentSet, config: RetrievalConfig) -> dict[str, float]:
    """Recall among the k nearest, and what k segments drawn at random would have, in percent.

    `recall_5` is the paper's figure: the gallery is all of the other view, with the very segment that the query shows
    from the other side. `…_other_recordings` leaves the query's own recording out, so that a segment counts as found
    only where the class is recognised, and not the moment; it needs two recordings.
    """
    name = f"recall_{config.k}"
    scores = {
        name: _percent(find_hits(queries, gallery, config)),
        "chance": chance(queries, gallery, config.k),
    }
    if len({*gallery.recordings}) < 2:
        return scores
    return {
        name: scores[name],
        f"{name}_other_recordings": _percent(find_hits(queries, gallery, config, other_recordings=True)),
        "chance": scores["chance"],
        "chance_other_recordings": chance(queries, gallery, config.k, other_recordings=True),
    }


def find_hits(
    queries: SegmentSet, gallery: SegmentSet, config: RetrievalConfig, *, other_recordings: bool = False
) -> torch.Tensor:
    """Whether at least one of the k nearest gallery segments has the query's class.

    Of equally near ones the first in the gallery's order are taken, and all where there are fewer than k.

    Args:
        queries: Segments of one view.
        gallery: Segments of the other.
        config: k and the distance.
        other_recordings: Retrieve from recordings other than the query's alone.

    Returns:
        bool (Q,).
    """
    device = gallery.features_SD.device
    class_Q, class_G = _numbers(queries.labels, gallery.labels, device)
    recording_Q, recording_G = _numbers(queries.recordings, gallery.recordings, device)
    gallery_GD = gallery.features_SD.double()
    hits = []
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        distance_QG = _distances(queries.features_SD[part].double(), gallery_GD, config.distance)
        if other_recordings:
            distance_QG[recording_Q[part, None] == recording_G] = math.inf
        nearest = distance_QG.sort(dim=1, stable=True)
        found_QK = class_G[nearest.indices[:, : config.k]] == class_Q[part, None]
        hits.append((found_QK & nearest.values[:, : config.k].isfinite()).any(dim=1))
    return torch.cat(hits)


def chance(queries: SegmentSet, gallery: SegmentSet, k: int, *, other_recordings: bool = False) -> float:
    """Expected recall in percent of k gallery segments drawn without replacement.

    A query's class has n of N segments there, so none is drawn with probability C(N - n, k) / C(N, k), the
    hypergeometric distribution at 0.
    """
    all_of = Counter(gallery.labels)
    of_recording = Counter(gallery.recordings)
    of_both = Counter(zip(gallery.recordings, gallery.labels, strict=True))
    found = []
    for recording, label in zip(queries.recordings, queries.labels, strict=True):
        num_all, num_same = len(gallery), all_of[label]
        if other_recordings:
            num_all -= of_recording[recording]
            num_same -= of_both[recording, label]
        num_drawn = min(k, num_all)
        found.append(1 - math.comb(num_all - num_same, num_drawn) / math.comb(num_all, num_drawn))
    return 100 * math.fsum(found) / len(found)


def _distances(queries_QD: torch.Tensor, gallery_GD: torch.Tensor, distance: Distance) -> torch.Tensor:
    """Distances (Q, G) up to what doesn't change their order."""
    if distance == "cosine":
        return -F.normalize(queries_QD, dim=1) @ F.normalize(gallery_GD, dim=1).T
    return gallery_GD.square().sum(dim=1) - 2 * queries_QD @ gallery_GD.T


def _numbers(
    queries: tuple[str, ...], gallery: tuple[str, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Names as numbers, equal ones where names are equal."""
    ids = {name: number for number, name in enumerate(dict.fromkeys((*queries, *gallery)))}
    of_queries, of_gallery = (
        torch.tensor([ids[name] for name in names], device=device) for names in (queries, gallery)
    )
    return of_queries, of_gallery


def _percent(hits_Q: torch.Tensor) -> float:
    return 100 * int(hits_Q.sum()) / len(hits_Q)
