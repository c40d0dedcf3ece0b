"""Tables of experiments for programs: CSV and JSON, with all that is known of each row."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sync_eval.experiments import Evaluation
from sync_eval.standings import Above, Standings, find_standings
from sync_experiments.experiment import METRICS

_NAMES = (
    *("experiment", "group", "row", "method", "feature_set", "view", "run", "state", "lacks", "seeds"),
    *("trained_on", "selection", "protocol"),
)
_PARTS = {"mean": "", "sd": "_sd", "rank": "_rank", "paper": "_paper", "paper_rank": "_paper_rank"}
"""What is known of a metric, and how its column's name ends."""


def to_csv(evaluations: Sequence[Evaluation]) -> str:
    """One line a row of each experiment; columns of metrics that it hasn't are empty."""
    metrics = [metric for of_measure in METRICS.values() for metric in of_measure]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_NAMES, *(f"{metric}{end}" for metric in metrics for end in _PARTS.values())])
    for evaluation in evaluations:
        for table in _row_tables(evaluation, find_standings(evaluation)):
            joined = {
                "experiment": evaluation.experiment.name,
                "protocol": evaluation.protocol,
                "seeds": " ".join(map(str, table["seeds"])),
                "trained_on": "; ".join(table["trained_on"]),
            }
            numbers = [table["metrics"].get(metric, {}).get(part) for metric in metrics for part in _PARTS]
            writer.writerow([*(joined.get(name, table.get(name)) for name in _NAMES), *numbers])
    return out.getvalue()


def to_json(evaluations: Sequence[Evaluation]) -> str:
    """Everything: means, standard deviations, the numbers of each seed, ranks, and the paper's figures."""
    return (
        json.dumps({"experiments": [_document(each) for each in evaluations]}, indent=2, ensure_ascii=False)
        + "\n"
    )


def _document(evaluation: Evaluation) -> dict[str, Any]:
    experiment, standings = evaluation.experiment, find_standings(evaluation)
    return {
        "name": experiment.name,
        "title": experiment.title,
        "place": experiment.place,
        "measure": experiment.measure,
        "protocol": evaluation.protocol,
        "paper_dataset": experiment.dataset,
        "of_paper_dataset": evaluation.of_paper_dataset,
        "rows": _row_tables(evaluation, standings),
        "improvements": [_improvement_table(above, standings) for above in standings.improvements],
        "notes": [*experiment.notes, *evaluation.notes],
    }


def _row_tables(evaluation: Evaluation, standings: Standings) -> list[dict[str, Any]]:
    return [
        {
            "group": result.planned.row.group,
            "row": result.planned.row.label,
            "method": result.planned.method,
            "feature_set": result.planned.feature_set,
            "view": result.planned.view,
            "run": result.planned.run.name,
            "options": dict(result.planned.run.options),
            "settings": list(result.planned.run.settings),
            "state": result.state,
            "lacks": result.planned.lacks,
            "seeds": list(result.seeds),
            "trained_on": list(result.origin.trained_on) if result.origin else [],
            "selection": result.scored.group.selection if result.scored else "",
            "metrics": _metric_tables(evaluation, standings, index),
            "per_seed": [asdict(scores) for scores in result.scored.scores] if result.scored else None,
        }
        for index, result in enumerate(evaluation.results)
    ]


def _metric_tables(evaluation: Evaluation, standings: Standings, index: int) -> dict[str, dict[str, Any]]:
    result = evaluation.results[index]
    paper_ranks = {column.metric: column.ranks[index] for column in standings.paper}
    return {
        column.metric: {
            "mean": column.values[index],
            "sd": result.deviation(column.metric),
            "rank": column.ranks[index],
            "per_seed": list(result.values.get(column.metric, ())),
            "paper": result.planned.row.paper.get(column.metric),
            "paper_rank": paper_ranks.get(column.metric),
        }
        for column in standings.ours
    }


def _improvement_table(above: Above, standings: Standings) -> dict[str, Any]:
    ours = zip(standings.ours, above.ours, strict=True)
    paper = zip(standings.paper, above.paper, strict=True)
    return {
        "group": above.group,
        "above": above.kind,
        "ours": {column.metric: value for column, value in ours},
        "paper": {column.metric: value for column, value in paper},
    }
