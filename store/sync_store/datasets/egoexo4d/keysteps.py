"""EgoExo4D's keysteps: what is done when, and the tree of steps of each scenario.

A scenario's steps are a tree: its root, id 0, is the scenario, its leaves are the steps that are annotated, and
between them are phases, at a depth that differs from branch to branch. Annotated steps may overlap.
(EGO4D/Ego-Exo4D-docs, docs/annotations/keystep.md.)
"""

import itertools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sync_store.datasets.base import Action
from sync_store.datasets.egoexo4d.json_files import as_kind, field, read_json, shorten
from sync_store.errors import DatasetError
from sync_store.labels import MAX_SECONDS, Segments, first_seen, seconds_to_ns

FILES = ("keystep_train.json", "keystep_val.json")
"""The test split's keysteps aren't public."""

Level = Literal["parent", "step"] | int
"""See `sync_store.project.EgoExo4DConfig.label_level`."""

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The tree of one scenario's steps."""

    paths: Mapping[str, tuple[str, ...]]
    """By step id: names from below the root down to the step; () for the root itself."""
    leaves: tuple[str, ...]
    """Ids of the steps that have none below them, in order."""

    def label(self, step_id: str, level: Level) -> str | None:
        """What a step is called at a level, None for the root, which is no step."""
        path = self.paths[step_id]
        if not path or level == "step":
            return path[-1] if path else None
        if level == "parent":
            return path[-2] if step_id in self.leaves and len(path) > 1 else path[-1]
        return path[min(level, len(path)) - 1]

    def classes(self, level: Level) -> tuple[str, ...]:
        """What the leaves are called at a level, each name once."""
        return first_seen(self.label(leaf, level) or "" for leaf in self.leaves if self.paths[leaf])


@dataclass(frozen=True, kw_only=True)
class TakeKeysteps:
    """The annotation of one take, not yet checked: most takes of the files are never asked for."""

    scenario: str
    segments: list[Any]
    where: str
    """File and take, for messages."""


@dataclass(frozen=True, kw_only=True)
class Keysteps:
    """Both files."""

    takes: Mapping[str, TakeKeysteps]
    """By take uid."""
    taxonomies: Mapping[str, Taxonomy]
    """By scenario."""

    def scenario(self, take_uid: str) -> str | None:
        """The take's scenario, None if it has no keysteps."""
        return self.takes[take_uid].scenario if take_uid in self.takes else None

    def actions(self, take_uid: str, level: Level) -> list[Action]:
        """The take's keysteps at a level, in order of their start; they may overlap.

        Raises:
            DatasetError: If one is malformed, or its step isn't in the taxonomy.
        """
        take = self.takes.get(take_uid)
        if take is None:
            return []
        if take.scenario not in self.taxonomies:
            have = ", ".join(self.taxonomies)
            raise DatasetError(f"{take.where}: scenario {take.scenario!r} has no taxonomy; have: {have}")
        taxonomy = self.taxonomies[take.scenario]
        classes = taxonomy.classes(level)
        actions = [
            _action(segment, taxonomy, level, classes, f"{take.where}, segment {number}")
            for number, segment in enumerate(take.segments)
        ]
        return sorted(actions, key=lambda action: action.start_ns)


def read_keysteps(folder: Path) -> Keysteps:
    """Read the keysteps, of which one of the two files, or both, may be missing.

    Args:
        folder: The folder of the annotations.

    Raises:
        DatasetError: If a file is malformed, the two contradict each other, or a take is in both.
    """
    takes: dict[str, TakeKeysteps] = {}
    taxonomies: dict[str, Taxonomy] = {}
    for path in (folder / name for name in FILES):
        if not os.path.lexists(path):
            continue
        content = read_json(path, "annotations")
        for scenario, taxonomy in _taxonomies(content, f"{path}: taxonomy").items():
            if taxonomies.setdefault(scenario, taxonomy) != taxonomy:
                raise DatasetError(
                    f"{path}: taxonomy: the steps of {scenario!r} aren't those of {FILES[0]}. Fetch both files of "
                    f"one release: egoexo -o {folder.parent} --parts annotations"
                )
        for uid, record in field(content, "annotations", dict, str(path)).items():
            where = f"{path}: take {uid}"
            if uid in takes:
                raise DatasetError(f"{where}: is in {FILES[0]} already")
            takes[uid] = TakeKeysteps(
                scenario=field(record, "scenario", str, where),
                segments=field(record, "segments", list, where),
                where=where,
            )
    return Keysteps(takes=takes, taxonomies=taxonomies)


def flatten(actions: list[Action], winner: Literal["later", "earlier"]) -> Segments:
    """Steps that may overlap as segments that don't: at each moment one of those that are under way.

    Args:
        actions: In order of their start.
        winner: "later": the one that started last, and of those the one that stops first; what it interrupts
            goes on after it, if it lasts that long. "earlier": the opposite order. Equal spans: the file's first.

    Returns:
        The segments; neighbours of one label that touch are joined. Time without a step is in none.
    """
    sign = 1 if winner == "later" else -1
    edges = sorted({edge for action in actions for edge in (action.start_ns, action.stop_ns)})
    pieces: list[Action] = []
    for start_ns, stop_ns in itertools.pairwise(edges):
        held = [action for action in actions if action.start_ns <= start_ns and stop_ns <= action.stop_ns]
        if not held:
            continue
        # max() gives the first of equals
        label = max(held, key=lambda action: (sign * action.start_ns, -sign * action.stop_ns)).label
        if pieces and pieces[-1].stop_ns == start_ns and pieces[-1].label == label:
            start_ns = pieces.pop().start_ns
        pieces.append(Action(start_ns=start_ns, stop_ns=stop_ns, label=label))
    return Segments(
        start_ns=np.array([piece.start_ns for piece in pieces], dtype=np.int64),
        stop_ns=np.array([piece.stop_ns for piece in pieces], dtype=np.int64),
        labels=tuple(piece.label for piece in pieces),
    )


def _action(segment: Any, taxonomy: Taxonomy, level: Level, classes: tuple[str, ...], where: str) -> Action:
    start_ns, stop_ns = _time(segment, "start_time", where), _time(segment, "end_time", where)
    if start_ns >= stop_ns:
        got = f"{shorten(segment['start_time'])} and {shorten(segment['end_time'])}"
        raise DatasetError(f"{where}: end_time must be after start_time, got {got}")
    step_id = _id(segment, "step_id", where)
    if step_id not in taxonomy.paths:
        raise DatasetError(f"{where}: step_id {step_id} isn't in the taxonomy of the take's scenario")
    label = taxonomy.label(step_id, level)
    if label is None or label not in classes:
        raise DatasetError(f"{where}: step_id {step_id} has steps below it; expected one without")
    return Action(start_ns=start_ns, stop_ns=stop_ns, label=label)


def _taxonomies(content: Any, where: str) -> dict[str, Taxonomy]:
    """The trees by scenario. The sample of the release is an object of objects, its text says a list."""
    trees = content.get("taxonomy") if isinstance(content, dict) else None
    if isinstance(trees, dict):
        return {scenario: _tree(nodes, f"{where}.{scenario}")[1] for scenario, nodes in trees.items()}
    if isinstance(trees, list):
        return dict(_tree(nodes, f"{where}[{index}]") for index, nodes in enumerate(trees))
    raise DatasetError(f"{where} must be an object {{…}} or a list […] of scenarios, got {shorten(trees)}")


def _tree(nodes: Any, where: str) -> tuple[str, Taxonomy]:
    """The root's name, and the tree."""
    records = list(nodes.values()) if isinstance(nodes, dict) else as_kind(nodes, list, where)
    names: dict[str, str] = {}
    parents: dict[str, str | None] = {}
    for record in records:
        step_id = _id(record, "id", where)
        if step_id in names:
            raise DatasetError(f"{where}: id {step_id} is there twice")
        names[step_id] = field(record, "name", str, f"{where}, id {step_id}").strip()
        has_parent = record.get("parent_id") is not None
        parents[step_id] = _id(record, "parent_id", f"{where}, id {step_id}") if has_parent else None
    roots = [step_id for step_id, parent in parents.items() if parent is None]
    if len(roots) != 1:
        raise DatasetError(f"{where}: one step must have no parent_id, the scenario itself; got {len(roots)}")
    paths = {step_id: _path(step_id, names, parents, where) for step_id in names}
    leaves = [step_id for step_id in names if step_id not in set(parents.values())]
    leaves.sort(key=lambda step_id: (len(step_id), step_id))
    return names[roots[0]], Taxonomy(paths=paths, leaves=tuple(leaves))


def _path(
    step_id: str, names: Mapping[str, str], parents: Mapping[str, str | None], where: str
) -> tuple[str, ...]:
    path: list[str] = []
    at = step_id
    while (parent := parents[at]) is not None:
        path.append(names[at])
        if parent not in parents or len(path) > len(parents):
            problem = "isn't there" if parent not in parents else "is below the step itself"
            raise DatasetError(f"{where}, id {at}: parent_id {parent} {problem}")
        at = parent
    return tuple(reversed(path))


def _id(record: Any, key: str, where: str) -> str:
    """An id, which is a whole number in the release and a text where it is a key: here a text."""
    value = as_kind(record, dict, where).get(key)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return str(int(value))
    return str(field(record, key, int, where))


def _time(segment: Any, key: str, where: str) -> int:
    """Seconds on the clock of the frame-aligned videos, as nanoseconds rounded once."""
    value = as_kind(segment, dict, where).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise DatasetError(f"{where}: {key} must be a number of seconds, got {shorten(value)}")
    if abs(value) > MAX_SECONDS:
        raise DatasetError(
            f"{where}: {key} is {shorten(value)} seconds, more than {MAX_SECONDS}; is it in another unit?"
        )
    return seconds_to_ns(Fraction(str(value)))
