"""`sync-extract split`: draws recordings for training, adaptation and test."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_store.console import json_option, print_json, some_of
from sync_store.errors import DatasetError, ProjectError, VideoError
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_store.splits import Candidate, DrawnSplit, Sizes

PAPER_SIZES: "dict[str, Sizes]" = {"assembly101": (143, 63, 156), "egoexo4d": (90, 89, 44)}
"""Sizes of the paper's splits (section 4) by kind of dataset."""

RULE = (
    "recordings sorted by name, shuffled by numpy's Generator(PCG64(seed)).permutation; test: the first with labels "
    "and both views; adapt: the first without labels and with both views, then of those left with labels and both; "
    "train: of those left with labels and both views, then with labels and the exo view alone; too few: all three in "
    "proportion, by the largest remainders"
)
"""How a split is drawn, for the file beside it."""

NOTES = "split.json"


def _sizes(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> "Sizes | None":
    if text is None:
        return None
    try:
        train, adapt, test = (int(part) for part in text.split("/"))
    except ValueError:
        raise click.BadParameter(f"expected three numbers such as 143/63/156, got {text!r}") from None
    if min(train, adapt, test) < 1:
        raise click.BadParameter(f"every split needs a recording, got {text!r}")
    return train, adapt, test


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw.")
@click.option(
    "--sizes",
    callback=_sizes,
    metavar="TRAIN/ADAPT/TEST",
    help="Numbers of recordings, such as 143/63/156 [default: the paper's, where it has some].",
)
@click.option("--exo", help="View that training and adaptation need [default: as sync-train's].")
@click.option("--ego", help="View that adaptation and test need [default: as sync-train's].")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files [default: the project's splits].",
)
@click.option("--overwrite", is_flag=True, help="Replace the split that is there.")
@json_option
@click.pass_obj
def split(
    project_path: Path | None,
    /,
    seed: int,
    sizes: "Sizes | None",
    exo: str | None,
    ego: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw train.txt, adapt.txt and test.txt from all recordings, by a stated seed.

    The same seed and recordings give the same split. What is drawn from, asked for and got is written to split.json.
    """
    from sync_store.splits import draw_split

    project = load_project(project_path)
    sizes = sizes or PAPER_SIZES.get(project.dataset.kind)
    if sizes is None:
        raise ProjectError("say how many recordings each split gets, with --sizes TRAIN/ADAPT/TEST")
    views = {"exo": _view(project, "exo", exo), "ego": _view(project, "ego", ego)}
    folder = output or project.splits_path
    if not overwrite and (there := [name for name in _files(folder) if name.exists()]):
        raise DatasetError(f"{there[0]}: is there already. Replace the split with --overwrite")
    candidates = _candidates(project, views["exo"], views["ego"])
    drawn = draw_split(candidates, sizes, seed)
    notes = _notes(candidates, drawn, sizes, seed, views)
    _write(folder, drawn, notes)
    if drawn.sizes != sizes:
        click.echo(f"warning: {_shortage(notes)}", err=True)
    if lacking := notes["train_without_ego"]:
        click.echo(
            f"warning: {len(lacking)} of train have no view {views['ego']}: {some_of(lacking)}. The ego oracle "
            "learns without them",
            err=True,
        )
    if as_json:
        print_json({"folder": str(folder), **notes, **asdict(drawn)})
        return
    click.echo(f"{folder}: {_text(drawn.sizes)} recordings for train/adapt/test, seed {seed}", err=True)


def _view(project: Project, kind: str, name: str | None) -> str:
    """The asked view, or the one that sync-train takes."""
    name = name or str(project.stage("train").get(kind) or next(iter(project.views_of_kind(kind)), ""))
    if not name:
        raise ProjectError(
            f"{project.file}: has no {kind} view, and a split needs pairs of an exo and an ego view"
        )
    project.view(name)
    return name


def _candidates(project: Project, exo: str, ego: str) -> "list[Candidate]":
    """All recordings, with what there is of each: labels, and videos or stored features of both views."""
    from sync_store.datasets import open_dataset
    from sync_store.splits import Candidate

    dataset = open_dataset(project)
    stored = {view: _stored(project, view) for view in (exo, ego)}
    names = set(dataset.recordings())
    if project.dataset.kind != "egoexo4d":
        # takes.json lists all takes of the chosen scenarios, and the store may hold others; elsewhere features may
        # be there without a video.
        names |= stored[exo] | stored[ego]

    def has(recording: str, view: str) -> bool:
        if recording in stored[view]:
            return True
        try:
            return bool(dataset.video(recording, view))
        except VideoError:
            return False

    return [
        Candidate(
            name=recording,
            labeled=bool(dataset.labeled(recording)),
            exo=has(recording, exo),
            ego=has(recording, ego),
        )
        for recording in sorted(names)
    ]


def _stored(project: Project, view: str) -> set[str]:
    """Recordings whose features of a view are in the store, of any feature set."""
    from sync_store.layout import METADATA
    from sync_store.reader import FeatureStore

    if not (project.store_path / METADATA).is_file():
        return set()
    store = FeatureStore(project.store_path)
    return {name for feature_set in store.feature_sets() for name in store.recordings(feature_set, view)}


def _notes(
    candidates: "list[Candidate]", drawn: "DrawnSplit", sizes: "Sizes", seed: int, views: dict[str, str]
) -> dict[str, Any]:
    """What split.json says."""
    from sync_store.provenance import code_version, library_versions

    return {
        "seed": seed,
        "sizes_asked": list(sizes),
        "sizes": list(drawn.sizes),
        "views": views,
        "recordings": {
            "all": len(candidates),
            "with_labels": sum(candidate.labeled for candidate in candidates),
            "with_both_views": sum(candidate.exo and candidate.ego for candidate in candidates),
            "with_labels_and_both_views": sum(c.labeled and c.exo and c.ego for c in candidates),
        },
        "train_without_ego": sorted({c.name for c in candidates if not c.ego} & set(drawn.train)),
        "rule": RULE,
        "versions": {"sync-tas": code_version(), **library_versions(["numpy"])},
    }


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in ("train.txt", "adapt.txt", "test.txt", NOTES)]


def _write(folder: Path, drawn: "DrawnSplit", notes: dict[str, Any]) -> None:
    """Write the split, split.json last, so that it never describes other files than those beside it."""
    from sync_store.atomic import write_atomic, write_json

    (folder / NOTES).unlink(missing_ok=True)
    for path, names in zip(_files(folder), (drawn.train, drawn.adapt, drawn.test), strict=False):
        write_atomic(path, "".join(f"{name}\n" for name in names).encode())
    write_json(folder / NOTES, notes)


def _shortage(notes: dict[str, Any]) -> str:
    counts = notes["recordings"]
    return (
        f"too few recordings for {_text(notes['sizes_asked'])} in train/adapt/test: of {counts['all']}, "
        f"{counts['with_labels']} have labels, {counts['with_both_views']} views {notes['views']['exo']} and "
        f"{notes['views']['ego']}, {counts['with_labels_and_both_views']} all of these. "
        f"All three shrank in proportion, to {_text(notes['sizes'])}"
    )


def _text(sizes: "Sizes | list[int]") -> str:
    return "/".join(map(str, sizes))
