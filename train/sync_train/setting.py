"""What a run is made from: views, splits, classes, features."""

from dataclasses import asdict, dataclass
from functools import cached_property

import torch

from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import DatasetError, IncompleteError, ProjectError
from sync_store.project import Project
from sync_store.reader import FeatureStore
from sync_train.batches import Windowing
from sync_train.config import TrainConfig
from sync_train.sequences import Source, training_classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a run is made from."""

    dataset: Dataset
    source: Source
    config: TrainConfig
    exo: str
    """Source view."""
    ego: str
    """Target view."""
    device: torch.device

    @cached_property
    def windowing(self) -> Windowing:
        """Windows and chunks."""
        c = self.config
        return Windowing(chunk_rows=c.chunk_rows, max_chunks=c.max_chunks, pad_to=c.pad_to)

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Recordings of train, adapt and test.

        Raises:
            DatasetError: If a recording is in two of them.
        """
        names = self.config.splits
        splits = {kind: self.dataset.split(name) for kind, name in asdict(names).items()}
        for a, b in (("train", "adapt"), ("train", "test"), ("adapt", "test")):
            if both := sorted({*splits[a]} & {*splits[b]}):
                raise DatasetError(
                    f"recording {both[0]} is in the splits of {a} and of {b}; they must be disjoint"
                )
        return splits

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What is learnt."""
        return training_classes(self.dataset, self.splits["train"])


def make_setting(project: Project, config: TrainConfig) -> Setting:
    """Open dataset and store, and choose views, feature set and device where the config leaves them open.

    Raises:
        SyncError: If one of them doesn't exist.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
    except RuntimeError:
        raise ProjectError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}") from None
    extract = project.stage("extract")
    feature_set = (
        config.feature_set or extract.get("feature_set") or extract.get("backbone") or "dinov2-large"
    )
    return Setting(
        dataset=open_dataset(project),
        source=Source(FeatureStore(project.store_path), feature_set, where),
        config=config,
        exo=_view(project, config.exo, "exo"),
        ego=_view(project, config.ego, "ego"),
        device=where,
    )


def _view(project: Project, name: str | None, kind: str) -> str:
    if name is not None:
        if project.view(name).kind != kind:
            raise ProjectError(f"{project.file}: view {name} isn't an {kind} view")
        return name
    views = project.views_of_kind(kind)
    if not views:
        raise ProjectError(f'{project.file}: has no {kind} view. Add one: [views.NAME] kind = "{kind}"')
    return views[0]


def check_features(setting: Setting, methods: tuple[str, ...]) -> None:
    """Find out before the first epoch whether all features that the methods need are in the store.

    Raises:
        IncompleteError: Naming the views and recordings that are missing, and the command that makes them.
    """
    needed: dict[str, set[str]] = {setting.exo: set(), setting.ego: set()}
    splits = setting.splits
    for method in methods:
        if method == "ego-oracle":
            needed[setting.ego].update(splits["train"], splits["test"])
            continue
        needed[setting.exo].update(splits["train"])
        needed[setting.exo if method == "exo-oracle" else setting.ego].update(splits["test"])
        if method in ("feature", "tas", "feature-tas"):
            needed[setting.exo].update(splits["adapt"])
            needed[setting.ego].update(splits["adapt"])
    missing = {
        view: sorted(names - setting.source.complete_recordings(view)) for view, names in needed.items()
    }
    if any(missing.values()):
        parts = [f"view {view}: {len(names)} ({names[0]} …)" for view, names in missing.items() if names]
        options = " ".join(f"--view {view}" for view, names in missing.items() if names)
        raise IncompleteError(
            f"feature set {setting.source.feature_set} lacks recordings of {'; '.join(parts)}. Extract them "
            f"with: sync-extract {options}"
        )
