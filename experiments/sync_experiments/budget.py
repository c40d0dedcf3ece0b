"""Hours of video that a table with a fixed budget learns from (supplement J).

The paper compares 10 hours of labelled video with 5 of labelled video and 5 of pairs. A smaller dataset has a smaller
budget: as much as lets both rows have their share.
"""

from typing import Any

from sync_store.align import MIN_COVERAGE, align
from sync_store.datasets import open_dataset
from sync_store.errors import DatasetError
from sync_store.labels import NS_PER_SECOND
from sync_store.project import Project
from sync_store.reader import FeatureStore
from sync_store.rows import period_ns

SECONDS_PER_HOUR = 3600


def hours_of_budget(
    project: Project,
    *,
    paper_hours: float,
    teacher: tuple[str, str],
    student: tuple[str, str],
) -> float:
    """Hours that a dataset has for such a table: min(paper's, labelled hours, twice the hours of pairs).

    Counted as `sync-train` counts, rows times their period.

    Args:
        project: Its splits and store.
        paper_hours: At most.
        teacher: Feature set and view of the labelled recordings.
        student: Feature set and view that is adapted to.

    Raises:
        SyncError: If splits or features can't be read.
    """
    dataset, store = open_dataset(project), FeatureStore(project.store_path)
    train, adapt = (dataset.split(_split_name(project, kind)) for kind in ("train", "adapt"))
    stored, paired = ({*store.recordings(*where)} for where in (teacher, student))
    labelled_ns = 0
    for name in train:
        if name in stored:
            times = store.timestamps(*teacher, name)
            labelled_ns += len(times) * period_ns(times)
    pairs_ns = 0
    for name in adapt:
        if name in stored & paired:
            times, others = store.timestamps(*teacher, name), store.timestamps(*student, name)
            where = f"recording {name}, views {teacher[1]} and {student[1]}"
            joined = align(times, others, where=where, **_joining(project))
            pairs_ns += len(joined.exo_rows) * period_ns(times)
    if not labelled_ns or not pairs_ns:
        raise DatasetError(
            f"{project.file}: neither split may be without features for a budget of hours: train, adapt"
        )
    return min(
        paper_hours,
        labelled_ns / NS_PER_SECOND / SECONDS_PER_HOUR,
        2 * pairs_ns / NS_PER_SECOND / SECONDS_PER_HOUR,
    )


def share_of_hours(hours: float, share: float) -> float:
    """A share of a budget in hours, rounded down to the second."""
    return int(hours * share * SECONDS_PER_HOUR) / SECONDS_PER_HOUR


def _joining(project: Project) -> dict[str, Any]:
    """How [train] says that views are joined."""
    train = project.stage("train")
    tolerance, coverage = train.get("tolerance_seconds"), train.get("min_coverage", MIN_COVERAGE)
    tolerance_ns = round(tolerance * NS_PER_SECOND) if isinstance(tolerance, int | float) else None
    return {"tolerance_ns": tolerance_ns, "min_coverage": coverage}


def _split_name(project: Project, kind: str) -> str:
    splits = project.stage("train").get("splits", {})
    name = splits.get(kind, kind) if isinstance(splits, dict) else kind
    return str(name)
