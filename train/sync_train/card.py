"""The model card of an exported model: README.md with a head in YAML, as the Hugging Face hub reads it."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sync_eval.metrics import Scores
from sync_eval.runs import SELECTED_ON_TEST, Row
from sync_store.exported import ModelRecipe
from sync_store.provenance import code_version, library_versions
from sync_train.config import DISTILLED
from sync_train.trained import TrainedModel

CARD = "README.md"

METRICS = {"edit": "Edit", "f1_10": "F1@10", "f1_25": "F1@25", "f1_50": "F1@50", "mof": "MoF"}

_SOURCE = "https://arxiv.org/abs/2312.02638"

_METHODS = {
    "exo-oracle": "C2F-TCN, trained on labels of the fixed camera's view, and meant for that view.",
    "ego-oracle": "C2F-TCN, trained on labels of the head camera's view.",
    "no-adaptation": "C2F-TCN, trained on labels of the other view, as it is.",
    "feature": (
        "C2F-TCN, trained on labels of the other view, behind an adapter that moves features of this view to those of "
        "the same moments there (feature distillation)."
    ),
    "tas": (
        "C2F-TCN, first a teacher trained on labels of the other view, then distilled on unlabelled synchronized pairs "
        "(TAS model distillation)."
    ),
    "feature-tas": (
        "C2F-TCN behind an adapter, both distilled from a teacher of the other view on unlabelled synchronized pairs "
        "(feature and TAS model distillation)."
    ),
}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#&~])")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card tells."""

    model: TrainedModel
    recipe: ModelRecipe
    row: Row | None
    """Scores of the model's method, if they were counted."""
    protocol: str
    licence: str | None

    @property
    def is_selected_on_test(self) -> bool:
        """Whether labels of the test split chose an epoch."""
        return SELECTED_ON_TEST in self.model.selection


def render_card(card: Card) -> str:
    """Text of README.md."""
    recipe = card.recipe
    name = f"{recipe.run}, {recipe.method}, seed {recipe.seed}"
    body = (
        f"# {_plain(name)}",
        "Temporal action segmentation: gives each moment of a video the action that is being done.",
        "## Use",
        _use(recipe),
        "## Method",
        _method(card),
        "## Data",
        _data(card),
        "## Scores",
        _scores(card),
        "## Limits",
        _limits(card),
    )
    return f"---\n{_head(card)}---\n\n" + "\n\n".join(body) + "\n"


def _head(card: Card) -> str:
    """The YAML head. Each value is written as JSON, which is YAML too, so that no name breaks out of it."""
    head: dict[str, Any] = {} if card.licence is None else {"license": card.licence}
    head |= {
        "library_name": "sync-tas",
        "pipeline_tag": "video-classification",
        "tags": [
            "temporal-action-segmentation",
            "video",
            *(["egocentric"] if card.recipe.kind == "ego" else []),
        ],
    }
    if card.row is not None:
        head["model-index"] = [{"name": card.recipe.run, "results": [_result(card, card.row)]}]
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in head.items())


def _result(card: Card, row: Row) -> dict[str, Any]:
    info = card.model.predictions.info
    scores = _own_scores(card, row)
    return {
        "task": {"type": "video-classification", "name": "Temporal action segmentation"},
        "dataset": {"type": "own", "name": f"{info.view}, split {info.split}", "split": info.split},
        "metrics": [
            {"type": metric, "name": name, "value": round(getattr(scores, metric), 2)}
            for metric, name in METRICS.items()
        ],
    }


def _own_scores(card: Card, row: Row) -> Scores:
    """Scores of the exported seed."""
    return row.scores[row.group.seeds.index(card.recipe.seed)]


def _use(recipe: ModelRecipe) -> str:
    features = recipe.feature_set.name
    if recipe.extract.backbone is None:
        return (
            f"It reads the features {_plain(features)}, which were imported: `sync-train apply` takes it for features "
            "of the same fingerprint. They can't be made from a video with this software."
        )
    return (
        "```sh\nsync-predict video.mp4 --run FOLDER    # this folder\n```\n\n"
        f"That extracts the features {_plain(features)} (backbone {_plain(recipe.extract.backbone)}) as `recipe.json` "
        "says, and writes segments with confidences as CSV, JSON and ELAN, and a page with the video. The backbone's "
        "weights aren't in this folder; other ones than those of training are refused."
    )


def _method(card: Card) -> str:
    model, method = card.model, card.model.predictions.info.method
    lines = [_METHODS.get(method, f"Method {_plain(method)}.")]
    if method in DISTILLED and model.selection:
        lines.append(
            "Labels of test recordings chose an epoch."
            if card.is_selected_on_test
            else "No label of this view was used."
        )
    lines.append(f"The method is that of [Quattrocchi et al., ECCV 2024]({_SOURCE}).")
    lines.append(f"Rows are pooled by {model.chunk_rows} into steps of the network.")
    if method in ("tas", "feature-tas"):
        lines.append(f"Loss of the distillation: {model.loss}.")
    if model.selection:
        lines.append(f"Epochs were selected so: {_plain(model.selection)}.")
    versions = ", ".join(f"{name} {version}" for name, version in library_versions(["torch"]).items())
    return " ".join([*lines, f"Exported by sync-tas {code_version()}, {versions}."])


def _data(card: Card) -> str:
    provenance, info = card.model.provenance, card.model.predictions.info
    sizes = {name: len(recordings) for name, recordings in provenance.get("splits", {}).items()}
    views = ", ".join(
        f"{kind} {_plain(str(provenance[kind]))}" for kind in ("exo", "ego") if provenance.get(kind)
    )
    counts = ", ".join(f"{name} {number}" for name, number in sizes.items())
    lines = [f"Views: {views}. Recordings of the splits: {counts}. It predicts the view {_plain(info.view)}."]
    lines.append(f"{len(info.classes)} classes: {', '.join(map(_plain, info.classes))}.")
    return "\n\n".join(lines)


def _scores(card: Card) -> str:
    row = card.row
    if row is None:
        return "None were counted when this was exported."
    info, scores, seeds = card.model.predictions.info, _own_scores(card, row), row.group.seeds
    table = [
        _line(["", *METRICS.values()]),
        _line(["---", *("---:" for _ in METRICS)]),
        _line([f"this model, seed {info.seed}", *(f"{getattr(scores, metric):.2f}" for metric in METRICS)]),
    ]
    if len(seeds) > 1:
        spread = [f"{row.mean(metric):.2f} ± {row.deviation(metric) or 0:.2f}" for metric in METRICS]
        table.append(_line([f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}", *spread]))
    said = (
        f"View {_plain(info.view)}, split {_plain(info.split)}: {scores.num_sequences} sequences, "
        f"{scores.num_frames} frames, of which {scores.coverage:.1%} have a prediction. Protocol {card.protocol}. "
        "In percent; F1 is pooled over sequences, edit their mean."
    )
    return "\n".join(table) + f"\n\n{said}"


def _limits(card: Card) -> str:
    limits = [
        "It knows only its own classes, and gives one of them to every moment.",
        "Confidences are mean probabilities of the network; they weren't calibrated.",
        "Another camera, place or task than those of training may lower the scores by an amount that nobody measured.",
        f"Features of another fingerprint than `{card.recipe.feature_set.fingerprint[:12]}…` are refused.",
    ]
    if trained_on := card.recipe.feature_set.trained_on:
        limits.append(f"The backbone itself was trained on: {'; '.join(map(_plain, trained_on))}.")
    if card.is_selected_on_test:
        limits.append(
            "Labels of the test split chose an epoch: scores on that split are none on unseen data."
        )
    return "\n".join(f"- {line}" for line in limits)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A name as Markdown shows it, whatever it holds."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
