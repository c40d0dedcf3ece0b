"""Applies a saved model to stored features."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sync_store.atomic import write_atomic
from sync_store.errors import DatasetError, FingerprintError, StoreError
from sync_store.exported import RECIPE, check_weights, read_recipe
from sync_store.labels import segments_to_csv
from sync_store.names import check_name
from sync_store.place import Place
from sync_store.reader import FeatureStore
from sync_train.checkpoint import SegmenterInfo, load_segmenter
from sync_train.models.segmenter import Segmenter
from sync_train.predict import row_probabilities, segments_of_probabilities
from sync_train.sequences import Recording, Source

RECORDINGS_AT_ONCE = 32
"""Recordings whose windows share batches."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of recordings."""

    written: list[Path]
    """A CSV file each."""
    failed: dict[str, str]
    """By recording, what is wrong with its features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Applied:
    """A model that is ready to predict."""

    model: Segmenter
    info: SegmenterInfo
    feature_set: str
    """Name of the features that it predicts on."""
    fingerprint: str
    """Theirs. In an exported model, those that the run predicted on, also where it is a teacher of others."""
    tta_chunk_rows: tuple[int, ...]


def load_model(folder: Path, device: torch.device) -> Applied:
    """Load a stage's model, or an exported one.

    Raises:
        TrainingError: If the folder holds neither, or an exported model's weights aren't its own.
    """
    recipe = read_recipe(folder) if (folder / RECIPE).exists() else None
    if recipe is not None:
        check_weights(folder, recipe)
    model, info = load_segmenter(folder)
    model.to(device)
    if recipe is None:
        return Applied(
            model=model,
            info=info,
            feature_set=info.feature_set,
            fingerprint=info.fingerprint,
            tta_chunk_rows=(),
        )
    return Applied(
        model=model,
        info=info,
        feature_set=recipe.feature_set.name,
        fingerprint=recipe.feature_set.fingerprint,
        tta_chunk_rows=recipe.tta_chunk_rows,
    )


def open_features(applied: Applied, store: Place, feature_set: str | None, device: torch.device) -> Source:
    """Features for a model.

    Args:
        applied: The model.
        store: Where they are.
        feature_set: Their name; by default as the model's.
        device: Where rows are kept.

    Raises:
        FingerprintError: If they were made by another recipe than the model's.
        StoreError: If the store has none of that name.
    """
    source = Source(FeatureStore(store), feature_set or applied.feature_set, device)
    if source.fingerprint != applied.fingerprint:
        raise FingerprintError(
            f"{store}: features {source.feature_set} have fingerprint {source.fingerprint}, and the model is for those "
            f"with {applied.fingerprint} ({applied.feature_set}): they were made by another recipe, and what it would "
            "say of them is worth nothing. Extract them as the model's were"
        )
    return source


def apply_model(
    applied: Applied,
    source: Source,
    view: str,
    recordings: Sequence[str],
    output: Path,
    *,
    probabilities: bool,
) -> Outcome:
    """Predict recordings, and write <recording>.csv for each; one that can't be read doesn't stop the others.

    Args:
        applied: The model.
        source: Features.
        view: View of them.
        recordings: Names.
        output: Folder of the files.
        probabilities: Write <recording>.npz too: `probabilities` float32 (T, K), `timestamps` int64 (T,) in
            nanoseconds, `classes` (K,).
    """
    classes = applied.info.classes
    outcome = Outcome(written=[], failed={})
    for start in range(0, len(recordings), RECORDINGS_AT_ONCE):
        some: list[Recording] = []
        for name in recordings[start : start + RECORDINGS_AT_ONCE]:
            try:
                some += source.recordings(view, [name])
            except StoreError as error:
                outcome.failed[name] = str(error)
        rows = [recording.rows_TD for recording in some]
        found = row_probabilities(
            applied.model, rows, applied.info.windowing, chunk_rows=applied.tta_chunk_rows
        )
        for recording, of_rows_TK in zip(some, found, strict=True):
            path = output / f"{check_name('recording', recording.name, DatasetError)}.csv"
            if probabilities:
                write_atomic(path.with_name(f"{recording.name}.npz"), _npz(recording, of_rows_TK, classes))
            write_atomic(path, segments_to_csv(segments_of_probabilities(recording, of_rows_TK, classes)))
            outcome.written.append(path)
    return outcome


def _npz(recording: Recording, of_rows_TK: torch.Tensor, classes: Sequence[str]) -> bytes:
    out = io.BytesIO()
    np.savez(
        out,
        probabilities=of_rows_TK.numpy(),
        timestamps=recording.timestamps,
        classes=np.array(classes, dtype=np.str_),
    )
    return out.getvalue()
