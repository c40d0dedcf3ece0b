"""A store that is far away, with a folder near by that keeps what was read of it.

The folder holds a store like any other, into which recordings are copied, checked, when they are first read.
"""

import hashlib
import logging
from pathlib import Path

from sync_store.copying import copy_recording
from sync_store.errors import BusyError, StoreError
from sync_store.place import Place
from sync_store.project import Project
from sync_store.reader import Features, FeatureStore

log = logging.getLogger(__name__)


class CachedStore(FeatureStore):
    """A store whose recordings are fetched once; what lists and describes them asks the store itself."""

    def __init__(self, path: Place, cache: Path) -> None:
        """Open a store.

        Args:
            path: The store.
            cache: Folder for the copies of any number of stores.

        Raises:
            StoreError: If there is no store.
        """
        super().__init__(path)
        self._cache = cache

    def near(self, feature_set: str) -> Path:
        """The store near by that holds the copies of a feature set; another one for rows of another recipe."""
        what = f"{self.path} {self.feature_set(feature_set).get('fingerprint')}"
        return self._cache / f"{self.path.name}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    def read(self, feature_set: str, view: str, recording: str) -> Features:
        """See `FeatureStore.read`; a copy with other digests or a wrong checksum is fetched again."""
        near = self.near(feature_set)
        try:
            for anew in (False, True):
                try:
                    copy_recording(self, near, feature_set, view, recording, overwrite=anew)
                    return FeatureStore(near).read(feature_set, view, recording)
                except BusyError:  # another process fetches it
                    break
                except StoreError as error:
                    if anew:
                        raise
                    log.info("fetching recording %s, view %s again: %s", recording, view, error)
        except ConnectionError:  # of the store itself
            raise
        except OSError as error:
            log.warning("%s: isn't used as a cache: %s", near, error)
        return super().read(feature_set, view, recording)


def open_store(project: Project) -> FeatureStore:
    """The project's store, with a cache if the project has one.

    Raises:
        StoreError: If there is none.
    """
    if project.cache_path is None:
        return FeatureStore(project.store_path)
    return CachedStore(project.store_path, project.cache_path)
