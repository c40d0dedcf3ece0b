"""Result tables like the paper's Table 1: a layout for readers, CSV and JSON.

The layout leaves out what is equal in all rows and says it below; CSV and JSON hold everything.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from sync_eval.runs import ORACLES, SELECTED_ON_TEST, Origin, Row
from sync_eval.table_forms import Layout
from sync_store.labels import first_seen

COLUMNS = {"edit": "Edit", "f1_10": "F1@10", "f1_25": "F1@25", "f1_50": "F1@50", "mof": "MoF"}
"""Metrics of Table 1 in its order, and their headings."""

MEASURES = (*COLUMNS, "f1_10_mean", "f1_25_mean", "f1_50_mean", "coverage")
"""Metrics that CSV and JSON hold."""

_DAGGER = "†"
"""Marks a backbone that was trained on data of the benchmark."""
_DOUBLE_DAGGER = "‡"
"""Marks a model that was selected on test data."""


def to_csv(rows: Sequence[Row], protocol: str) -> str:
    """One line a row, means and standard deviations in columns of their own; `seeds` joined by spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = (
        *("run", "feature_set", "teacher_feature_set", "method", "view", "kind", "split"),
        *("trained_on", "selection", "protocol", "unsegmented", "seeds"),
    )
    measures = [name for metric in MEASURES for name in (metric, f"{metric}_sd")]
    writer.writerow([*names, *measures, "num_sequences", "num_frames"])
    for row in rows:
        table = _row_table(row)
        sd = table["sd"] or {}
        joined = {
            "protocol": protocol,
            "trained_on": "; ".join(table["trained_on"]),
            "unsegmented": "; ".join(table["unsegmented"]),
            "seeds": " ".join(map(str, table["seeds"])),
        }
        values = [value for metric in MEASURES for value in (table[metric], sd.get(metric))]
        cells = [joined.get(name, table.get(name)) for name in names]
        writer.writerow([*cells, *values, table["num_sequences"], table["num_frames"]])
    return out.getvalue()


def to_json(rows: Sequence[Row], protocol: str, notes: Sequence[str]) -> str:
    """Everything: means, standard deviations, and the scores of each seed."""
    document = {"protocol": protocol, "rows": [_row_table(row) for row in rows], "notes": list(notes)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _row_table(row: Row) -> dict[str, Any]:
    info, seeds = row.group.info, row.group.seeds
    return {
        "run": row.group.run,
        "feature_set": info.feature_set,
        "teacher_feature_set": info.teacher_feature_set,
        "method": info.method,
        "view": info.view,
        "kind": info.kind,
        "split": info.split,
        "trained_on": list(row.group.trained_on),
        "selection": row.group.selection,
        "settings": dict(info.protocol or {}),
        "unsegmented": list(row.unsegmented),
        "seeds": list(seeds),
        **{metric: row.mean(metric) for metric in MEASURES},
        "sd": {metric: row.deviation(metric) for metric in MEASURES} if len(seeds) > 1 else None,
        "num_sequences": row.scores[0].num_sequences,
        "num_frames": row.scores[0].num_frames,
        "per_seed": [
            {"seed": seed, "folder": str(scored.prediction_set.folder), **asdict(scores)}
            for seed, scored, scores in zip(seeds, row.scored, row.scores, strict=True)
        ],
    }


def lay_out(rows: Sequence[Row], protocol: str) -> Layout:
    """What every form for readers shows; columns that are equal in all rows are said in a footnote."""
    columns = {
        "method": [f"{row.group.info.method}{daggers_of(row.group.origin)}" for row in rows],
        "run": [row.group.run for row in rows],
        "features": [row.group.features for row in rows],
        "view": [row.group.info.view for row in rows],
        "split": [row.group.info.split for row in rows],
        "seeds": [str(len(row.group.seeds)) for row in rows],
    }
    optional = ("run", "features", "split", "seeds")
    shared = [name for name in optional if len(set(columns[name])) == 1]
    shown = [name for name in columns if name not in shared]
    numbers = [[*(_number(row, metric) for metric in COLUMNS), f"{row.mean('coverage'):.1%}"] for row in rows]
    return Layout(
        headings=(*shown, *COLUMNS.values(), "coverage"),
        num_names=len(shown),
        cells=tuple(
            (*(columns[name][index] for name in shown), *cells) for index, cells in enumerate(numbers)
        ),
        block_ends=(*(_block(row) != _block(below) for row, below in pairwise(rows)), False),
        footnotes=_footnotes(rows, protocol, {name: columns[name][0] for name in shared}),
    )


def daggers_of(origin: Origin) -> str:
    """Signs of a row whose numbers aren't those of wholly unseen data; `dagger_notes` say what they mean."""
    return _DAGGER * bool(origin.trained_on) + _DOUBLE_DAGGER * origin.selected_on_test


def dagger_notes(origins: Sequence[Origin]) -> list[str]:
    """Footnotes to `daggers_of` the rows."""
    notes = []
    for seen in dict.fromkeys(origin.trained_on for origin in origins if origin.trained_on):
        features = first_seen(origin.features for origin in origins if origin.trained_on == seen)
        backbone, was = (
            ("backbones", "were") if any("→" in names for names in features) else ("backbone", "was")
        )
        notes.append(
            f"{_DAGGER} The {backbone} of {', '.join(features)} {was} trained on: {'; '.join(seen)}."
        )
    if any(origin.selected_on_test for origin in origins):
        notes.append(
            f"{_DOUBLE_DAGGER} Labels of the test split chose the epoch of a stage ({SELECTED_ON_TEST}): no score on "
            "unseen data."
        )
    return notes


def _number(row: Row, metric: str) -> str:
    deviation = row.deviation(metric)
    return f"{row.mean(metric):.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _block(row: Row) -> tuple[str, ...]:
    """Rows of one block stand together: oracles of a kind, or one run's methods."""
    info = row.group.info
    return (info.method,) if info.method in ORACLES else (row.group.run, row.group.features)


def _footnotes(rows: Sequence[Row], protocol: str, shared: dict[str, str]) -> tuple[str, ...]:
    words = ("run", "features", "split")
    said = [f"{word} {shared[word]}" for word in words if word in shared]
    sizes = {(row.scores[0].num_sequences, row.scores[0].num_frames) for row in rows}
    if len(sizes) == 1:
        num_sequences, num_frames = sizes.pop()
        said.append(f"sequences {num_sequences}; frames {num_frames}")
    said.append(f"protocol {protocol}")
    if unsegmented := first_seen(name for row in rows for name in row.unsegmented):
        said.append(f"no segments of {', '.join(unsegmented)}")
    notes = [f"{'; '.join(said)}."]
    if any(len(row.group.seeds) > 1 for row in rows):
        over = f"over {shared['seeds']} seeds" if "seeds" in shared else "over seeds"
        notes.append(f"Mean ± standard deviation {over}.")
    return (*notes, *dagger_notes([row.group.origin for row in rows]))
