"""What a run is made from: views, splits, classes, features."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch

from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import DatasetError, IncompleteError, NoVideoError, ProjectError, SyncError
from sync_store.project import Project
from sync_store.provenance import code_version, library_versions, machine
from sync_store.reader import FeatureStore, how_made
from sync_train.batches import Windowing
from sync_train.config import DISTILLED, Precision, TrainConfig
from sync_train.models.adapter import AdapterConfig
from sync_train.sequences import Source, training_classes

log = logging.getLogger(__name__)

MAX_LISTED = 5
"""Recordings that a message names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a run is made from."""

    dataset: Dataset
    source: Source
    config: TrainConfig
    exo: str
    """Source view."""
    ego: str | None
    """Target view; None in a project that has none, where no method needs one."""
    device: torch.device

    @property
    def target(self) -> str:
        """`ego`, for what needs one."""
        assert self.ego is not None, "make_setting refuses what needs an ego view where there is none"
        return self.ego

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

    def training_recordings(self, view: str) -> list[str]:
        """Recordings of the training split to learn from in a view.

        Those of which the dataset has no such video are left out, as long as any are left: five recordings of
        Assembly101 were filmed without e4.
        """
        train, stored = self.splits["train"], self.source.complete_recordings(view)
        return [name for name in train if name in stored or not self._is_absent(name, view)] or train

    def _is_absent(self, recording: str, view: str) -> bool:
        try:
            self.dataset.video(recording, view)
        except NoVideoError:
            return True
        except SyncError:
            return False
        return False

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
            "exo": self.exo,
            "ego": self.ego,
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
    where = _device(config.device)
    dataset = open_dataset(project)
    store = FeatureStore(project.store_path)
    return Setting(
        dataset=dataset,
        source=Source(store, config.feature_set or _default_feature_set(project, store), where),
        config=config,
        exo=_source_view(project, config),
        ego=_target_view(project, config),
        device=where,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ProjectError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(f"device {name!r} can't be used here ({reason}). Try --device auto") from None
    return device


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


def check_setting(setting: Setting) -> None:
    """Find out before the first epoch whether the methods have all that they need.

    Raises:
        ProjectError: If the adapter doesn't suit the features.
        DatasetError: If a split names a recording that neither the store nor the dataset has.
        IncompleteError: If features are missing: names views and recordings, and the command that makes them.
    """
    if {"feature", "feature-tas"} & {*setting.config.methods}:
        _ = setting.adapter
    needed = _needed_features(setting)
    missing = {
        view: sorted(names - setting.source.complete_recordings(view)) for view, names in needed.items()
    }
    for view in needed:
        _warn_of_absent(setting, view)
    if any(missing.values()):
        _check_names(setting, {name for names in missing.values() for name in names})
        parts = [f"view {view}: {len(names)} ({_listed(names)})" for view, names in missing.items() if names]
        options = " ".join(f"--view {view}" for view, names in missing.items() if names)
        raise IncompleteError(
            f"feature set {setting.source.feature_set} lacks recordings of {'; '.join(parts)}. "
            f"{how_made(setting.source.recipe, 'them')} {options}"
        )


def _warn_of_absent(setting: Setting, view: str) -> None:
    train = setting.splits["train"]
    kept = setting.training_recordings(view)
    if absent := sorted({*train} - {*kept}):
        log.warning(
            "view %s: %d of %d training recordings have no such video and aren't learnt from in it (%s)",
            view,
            len(absent),
            len(train),
            _listed(absent),
        )


def _check_names(setting: Setting, missing: set[str]) -> None:
    """Tell a misspelt recording from one that wasn't extracted, as far as the videos are here."""
    try:
        known = setting.dataset.recordings()
    except DatasetError:  # training needs no videos
        return
    for split, names in setting.splits.items():
        if strange := [name for name in names if name in missing and name not in known]:
            one = len(strange) == 1
            near = difflib.get_close_matches(strange[0], known, n=1) if one else []
            hint = f", did you mean {near[0]!r}?" if near else "."
            raise DatasetError(
                f"split {getattr(setting.config.splits, split)} names {len(strange)} recording{'s'[one:]} that "
                f"the dataset hasn't ({_listed(strange)}){hint} Correct the split, or add the videos"
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_LISTED]) + (" …" if len(names) > MAX_LISTED else "")


def _needed_features(setting: Setting) -> dict[str, set[str]]:
    """Recordings whose features the methods read, by view."""
    exo: set[str] = set()
    ego: set[str] = set()
    config, splits = setting.config, setting.splits
    for method in config.methods:
        source = setting.target if method == "ego-oracle" else setting.exo
        (ego if method == "ego-oracle" else exo).update(setting.training_recordings(source))
        (exo if method == "exo-oracle" else ego).update(splits["test"])
        if method in DISTILLED:
            exo.update(splits["adapt"])
            ego.update(splits["adapt"])
    students = {"tas", "feature-tas"} & {*config.methods}
    selections = {config.teacher.selection, *([config.student.selection] if students else [])}
    if "published-test-ego" in selections:
        ego.update(splits["test"])
    return {setting.exo: exo} if setting.ego is None else {setting.exo: exo, setting.ego: ego}
