"""The project file `sync.toml`: dataset, views, store, and each stage's settings."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from sync_store.bounded import read_text
from sync_store.config import from_table, shown, suggest
from sync_store.errors import ProjectError
from sync_store.names import check_name

PROJECT_FILE = "sync.toml"

STAGES = ("extract", "train", "evaluate")
"""Sections that each stage reads for itself."""

MAX_OFFSET_SECONDS = 1e9
"""Thirty years: 64 bits of nanoseconds hold it with room to spare."""

MAX_BYTES = 1 << 20
"""A project file is a page of text; anything larger is another file by mistake."""

MAX_DOTS = 100
"""In a line: Python's reader of TOML takes time and memory that grow with the square of a dotted key's parts."""


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


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where features are kept."""

    path: Path = Path("features.zarr")
    """Folder of the store, relative to sync.toml."""


@dataclass(frozen=True, kw_only=True)
class RunsConfig:
    """Where training leaves its runs, and evaluation finds them."""

    path: Path = Path("runs")
    """Folder of all runs, relative to sync.toml."""


@dataclass(frozen=True, kw_only=True)
class ExperimentsConfig:
    """The paper's tables."""

    path: Path = Path("experiments")
    """Folder of their runs, relative to sync.toml. Not among the others: `sync-eval` shows one's own by itself."""
    features: Mapping[str, str] = field(default_factory=dict)
    """Feature set of each role that tables name, such as tsm-exo = "my-tsm-exo"; by default "dinov2" is what this
    project extracts, and any other role a feature set of its own name."""

    def __post_init__(self) -> None:
        for role, name in self.features.items():
            check_name(f"features.{role}: feature set", name, ProjectError)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A parsed sync.toml."""

    file: Path
    dataset: DatasetConfig
    views: Mapping[str, ViewConfig]
    store: StoreConfig
    runs: RunsConfig
    experiments: ExperimentsConfig = field(default_factory=ExperimentsConfig)
    stages: Mapping[str, Mapping[str, Any]]

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self.file.parent

    @property
    def dataset_root(self) -> Path:
        """Absolute folder of the dataset."""
        return self.folder / self.dataset.root

    @property
    def splits_path(self) -> Path:
        """Absolute folder of the split files."""
        if self.dataset.splits is not None:
            return self.folder / self.dataset.splits
        beside = self.dataset.kind in ("assembly101", "egoexo4d")
        return (self.folder if beside else self.dataset_root) / "splits"

    @property
    def store_path(self) -> Path:
        """Absolute folder of the feature store."""
        return self.folder / self.store.path

    @property
    def runs_path(self) -> Path:
        """Absolute folder of the runs."""
        return self.folder / self.runs.path

    @property
    def experiments_path(self) -> Path:
        """Absolute folder of the runs of the paper's tables."""
        return self.folder / self.experiments.path

    def view(self, name: str) -> ViewConfig:
        """The view of that name.

        Raises:
            ProjectError: If sync.toml doesn't list it.
        """
        if name not in self.views:
            raise ProjectError(f"{self.file}: there is no view {name!r}{suggest(name, list(self.views))}")
        return self.views[name]

    def views_of_kind(self, kind: str) -> list[str]:
        """Names of the exo or of the ego views, in the file's order."""
        return [name for name, view in self.views.items() if view.kind == kind]

    def stage(self, name: str) -> dict[str, Any]:
        """The raw table of one stage, for the stage's own config dataclass."""
        return dict(self.stages.get(name, {}))


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


def find_project(start: Path) -> Path:
    """Find sync.toml in `start` or the nearest parent that has one.

    Raises:
        ProjectError: If there is none.
    """
    for folder in (start, *start.parents):
        if (file := folder / PROJECT_FILE).is_file():
            return file
    raise ProjectError(
        f"no {PROJECT_FILE} in {start} or any folder above it. Write one (see 'Your own recordings' in the "
        "README) or name it with --project"
    )


def load_project(path: Path | None = None) -> Project:
    """Read a project.

    Args:
        path: A sync.toml or the folder that holds it; by default it is looked for from the working
            directory upwards.

    Raises:
        ProjectError: If it can't be found or read, or has an unknown section or key.
    """
    file = find_project(Path.cwd()) if path is None else path / PROJECT_FILE if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ProjectError(f"{file}: is larger than {MAX_BYTES} bytes; expected a short TOML file")
        table = _parse(read_text(file, MAX_BYTES))
    except FileNotFoundError:
        raise ProjectError(f"{file}: there is no such file") from None
    except ProjectError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ProjectError(f"{file}: can't be read as TOML ({error})") from None
    known = ["dataset", "views", "store", "runs", "experiments", *STAGES]
    for section, content in table.items():
        if section not in known:
            raise ProjectError(f"{file}: unknown section [{section}]{suggest(section, known)}")
        if not isinstance(content, dict):
            raise ProjectError(f"{file}: {section} must be a section, written [{section}]")
    views = {
        check_name(f"{file}: view", name, ProjectError): from_table(
            ViewConfig, _table(content, f"{file} [views.{name}]"), f"{file} [views.{name}]"
        )
        for name, content in table.get("views", {}).items()
    }
    dataset = from_table(DatasetConfig, table.get("dataset", {}), f"{file} [dataset]")
    views = views or dict(DEFAULT_VIEWS.get(dataset.kind, {}))
    if not views:
        raise ProjectError(
            f'{file}: lists no views. Add one section a camera, such as [views.e4] kind = "ego"'
        )
    return Project(
        file=file.resolve(),
        dataset=dataset,
        views=views,
        store=from_table(StoreConfig, table.get("store", {}), f"{file} [store]"),
        runs=from_table(RunsConfig, table.get("runs", {}), f"{file} [runs]"),
        experiments=from_table(ExperimentsConfig, table.get("experiments", {}), f"{file} [experiments]"),
        stages={name: table[name] for name in STAGES if name in table},
    )


def _parse(text: str) -> dict[str, Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MAX_DOTS:
            raise ValueError(f"line {number} has more than {MAX_DOTS} dots")
    return tomllib.loads(text)


def _table(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ProjectError(f"{where}: expected a section with keys, got {shown(content)}")
    return content
