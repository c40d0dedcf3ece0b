"""Sections [dataset] and [views] of sync.toml: where videos, labels and splits are, and what each camera is.

Config dataclasses alone; `project` reads the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from sync_store.config import shown
from sync_store.errors import ProjectError

MAX_OFFSET_SECONDS = 1e9
"""Thirty years: 64 bits of nanoseconds hold it with room to spare."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """One camera's role."""

    kind: Literal["exo", "ego"]
    """Fixed in the room, or worn."""
    offset_seconds: float = 0.0
    """Added to the time of every frame of this view to get the recording's clock."""
    clock: Literal["container", "stream-start"] = "container"
    """Where the file's own time begins: as the container says, or at the stream's first frame."""

    @property
    def offset(self) -> Fraction:
        """`offset_seconds` as the decimal number that was written."""
        return Fraction(str(self.offset_seconds))

    def __post_init__(self) -> None:
        if not abs(self.offset_seconds) < MAX_OFFSET_SECONDS:
            raise ValueError(
                f"offset_seconds must be a number of seconds below {MAX_OFFSET_SECONDS:.0e}, "
                f"got {self.offset_seconds}"
            )


@dataclass(frozen=True, kw_only=True)
class Assembly101Config:
    """Section [dataset.assembly101]: what only Assembly101 has."""

    annotations: Path | None = None
    """Folder of the annotations, relative to sync.toml; by default it is looked for below root."""


@dataclass(frozen=True, kw_only=True)
class EgoExo4DConfig:
    """Section [dataset.egoexo4d]: what only EgoExo4D has."""

    scenarios: tuple[str, ...] = (
        "Making Cucumber & Tomato Salad",
        "Cooking Scrambled Eggs",
        "Cooking an Omelet",
        "Making Sesame-Ginger Asian Salad",
        "Cooking Tomato & Eggs",
    )
    """Takes of these scenarios only, by task_name or parent_task_name of takes.json; [] for all. The paper's five
    by default (section 4), in the release's spelling."""
    label_level: Literal["parent", "step"] | int = "parent"
    """Which step of the tree is the class: the annotated step's parent (a step right below the scenario stands
    for itself), the annotated step, or its ancestor at a depth, 1 being right below the scenario (a branch that
    ends earlier gives its last step). The paper's is the parent."""
    overlap: Literal["later", "earlier"] = "later"
    """Where steps overlap, the one that holds: the one that started last, after which an earlier one goes on if
    it lasts longer; or the one that started first. The paper doesn't say."""
    resolution: Literal["full", "448"] = "full"
    """Videos as recorded, or with a short side of 448 pixels (`downscaled_takes/448`)."""

    def __post_init__(self) -> None:
        if len(set(self.scenarios)) < len(self.scenarios):
            raise ValueError(f"scenarios must be named once each, got {list(self.scenarios)}")
        if isinstance(self.label_level, int) and self.label_level < 1:
            raise ValueError(
                f'label_level must be "parent", "step" or a depth from 1 on, got {self.label_level}'
            )


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Where videos, labels and splits are."""

    kind: Literal["folder", "assembly101", "egoexo4d", "frames"] = "folder"
    """Layout of the files on disk: one's own folders, a published dataset, or the field's folders of features
    and frame labels (Breakfast, 50Salads, GTEA)."""
    root: Path = Path()
    """Folder of the dataset, relative to sync.toml."""
    splits: Path | None = None
    """Folder of the split files, relative to sync.toml; by default splits/ below root, and for the published
    datasets splits/ beside sync.toml, since their own folder is often shared and read-only."""
    label_fps: float | str = 30.0
    """Rate of the label grid, on which scores are counted, and of labels in the frame form. A fraction may
    be written as text: "30000/1001"."""
    background: tuple[str, ...] = ()
    """Classes that mean "nothing of interest": neither trained on nor scored as segments."""
    assembly101: Assembly101Config = Assembly101Config()
    """What only that kind has."""
    egoexo4d: EgoExo4DConfig = EgoExo4DConfig()
    """What only that kind has."""

    @property
    def label_rate(self) -> Fraction:
        """`label_fps` as an exact rational."""
        return parse_rate(self.label_fps, "label_fps")

    def __post_init__(self) -> None:
        _ = self.label_rate
        for other, default in (("assembly101", Assembly101Config()), ("egoexo4d", EgoExo4DConfig())):
            if self.kind != other and getattr(self, other) != default:
                raise ValueError(
                    f"section [dataset.{other}] is for kind {other!r}, but kind is {self.kind!r}"
                )


DEFAULT_VIEWS: Mapping[str, Mapping[str, ViewConfig]] = {
    "assembly101": {
        **{
            name: ViewConfig(kind="exo", clock="stream-start")
            for name in ("v3", "v4", "v1", "v2", "v5", "v6", "v7", "v8")
        },
        **{name: ViewConfig(kind="ego", clock="stream-start") for name in ("e4", "e1", "e2", "e3")},
    },
    "egoexo4d": {
        "best-exo": ViewConfig(kind="exo", clock="stream-start"),
        "ego": ViewConfig(kind="ego", clock="stream-start"),
    },
    "frames": {"video": ViewConfig(kind="exo")},
}
"""Views of a dataset whose sync.toml lists none. The paper's stand first, since the first of its kind is what
training takes. Assembly101's labels count frames from the stream's first (`VideoSource.clock`), and EgoExo4D's
videos show the same moment in frames of the same number."""


def parse_rate(value: float | str, key: str) -> Fraction:
    """Read a frame rate as an exact rational: 30, 29.97, "30000/1001".

    Raises:
        ProjectError: If it isn't a positive number.
    """
    try:
        rate = Fraction(str(value)) if len(str(value)) < 32 and "e" not in str(value).lower() else Fraction(0)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 10_000:
        raise ProjectError(f'{key} must be a rate such as 30 or "30000/1001", got {shown(value)}')
    return rate
