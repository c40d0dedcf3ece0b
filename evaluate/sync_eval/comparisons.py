"""Comparisons of rows as text, Markdown, CSV and JSON, with what they do and don't say."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sync_eval.runs import Group, Row
from sync_eval.significance import ALPHA, Comparison
from sync_eval.table_forms import Layout
from sync_eval.tables import COLUMNS, dagger_notes, daggers_of

FEW_RECORDINGS = 20
"""Below it the intervals are too narrow: in simulations of 10 recordings and one seed, 90 % of them held the true
difference (tests/evaluate/test_significance.py has the simulation)."""

FEW_SEEDS = 5
"""Below it, and above one, p is too small where seeds make much of a difference; docs/method.md says by how much."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Comparisons and how they were made."""

    names: tuple[str, ...]
    """Of the rows, as they were asked for."""
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    num_recordings: int
    protocol: str
    unsegmented: tuple[str, ...]
    """Classes that formed no segments."""
    replicates: int
    seed: int

    @property
    def groups(self) -> list[Group]:
        """Prediction sets of the rows."""
        return [row.group for row in self.rows]


def lay_out(report: Report) -> Layout:
    """The table for readers, with what they must know in footnotes."""
    lines = report.comparisons
    return Layout(
        headings=(
            *("row", "reference", "metric", "score", "ref. score", "difference", "95 % interval"),
            *("p", "p (Holm)", "verdict"),
        ),
        num_names=3,
        cells=tuple(_cells(report, line) for line in lines),
        block_ends=tuple(
            index + 1 < len(lines) and _pair(line) != _pair(lines[index + 1])
            for index, line in enumerate(lines)
        ),
        footnotes=_footnotes(report),
    )


def to_csv(report: Report) -> str:
    """A line for each comparison, numbers unrounded."""
    rows = [_table(report, comparison) for comparison in report.comparisons]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def to_json(report: Report, notes: Sequence[str]) -> str:
    """Everything, numbers unrounded."""
    document = {
        "split": report.groups[0].info.split,
        "protocol": report.protocol,
        "unsegmented": list(report.unsegmented),
        "num_recordings": report.num_recordings,
        "replicates": report.replicates,
        "seed": report.seed,
        "confidence": 1 - ALPHA,
        "family_size": len(report.comparisons),
        "rows": [_row(name, row) for name, row in zip(report.names, report.rows, strict=True)],
        "comparisons": [_table(report, comparison) for comparison in report.comparisons],
        "notes": list(notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _cells(report: Report, line: Comparison) -> tuple[str, ...]:
    return (
        *(_marked(report.names[row], report.groups[row]) for row in (line.other, line.reference)),
        COLUMNS[line.metric],
        f"{line.score:.2f}",
        f"{line.reference_score:.2f}",
        _signed(line.difference),
        f"{_signed(line.low)} to {_signed(line.high)}",
        _probability(line.p_value),
        _probability(line.p_holm),
        f"{line.verdict}{' (!)' if _only_corrected(line) else ''}",
    )


def _footnotes(report: Report) -> tuple[str, ...]:
    num_lines = len(report.comparisons)
    split = report.groups[0].info.split
    unsegmented = f"; no segments of {', '.join(report.unsegmented)}" if report.unsegmented else ""
    notes = [
        f"Scores: mean over seeds, of the {report.num_recordings} recordings of split {split} that have labels; "
        f"protocol {report.protocol}{unsegmented}. Difference: row less reference, in points.",
        f"Interval: 95 %, of that line alone, from {report.replicates:,} paired bootstrap replicates (seed "
        f"{report.seed}) that resample recordings, and within each the seeds; rows with the same seed numbers share "
        "both draws.",
        f"Verdict: better or worse where p (Holm), corrected over all lines of this table ({num_lines}), is at most "
        f"{ALPHA}; then at most about one such table in {1 / ALPHA:.0f} has any wrong one. Not resolved: these "
        "recordings and seeds don't tell which is better. It doesn't say that both are equal; the interval says how "
        "far apart they may be.",
    ]
    if any(_only_corrected(line) for line in report.comparisons):
        notes.append(
            f"(!) The line's own interval leaves zero out, but of {num_lines} lines some would do so by chance: it "
            "isn't a finding. Only a question that was asked before looking may be tested alone (two rows, --metric)."
        )
    rows = dict(zip(report.names, report.rows, strict=True))
    notes += [_described(name, row.group) for name, row in rows.items()]
    notes += [
        f"{name} has predictions for {row.mean('coverage'):.1%} of the frames; the others count as wrong."
        for name, row in rows.items()
        if row.mean("coverage") < 1
    ]
    if single := [name for name, row in rows.items() if len(row.group.seeds) == 1]:
        has, the_models = ("has", "this model") if len(single) == 1 else ("have", "these models")
        notes.append(
            f"{', '.join(single)} {has} one seed, which can't be resampled: what is found holds for {the_models} on "
            "other recordings, not for the method trained again."
        )
    if few := sorted({len(group.seeds) for group in report.groups if 1 < len(group.seeds) < FEW_SEEDS}):
        notes.append(
            f"{' and '.join(map(str, few))} seeds are few: where seeds make more of the uncertainty than recordings "
            "do, intervals are too narrow and p is too small."
        )
    if report.num_recordings < FEW_RECORDINGS:
        notes.append(
            f"{report.num_recordings} recordings are few for a bootstrap: the intervals are somewhat too narrow."
        )
    notes += dagger_notes([group.origin for group in report.groups])
    if any(group.selected_on_test for group in report.groups):
        notes.append("The intervals know nothing of how epochs were chosen.")
    return tuple(notes)


def _marked(name: str, group: Group) -> str:
    return f"{name}{daggers_of(group.origin)}"


def _described(name: str, group: Group) -> str:
    seeds = f"seed{'s' * (len(group.seeds) > 1)} {', '.join(map(str, group.seeds))}"
    info = group.info
    words = (
        f"run {group.run}",
        f"method {info.method}",
        f"view {info.view}",
        f"features {group.features}",
        seeds,
    )
    return f"{_marked(name, group)}: {'; '.join(words)}."


def _table(report: Report, line: Comparison) -> dict[str, Any]:
    return {
        "row": report.names[line.other],
        "reference": report.names[line.reference],
        "metric": line.metric,
        "score": line.score,
        "reference_score": line.reference_score,
        "difference": line.difference,
        "low": line.low,
        "high": line.high,
        "p_value": line.p_value,
        "p_holm": line.p_holm,
        "verdict": line.verdict,
    }


def _row(name: str, row: Row) -> dict[str, Any]:
    group, info = row.group, row.group.info
    return {
        "name": name,
        "run": group.run,
        "method": info.method,
        "view": info.view,
        "feature_set": info.feature_set,
        "teacher_feature_set": info.teacher_feature_set,
        "seeds": list(group.seeds),
        "selection": group.selection,
        "trained_on": list(group.trained_on),
        "coverage": row.mean("coverage"),
    }


def _pair(line: Comparison) -> tuple[int, int]:
    return line.reference, line.other


def _only_corrected(line: Comparison) -> bool:
    """Whether it is the correction that leaves a difference unresolved."""
    return line.verdict == "not resolved" and not line.holds_zero


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "−")


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
