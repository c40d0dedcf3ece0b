"""What a run is made from: views, splits, classes, features."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import combinations
from typing import Any

import torch

from sync_store.cache import open_store
from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import DatasetError, NoVideoError, ProjectError, SyncError
from sync_store.project import Project
from sync_store.provenance import code_version, library_versions, machine
from sync_store.reader import FeatureStore
from sync_train.batches import Windowing
from sync_train.config import DISTILLED, ORACLES, Precision, TrainConfig
from sync_train.device import choose_device
from sync_train.models.adapter import AdapterConfig
from sync_train.sequences import Source, free_room, training_classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a run is made from."""

    dataset: Dataset
    source: Source
    """Features of the exo view."""
    ego_source: Source
    """Features of the ego view: `source` itself, unless the config names another feature set for it."""
    config: TrainConfig
    exo: str
    """The fixed camera's view."""
    ego: str | None
    """The worn camera's view; None in a project that has none, where no method needs one."""
    device: torch.device

    @property
    def ego_view(self) -> str:
        """`ego`, for what needs one."""
        assert self.ego is not None, "make_setting refuses what needs an ego view where there is none"
        return self.ego

    @property
    def teacher_view(self) -> str:
        """View of the labelled recordings that the teacher learns from."""
        return self.exo if self.config.direction == "exo-to-ego" else self.ego_view

    @property
    def student_view(self) -> str:
        """View that the teacher is to be adapted to."""
        return self.ego_view if self.config.direction == "exo-to-ego" else self.exo

    def learnt_view(self, method: str) -> str:
        """View that a method's labels are of."""
        if method == "exo-oracle":
            return self.exo
        return self.ego_view if method == "ego-oracle" else self.teacher_view

    def tested_view(self, method: str) -> str:
        """View that a method is tested on."""
        return self.learnt_view(method) if method in ORACLES else self.student_view

    def source_of(self, view: str) -> Source:
        """Features of a view."""
        return self.ego_source if view == self.ego else self.source

    @cached_property
    def windowing(self) -> Windowing:
        """Windows and chunks."""
        c = self.config
        return Windowing(chunk_rows=c.chunk_rows, max_chunks=c.max_chunks, pad_to=c.pad_to)

    @cached_property
    def precision(self) -> Precision:
        """In which models multiply."""
        if self.config.precision == "auto":
            return "bfloat16" if self.device.type == "cuda" else "float32"
        return self.config.precision

    @cached_property
    def adapter(self) -> AdapterConfig:
        """Sizes of the adapter.

        Raises:
            ProjectError: If they don't suit the width of the features.
        """
        c = self.config.adapter
        try:
            return AdapterConfig(
                feature_dim=self.source.feature_dim,
                num_layers=c.num_layers,
                num_heads=c.num_heads,
                ffn_dim=c.ffn_dim,
                dropout=c.dropout,
            )
        except ValueError as error:
            raise ProjectError(f"[train.adapter]: {error}") from None

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Recordings of train and test, and of adapt where a method learns from pairs.

        Raises:
            DatasetError: If there is no such split, or a recording is in two of them.
        """
        names = asdict(self.config.splits)
        if not {*self.config.methods} & {*DISTILLED}:
            del names["adapt"]
        splits = {kind: self.dataset.split(name) for kind, name in names.items()}
        for a, b in combinations(splits, 2):
            if both := sorted({*splits[a]} & {*splits[b]}):
                raise DatasetError(
                    f"recording {both[0]} is in the splits of {a} and of {b}; they must be disjoint"
                )
        return splits

    @cached_property
    def training_recordings(self) -> Callable[[str], list[str]]:
        """Recordings of the training split to learn from, by view.

        Looked up once, so that what is extracted in the meantime doesn't change the data of a run half-way.

        Those are left out that have no features because the dataset has no such video of them, though it has of
        others (five recordings of Assembly101 were filmed without e4), and any without features if the config says
        `skip_missing`; as long as any are left.
        """
        return cache(self._training_recordings)

    def _training_recordings(self, view: str) -> list[str]:
        train, stored = self.splits["train"], self.source_of(view).complete_recordings(view)
        missing = [name for name in train if name not in stored]
        absent = {*missing} if self.config.skip_missing else self._absent(missing, view)
        return [name for name in train if name not in absent] or train

    def _absent(self, recordings: list[str], view: str) -> set[str]:
        """Recordings that the dataset knows, and of which it hasn't this view's video, unless it has nobody's."""
        if not recordings:
            return set()
        try:
            known = set(self.dataset.recordings())
        except DatasetError:  # training needs no videos
            return set()
        filmed = {name: self._is_filmed(name, view) for name in known & {*self.splits["train"]}}
        return {name for name in recordings if filmed.get(name) is False} if any(filmed.values()) else set()

    def _is_filmed(self, recording: str, view: str) -> bool:
        try:
            self.dataset.video(recording, view)
        except NoVideoError:
            return False
        except SyncError:
            return True
        return True

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What is learnt."""
        return training_classes(self.dataset, self.splits["train"])

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What to record beside what is made."""
        device = str(self.device)
        if self.device.type == "cuda":
            device = f"{device} {torch.cuda.get_device_name(self.device)}"
        return {
            "store": str(self.source.store_path),
            "feature_set": self.source.feature_set,
            "fingerprint": self.source.fingerprint,
            "trained_on": list(self.source.trained_on),
            **({} if self.ego_source is self.source else {"ego_features": _named(self.ego_source)}),
            "exo": self.exo,
            "ego": self.ego,
            "direction": self.config.direction,
            "splits": self.splits,
            "classes": list(self.classes),
            "code": code_version(),
            "libraries": library_versions(["torch", "numpy", "zarr", "safetensors"]),
            "machine": machine(),
            "device": device,
        }


def make_setting(project: Project, config: TrainConfig) -> Setting:
    """Open dataset and store, and choose views, feature set and device where the config leaves them open.

    Raises:
        SyncError: If one of them doesn't exist.
    """
    where = choose_device(config.device)
    dataset = open_dataset(project)
    store = open_store(project)
    source, ego_source = _sources(project, config, store, where)
    return Setting(
        dataset=dataset,
        source=source,
        ego_source=ego_source,
        config=config,
        exo=_source_view(project, config),
        ego=_target_view(project, config),
        device=where,
    )


def _sources(
    project: Project, config: TrainConfig, store: FeatureStore, device: torch.device
) -> tuple[Source, Source]:
    """Features of the exo and of the ego view: one object where they are one feature set, or nothing reads ego."""
    name = config.feature_set or _default_feature_set(project, store)
    ego_name = config.ego_feature_set or name
    if ego_name == name or not _reads_ego(config):
        source = Source(store, name, device)
        return source, source
    half = free_room(device) // 2
    source, ego_source = (Source(store, each, device, room_bytes=half) for each in (name, ego_name))
    if source.feature_dim != ego_source.feature_dim:
        raise ProjectError(
            f"feature set {name} has {source.feature_dim} features a row, and {ego_name} of the ego view "
            f"{ego_source.feature_dim}: a teacher of the one can't read the other. Choose an --ego-feature-set of "
            "the same width"
        )
    return source, ego_source


def _reads_ego(config: TrainConfig) -> bool:
    return {*config.methods} != {"exo-oracle"} or config.teacher.selection == "published-test-ego"


def _named(source: Source) -> dict[str, Any]:
    return {
        "feature_set": source.feature_set,
        "fingerprint": source.fingerprint,
        "trained_on": list(source.trained_on),
    }


def _default_feature_set(project: Project, store: FeatureStore) -> str:
    """What `sync-extract` makes, where its section says so, else the store's only one, as after an import.

    The section is read as it is: training can't import `ExtractConfig`.
    """
    extract = project.stage("extract")
    for key in ("feature_set", "backbone"):
        name = extract.get(key, "")
        if not isinstance(name, str):
            raise ProjectError(f"{project.file} [extract]: {key} must be str, got {name!r}")
        if name:
            return name
    stored = store.feature_sets()
    return stored[0] if len(stored) == 1 else "dinov2-large"


def _source_view(project: Project, config: TrainConfig) -> str:
    if config.exo is not None:
        return _checked_view(project, config.exo, "exo")
    if views := project.views_of_kind("exo"):
        return views[0]
    hint = (
        " The only view of a project counts as exo, even a worn camera's" if len(project.views) == 1 else ""
    )
    raise ProjectError(f'{project.file}: has no exo view. Add one: [views.NAME] kind = "exo".{hint}')


def _target_view(project: Project, config: TrainConfig) -> str | None:
    """The ego view; None where there is none and nothing needs one."""
    if config.ego is not None:
        return _checked_view(project, config.ego, "ego")
    if views := project.views_of_kind("ego"):
        return views[0]
    has = "one view" if len(project.views) == 1 else "no ego view"
    if needing := [method for method in config.methods if method != "exo-oracle"]:
        raise ProjectError(
            f"{project.file}: this project has {has}: train with sync-train teacher, or add the ego view that "
            f'{needing[0]} needs: [views.NAME] kind = "ego"'
        )
    if config.teacher.selection == "published-test-ego":
        raise ProjectError(
            f'{project.file} [train.teacher]: this project has {has}, and selection = "published-test-ego" '
            'selects on an ego view; choose "held-out" or "last"'
        )
    return None


def _checked_view(project: Project, name: str, kind: str) -> str:
    if project.view(name).kind != kind:
        raise ProjectError(f"{project.file}: view {name} isn't an {kind} view")
    return name
