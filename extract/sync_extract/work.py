"""From a project's settings to features in the store: what the command does, and each job of a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.config import ExtractConfig
from sync_extract.pipeline import Settings, Watcher, extract, make_feature_set
from sync_extract.plan import Failure, Plan, make_plan
from sync_store.datasets import Dataset, open_dataset
from sync_store.layout import FeatureSet, ensure_feature_set, sweep_groups
from sync_store.project import Project


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A backbone at its place, and where its rows go."""

    project: Project
    config: ExtractConfig
    dataset: Dataset
    backbone: Backbone
    fps: Fraction | None
    """Rate of the sampling grid; None for every frame."""
    feature_set: FeatureSet

    @classmethod
    def prepare(cls, project: Project, config: ExtractConfig) -> "Work":
        """Load the backbone.

        Raises:
            SyncError: If weights or settings can't be used.
        """
        dataset = open_dataset(project)
        backbone = load_backbone(
            config.backbone,
            weights=config.weights,
            preset=config.preset,
            tokens=config.tokens,
            shift=config.shift,
            position_embedding=config.position_embedding,
            placement=Placement.choose(config.device, config.precision),
        )
        if config.trained_on:
            backbone = replace(backbone, trained_on=config.trained_on)
        fps = config.rate(backbone.fps or dataset.label_rate)
        return cls(
            project=project,
            config=config,
            dataset=dataset,
            backbone=backbone,
            fps=fps,
            feature_set=make_feature_set(config.name, backbone, fps),
        )

    def plan(
        self,
        recordings: Mapping[str, Sequence[str]],
        *,
        named: bool = False,
        overwrite: bool = False,
    ) -> Plan:
        """What is to be done, and done already, of the recordings of each view; see `make_plan`."""
        plans = [
            make_plan(
                self.dataset,
                self.project.store_path,
                self.feature_set,
                fps=self.fps,
                clips=self.backbone.clips,
                views=[view],
                recordings=list(names),
                named=named,
                overwrite=overwrite,
            )
            for view, names in recordings.items()
        ]
        return Plan(
            jobs=[job for plan in plans for job in plan.jobs],
            failures=[failure for plan in plans for failure in plan.failures],
            absent={view: names for plan in plans for view, names in plan.absent.items()},
        )

    def carry_out(self, plan: Plan, watcher: Watcher) -> list[Failure]:
        """Extract what a plan has to do; returns what failed or is only a part.

        Raises:
            OSError: If the store can't be written.
        """
        ensure_feature_set(self.project.store_path, self.feature_set)
        settings = Settings(
            store=self.project.store_path,
            fps=self.fps,
            batch_size=self.config.batch_size,
            workers=self.config.workers,
            reader=self.config.reader,
            min_coverage=self.config.min_coverage,
        )
        failures = extract(plan.to_do, self.backbone, self.feature_set, settings, watcher)
        sweep_groups(settings.store, self.feature_set.name, {job.source.view for job in plan.jobs})
        return failures
