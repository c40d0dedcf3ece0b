"""The last job: the views' indices are written, and how the work ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_extract.cluster.status import read_status
from sync_extract.config import ExtractConfig
from sync_store.atomic import write_json
from sync_store.claim import sweep
from sync_store.console import set_up_logging
from sync_store.layout import sweep_groups
from sync_store.project import load_project
from sync_store.reader import FeatureStore

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class FinalizeTask:
    """Runs after all bins, whether or not they ended well."""

    project: Path
    config: ExtractConfig
    views: tuple[str, ...]
    folder: Path

    def __call__(self) -> dict[str, Any]:
        """Write indices and report; returns the report."""
        set_up_logging()
        project = load_project(self.project)
        if project.store_path.exists():
            sweep(project.store_path)
            store = FeatureStore(project.store_path)
            for view in self.views:
                store.entries(self.config.name, view)
            sweep_groups(project.store_path, self.config.name, self.views)
        report = read_status(project, self.config, self.views, self.folder).as_json()
        write_json(self.folder / REPORT, report)
        return report
