"""Whether all is there that the methods need, before the first epoch."""

import difflib
import logging
from collections.abc import Mapping, Sequence

from sync_store.console import some_of
from sync_store.errors import DatasetError, IncompleteError
from sync_store.reader import how_made
from sync_train.config import DISTILLED
from sync_train.device import has_bfloat16
from sync_train.events import check_installed
from sync_train.sequences import Source
from sync_train.setting import Setting

log = logging.getLogger(__name__)


def check_setting(setting: Setting) -> None:
    """Find out before the first epoch whether the methods have all that they need.

    Raises:
        TrainingError: If TensorBoard is asked for and isn't installed.
        ProjectError: If the adapter doesn't suit the features.
        DatasetError: If a split names a recording that neither the store nor the dataset has.
        IncompleteError: If features are missing: names views and recordings, and the command that makes them.
    """
    if setting.config.tensorboard:
        check_installed()
    if {"feature", "feature-tas"} & {*setting.config.methods}:
        _ = setting.adapter
    if setting.precision == "bfloat16" and setting.device.type == "cpu" and not has_bfloat16():
        log.warning("this processor has no bfloat16, and takes many times as long as with float32")
    needed = _needed_features(setting)
    missing = {
        view: sorted(names - setting.source_of(view).complete_recordings(view))
        for view, names in needed.items()
    }
    for view in needed:
        _warn_of_absent(setting, view)
    if any(missing.values()):
        _check_names(setting, {name for names in missing.values() for name in names})
        sources = dict.fromkeys((setting.source, setting.ego_source))
        of_sources = [
            (source, {view: names for view, names in missing.items() if setting.source_of(view) is source})
            for source in sources
        ]
        lacks = "; ".join(
            _lack(source, of_source, named=len(sources) > 1)
            for source, of_source in of_sources
            if any(of_source.values())
        )
        for_training_alone = {name for names in missing.values() for name in names} <= {
            *setting.splits["train"]
        }
        raise IncompleteError(
            lacks + (", or leave them out with --skip-missing" if for_training_alone else "")
        )


def _lack(source: Source, missing: Mapping[str, Sequence[str]], *, named: bool) -> str:
    """What a feature set lacks, and the command that makes it; `named` if there is another one."""
    parts = [f"view {view}: {len(names)} ({some_of(names)})" for view, names in missing.items() if names]
    options = [f"--feature-set {source.feature_set}"] if named else []
    options += [f"--view {view}" for view, names in missing.items() if names]
    return (
        f"feature set {source.feature_set} lacks recordings of {'; '.join(parts)}. "
        f"{how_made(source.recipe, 'them')} {' '.join(options)}"
    )


def _warn_of_absent(setting: Setting, view: str) -> None:
    train = setting.splits["train"]
    kept = setting.training_recordings(view)
    if absent := sorted({*train} - {*kept}):
        log.warning(
            "view %s: %d of %d training recordings have no features and aren't learnt from in it (%s)",
            view,
            len(absent),
            len(train),
            some_of(absent),
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
                f"the dataset hasn't ({some_of(strange)}){hint} Correct the split, or add the videos"
            )


def _needed_features(setting: Setting) -> dict[str, set[str]]:
    """Recordings whose features the methods read, by view."""
    config, splits = setting.config, setting.splits
    exo: set[str] = set()
    ego: set[str] = set()
    needed = {setting.exo: exo} if setting.ego is None else {setting.exo: exo, setting.ego: ego}
    for method in config.methods:
        learnt = setting.learnt_view(method)
        needed[learnt].update(setting.training_recordings(learnt))
        needed[setting.tested_view(method)].update(splits["test"])
        if method in DISTILLED:
            exo.update(splits["adapt"])
            ego.update(splits["adapt"])
    students = {"tas", "feature-tas"} & {*config.methods}
    selections = {config.teacher.selection, *([config.student.selection] if students else [])}
    if "published-test-ego" in selections:
        ego.update(splits["test"])
    return needed
