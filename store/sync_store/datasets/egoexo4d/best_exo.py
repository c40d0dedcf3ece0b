"""Which exo camera shows a take best, by the paper's rule (supplement, section H).

Annotators who described a take moment by moment marked the exo camera that shows each moment best. The paper takes
the camera marked in most of them, and where nothing is marked the camera that is marked most often in the dataset.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sync_store.datasets.egoexo4d.json_files import as_kind, field, is_true, optional_field, read_json
from sync_store.errors import DatasetError

FILES = ("atomic_descriptions_train.json", "atomic_descriptions_val.json")


class BestExo:
    """Marks of the best camera, by take and in all."""

    def __init__(self, marks: Mapping[str, Counter[str]]) -> None:
        """Take the number of marks of each camera, by take uid."""
        self._marks = marks
        self._total: Counter[str] = Counter()
        for of_take in marks.values():
            self._total.update(of_take)

    def choose(self, take_uid: str, cameras: Collection[str]) -> str | None:
        """The best of the take's cameras: the most marks in the take, then in the dataset, then the first name.

        So a take without marks gets the camera that is marked most often in the dataset, of those that it has.

        Returns:
            None if there is no camera to choose from.
        """
        of_take = self._marks.get(take_uid, Counter())
        ranked = sorted(cameras, key=lambda name: (-of_take[name], -self._total[name], name))
        return ranked[0] if ranked else None


def read_best_exo(folder: Path) -> BestExo:
    """Count the marks in the atomic descriptions, of which one of the two files may be missing.

    Rejected annotations don't count. `unsure` is about names of objects, so such moments do.

    Args:
        folder: The folder of the annotations.

    Raises:
        DatasetError: If both files are missing, or one is malformed.
    """
    paths = [folder / name for name in FILES if os.path.lexists(folder / name)]
    if not paths:
        raise DatasetError(
            f"{folder}: neither {FILES[0]} nor {FILES[1]} is there, which say which camera is the best-exo view. "
            f"Fetch them with: egoexo -o {folder.parent} --parts annotations"
        )
    marks: dict[str, Counter[str]] = {}
    for path in paths:
        content = read_json(path, "annotations")
        for uid, annotations in field(content, "annotations", dict, str(path)).items():
            marks.setdefault(uid, Counter()).update(_cameras(annotations, f"{path}: take {uid}"))
    return BestExo(marks)


def _cameras(annotations: Any, where: str) -> Iterable[str]:
    """The camera of each marked moment of a take, by all of its annotators."""
    for number, annotation in enumerate(as_kind(annotations, list, where)):
        at = f"{where}, annotation {number}"
        descriptions = field(annotation, "descriptions", list, at)
        if is_true(annotation.get("rejected")):
            continue
        for place, description in enumerate(descriptions):
            here = f"{at}, description {place}"
            best = optional_field(description, "best_exo", dict, here)
            camera = optional_field(best, "cam_id", str, f"{here}: best_exo") if best is not None else None
            if camera is not None:
                yield camera
