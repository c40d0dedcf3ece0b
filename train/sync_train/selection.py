"""Which recordings are held out to select an epoch, and how a model is scored on them.

Axes: T rows of a recording, K classes.
"""

from collections.abc import Sequence

import numpy as np

from sync_eval.metrics import Counts, count
from sync_store.errors import TrainingError
from sync_train.batches import Windowing
from sync_train.models.segmenter import Segmenter
from sync_train.predict import row_probabilities
from sync_train.sequences import Labeled


def hold_out(
    names: Sequence[str], share: float, seed: int, *, cut: str | None = None, limit: str | None = None
) -> tuple[list[str], list[str]]:
    """Divide recordings into those to learn from and those to select on, at least one of each.

    Args:
        names: Recordings of a split.
        share: Of the recordings that are held out, 0–1.
        seed: Decides which.
        cut: One that a budget has left the beginning of, perhaps seconds: it is learnt from, never selected on.
        limit: Setting that says how much of the split is used, where one does.

    Raises:
        TrainingError: If there are fewer than two recordings.
    """
    if len(names) < 2:
        raise TrainingError(
            f"{len(names)} recording can't be divided into one to learn from and one to select on. Add "
            f"recordings{'' if limit is None else f' or raise {limit}'}, or keep the last epoch with "
            'selection = "last"'
        )
    num_held_out = min(len(names) - 1, max(1, round(share * len(names))))
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    held_out = set([index for index in order if names[index] != cut][:num_held_out])
    return (
        [name for index, name in enumerate(names) if index not in held_out],
        [name for index, name in enumerate(names) if index in held_out],
    )


def score_model(model: Segmenter, recordings: Sequence[Labeled], windowing: Windowing) -> dict[str, float]:
    """Score a model on labelled recordings, row by row.

    Returns:
        Edit, the F1s and MoF in percent, and their sum as `score` (A101-TAS main.py selects on it).
    """
    rows = [labeled.recording.rows_TD for labeled in recordings]
    total = Counts()
    for labeled, probabilities_TK in zip(recordings, row_probabilities(model, rows, windowing), strict=True):
        total += count(probabilities_TK.argmax(dim=1).numpy(), labeled.classes_T.cpu().numpy())
    scores = total.scores()
    values = {name: getattr(scores, name) for name in ("edit", "f1_10", "f1_25", "f1_50", "mof")}
    return {**values, "score": sum(values.values())}
