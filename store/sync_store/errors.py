"""Errors a user can act on. Each message says what is wrong, where, what was expected and what to do.

Commands print the message of a `SyncError` as one line and exit with 1; anything else is our own bug.
"""


class SyncError(Exception):
    """Base of every error that is the user's to mend, not ours."""


class ProjectError(SyncError, ValueError):
    """A sync.toml, or an option that overrides it, can't be used."""


class DatasetError(SyncError, ValueError):
    """Labels, splits or other files of a dataset are missing or malformed."""


class VideoError(SyncError, ValueError):
    """A video file is missing, broken, or can't be turned into rows honestly."""


class NoVideoError(VideoError):
    """A dataset has no video of a view of a recording, which is normal there: nothing is broken."""


class StoreError(SyncError, ValueError):
    """Data in the feature store are damaged or contradict what is asked of them."""


class IncompleteError(StoreError, LookupError):
    """A recording isn't in the store, or its extraction never finished."""


class BusyError(StoreError):
    """Another process is writing a recording."""


class LostClaimError(StoreError):
    """Another process took over a recording that this one was writing."""


class CompleteError(StoreError):
    """A recording that was to be written is complete already."""


class FingerprintError(StoreError):
    """Features made by two different recipes were about to be mixed."""


class AlignmentError(SyncError, ValueError):
    """Two views of a recording don't cover the same moments well enough."""


class TrainingError(SyncError, RuntimeError):
    """A run can't start, continue or be read."""
