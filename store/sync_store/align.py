"""Joins two views of a recording by time. Views start, end and tick differently; indices never match."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sync_store.errors import AlignmentError
from sync_store.labels import ns_to_text
from sync_store.rows import period_ns

Int64s = npt.NDArray[np.int64]

MIN_COVERAGE = 0.5
"""Below this share of the shorter view's rows, a pair is refused: the clocks or the files are wrong."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Rows of two views that show the same moments."""

    exo_rows: Int64s
    """int64 (P,), strictly increasing row numbers of the exo view."""
    ego_rows: Int64s
    """int64 (P,), the ego row nearest in time to each."""
    coverage: float
    """P over the rows of the shorter view, 0–1."""
    max_distance_ns: int
    """Largest time between two joined rows."""


def align(
    exo: Int64s,
    ego: Int64s,
    *,
    where: str,
    tolerance_ns: int | None = None,
    min_coverage: float = MIN_COVERAGE,
) -> Alignment:
    """Join each row to the nearest of the other view, where each is the other's nearest.

    Args:
        exo: int64 (T1,) timestamps in nanoseconds on the recording's clock, strictly increasing.
        ego: int64 (T2,), likewise.
        where: Recording and views, for the message.
        tolerance_ns: Rows further apart aren't joined; by default the longer of the two views' periods: two
            frames nearest to one grid point, one on either side, are up to that far apart. Being each
            other's nearest already keeps rows beside a gap from joining the wrong partner.
        min_coverage: Refuse below this share of the shorter view's rows.

    Returns:
        Strictly increasing, one-to-one pairs of rows.

    Raises:
        AlignmentError: If too few rows have a partner.
    """
    if tolerance_ns is None:
        tolerance_ns = max(period_ns(exo), period_ns(ego))
    ego_of_exo = nearest(ego, exo)
    exo_of_ego = nearest(exo, ego)
    mutual = exo_of_ego[ego_of_exo] == np.arange(len(exo))
    distance = np.abs(exo - ego[ego_of_exo])
    exo_rows = np.flatnonzero(mutual & (distance <= tolerance_ns))
    coverage = len(exo_rows) / min(len(exo), len(ego))
    if not len(exo_rows) or coverage < min_coverage:
        raise AlignmentError(
            f"{where}: only {coverage:.1%} of the shorter view's rows have a partner within "
            f"{tolerance_ns / 1e6:.1f} ms (at least {min_coverage:.0%} needed). One view runs from "
            f"{ns_to_text(int(exo[0]))} to {ns_to_text(int(exo[-1]))} s, the other from "
            f"{ns_to_text(int(ego[0]))} to {ns_to_text(int(ego[-1]))} s. "
            "Check the offsets and the clock of the views"
        )
    return Alignment(
        exo_rows=exo_rows,
        ego_rows=ego_of_exo[exo_rows],
        coverage=coverage,
        max_distance_ns=int(distance[exo_rows].max()),
    )


def nearest(targets: Int64s, times: Int64s) -> Int64s:
    """Row of `targets`, int64 (T,) increasing, nearest to each of `times`; the earlier one where two are as near."""
    after = np.searchsorted(targets, times).clip(0, len(targets) - 1)
    before = (after - 1).clip(0)
    nearer_before = np.abs(times - targets[before]) <= np.abs(targets[after] - times)
    return np.where(nearer_before, before, after).astype(np.int64)
