"""Roles of features, the views of a row, and what of both a project has.

A row of a table names a role: "dinov2" is whatever the project extracts by default, any other role a feature set of its
own name, unless section [experiments.features] of sync.toml says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sync_experiments.experiment import Row
from sync_store.errors import ProjectError
from sync_store.project import Project
from sync_store.reader import FeatureStore, how_made

DEFAULT_ROLE = "dinov2"

TSM = "tsm"
"""The network that `sync-extract finetune` trains where [extract.finetune] names no other."""

KINDS = ("exo", "ego")
"""Of views."""

_FINETUNED = {
    "tsm-exo": "sync-extract finetune exo{start} --views {exo}",
    "tsm-ego": "sync-extract finetune ego{start} --views {ego}",
    "tsm-both": "sync-extract finetune both{start} --views {exo} --views {ego}",
    "tsm-v3-e4": "sync-extract distill v3-e4 --weights backbones/exo/model.safetensors --exo {exo} --ego {ego}",
}
"""How the backbone of a role is trained (docs/datasets.md, "The backbones of the paper's tables")."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """The views of a row."""

    exo: str | None
    """None if the project hasn't so many exo views."""
    ego: str | None
    """None if it has no ego view."""

    @property
    def by_kind(self) -> Mapping[str, str | None]:
        """Names by kind of view."""
        return {"exo": self.exo, "ego": self.ego}


def choose_views(project: Project, exo_number: int) -> Views:
    """The exo view of that number, from 1, and the ego view. What [train] names stands before the others."""
    exo, ego = (_views(project, kind) for kind in ("exo", "ego"))
    return Views(
        exo=exo[exo_number - 1] if len(exo) >= exo_number else None,
        ego=ego[0] if ego else None,
    )


def _views(project: Project, kind: str) -> list[str]:
    names = project.views_of_kind(kind)
    chosen = project.stage("train").get(kind)
    return [chosen, *(name for name in names if name != chosen)] if chosen in names else names


@dataclass
class Shelf:
    """What the store of a project has; each view is looked up once."""

    project: Project
    _recordings: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    @property
    def store(self) -> FeatureStore | None:
        """None if there is none yet."""
        path = self.project.store_path
        return FeatureStore(path) if path.exists() else None

    def feature_set(self, role: str) -> str:
        """Feature set of a role.

        Raises:
            ProjectError: If sync.toml names none in a way that can be read.
        """
        roles = self.project.experiments.features
        if role in roles:
            return roles[role]
        return self._default() if role == DEFAULT_ROLE else role

    def recordings(self, feature_set: str, view: str) -> frozenset[str]:
        """Recordings of which the store has features; none if it hasn't the view or the set."""
        key = (feature_set, view)
        if key not in self._recordings:
            store = self.store
            there = store is not None and feature_set in store.feature_sets()
            self._recordings[key] = frozenset(store.recordings(*key)) if store and there else frozenset()
        return self._recordings[key]

    def lacks(self, role: str, feature_set: str, views: Sequence[str]) -> str | None:
        """What of a feature set isn't there at all, and the command that makes it.

        Single recordings aren't looked for: `sync-train` knows which it needs.
        """
        missing = [view for view in views if not self.recordings(feature_set, view)]
        if not missing:
            return None
        store = self.store
        options = " ".join(f"--view {view}" for view in missing)
        if store is not None and feature_set in store.feature_sets():
            made = how_made(store.feature_set(feature_set).get("recipe", {}), "them")
            default = " " if feature_set == self._default() else f" --feature-set {feature_set} "
            return f"feature set {feature_set} has no recordings of {' and '.join(missing)}. {made}{default}{options}"
        return f"feature set {feature_set} isn't there. {self._how(role, feature_set, options)}"

    def _how(self, role: str, feature_set: str, options: str) -> str:
        if role in _FINETUNED:
            views = choose_views(self.project, 1)
            backbone = self._backbone_to_tune()
            start = " --weights tsm_rgb.ckpt" if backbone == TSM else ""  # the demo's begins without
            train = _FINETUNED[role].format(exo=views.exo, ego=views.ego, start=start)
            weights = f"backbones/{role.removeprefix('tsm-')}/model.safetensors"
            return (
                f"Train its backbone with: {train}; extract it with: sync-extract --backbone {backbone} "
                f"--weights {weights} --feature-set {feature_set} {options}; or name another in "
                f"[experiments.features] {role}"
            )
        if role == DEFAULT_ROLE:
            return f"Extract it with: sync-extract {options}"
        return (
            f"Extract it with: sync-extract --feature-set {feature_set} {options}, or name another in "
            f"[experiments.features] {role}"
        )

    def _backbone_to_tune(self) -> str:
        section = self.project.stage("extract").get("finetune")
        backbone = section.get("backbone", TSM) if isinstance(section, Mapping) else TSM
        return backbone if isinstance(backbone, str) else TSM

    def _default(self) -> str:
        """As `sync-train` chooses: what [train] names, what [extract] makes, the store's only one."""
        for stage, key in (("train", "feature_set"), ("extract", "feature_set"), ("extract", "backbone")):
            name = self.project.stage(stage).get(key, "")
            if not isinstance(name, str):
                raise ProjectError(f"{self.project.file} [{stage}]: {key} must be str, got {name!r}")
            if name:
                return name
        stored = [] if self.store is None else self.store.feature_sets()
        return stored[0] if len(stored) == 1 else "dinov2-large"


def kinds_read(row: Row) -> tuple[str, ...]:
    """Kinds of view whose features a row needs, for training or testing."""
    return {"exo-oracle": ("exo",), "ego-oracle": ("ego",)}.get(row.method, KINDS)
