"""The project file `sync.toml`: dataset, views, store, and each stage's settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_store.bounded import read_toml
from sync_store.config import from_table, shown, suggest
from sync_store.dataset_config import DEFAULT_VIEWS, DatasetConfig, ViewConfig
from sync_store.errors import ProjectError
from sync_store.names import check_name
from sync_store.place import Place, to_place

PROJECT_FILE = "sync.toml"

STAGES = ("extract", "train", "evaluate")
"""Sections that each stage reads for itself."""

MAX_BYTES = 1 << 20
"""A project file is a page of text; anything larger is another file by mistake."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where features are kept."""

    path: str = "features.zarr"
    """Folder of the store, relative to sync.toml, or `s3://bucket/name`."""
    cache: str | None = None
    """Folder in which what is read of the store is kept, such as "$TMPDIR/features": for a store that is far away."""

    def __post_init__(self) -> None:
        to_place(self.path, Path())


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
    def store_path(self) -> Place:
        """Where the feature store is."""
        return to_place(self.store.path, self.folder)

    @property
    def cache_path(self) -> Path | None:
        """Absolute folder of what is kept of the store, if that is wanted; variables and ~ are filled in.

        Raises:
            ProjectError: If a variable isn't set.
        """
        if self.store.cache is None:
            return None
        text = os.path.expandvars(self.store.cache)
        if "$" in text:
            raise ProjectError(f"{self.file}: [store] cache {text!r} names a variable that isn't set")
        return self.folder / Path(text).expanduser()

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
        table = read_toml(file, MAX_BYTES)
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


def _table(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ProjectError(f"{where}: expected a section with keys, got {shown(content)}")
    return content
