"""EgoExo4D as released (https://docs.ego-exo4d-data.org).

takes.json                                                   takes, cameras, paths
takes/<take>/frame_aligned_videos/<camera>.mp4               Aria glasses: <camera>_<stream id>.mp4
takes/<take>/frame_aligned_videos/downscaled/448/…           the same, small
annotations/keystep_{train,val}.json                         labels, tree of steps
annotations/atomic_descriptions_{train,val}.json             which exo camera is best

A recording is a take, by its name. Its clock begins with the first frame of its videos. Views: `ego` (the glasses'
color camera), `best-exo`, or a camera's name: `cam02`, `gp01`, `aria01-slam-left`.
"""

from fractions import Fraction
from functools import cached_property

from sync_store.config import suggest
from sync_store.dataset_config import EgoExo4DConfig
from sync_store.datasets.base import Action, LabeledSequence, VideoSource, open_root
from sync_store.datasets.egoexo4d.best_exo import BestExo, read_best_exo
from sync_store.datasets.egoexo4d.keysteps import FILES, Keysteps, Level, flatten, read_keysteps
from sync_store.datasets.egoexo4d.takes import Stream, Take, read_takes
from sync_store.errors import DatasetError, NoVideoError
from sync_store.labels import first_seen
from sync_store.names import check_name
from sync_store.project import Project
from sync_store.splits import read_split

PARTS = {"full": "takes", "448": "downscaled_takes/448"}
"""Part of the release that holds the videos of a resolution."""


class EgoExo4DDataset:
    """See the module's text for the layout; methods are those of `Dataset`, and some for its features."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._config = project.dataset.egoexo4d
        self._root = open_root(project)
        self.label_rate = project.dataset.label_rate
        self.background = project.dataset.background

    def recordings(self) -> list[str]:
        """Names of the takes of the chosen scenarios, sorted, whether or not their videos are on this disk."""
        return sorted(self._takes)

    def video(self, recording: str, view: str) -> VideoSource:
        """The view's frame-aligned video, by its path in takes.json."""
        config = self._project.view(view)
        take = self._take(recording)
        below = take.folder / self._stream(take, view).path
        if self._config.resolution != "full":
            below = below.parent / "downscaled" / self._config.resolution / below.name
        path = self._root / below
        if not path.is_file():
            fetch = f"egoexo -o {self._root} --parts {PARTS[self._config.resolution]} --uids {take.uid}"
            raise NoVideoError(
                f"recording {recording}, view {view}: no video; expected {path}. Fetch it with: {fetch}"
            )
        return VideoSource(
            recording=recording, view=view, path=path, offset=config.offset, clock=config.clock
        )

    def labeled(self, recording: str) -> list[LabeledSequence]:
        """The take as one sequence of steps at the chosen level; none without keysteps."""
        segments = flatten(self._actions(recording, self._config.label_level), self._config.overlap)
        if not len(segments):
            return []
        return [LabeledSequence(name=recording, recording=recording, segments=segments)]

    def actions(self, recording: str) -> list[Action]:
        """The annotated steps themselves."""
        return self._actions(recording, "step")

    def action_classes(self) -> tuple[str, ...] | None:
        """Names of the annotated steps of the chosen scenarios. Equal names are one class."""
        return self._classes("step")

    def classes(self) -> tuple[str, ...] | None:
        """Steps of the chosen scenarios at the chosen level, from the taxonomy. Equal names are one class."""
        return self._classes(self._config.label_level)

    def split(self, name: str) -> list[str]:
        """The lines of <name>.txt in the project's folder of splits: names of takes, or their uids."""
        folder = self._project.splits_path
        return read_split(folder, name, lambda entry: self.recording_of(entry, f"{folder}: split {name}"))

    def procedure(self, recording: str) -> str | None:
        """The scenario."""
        return self._scenario(self._take(recording))

    def recording_of(self, name: str, where: str = "") -> str:
        """The recording that a take's name or uid stands for.

        Args:
            name: Name or uid.
            where: Where it was found, for the message.

        Raises:
            DatasetError: If no take of the chosen scenarios has it.
        """
        recording = self._names.get(name, name)
        if recording not in self._takes:
            raise DatasetError(f"{where}: {self._unknown(name)}" if where else self._unknown(name))
        return recording

    def uid(self, recording: str) -> str:
        """The take's uid, by which the release's features and annotations go."""
        return self._take(recording).uid

    def duration_seconds(self, recording: str) -> Fraction | None:
        """How long the take is, by takes.json; None where that doesn't say it."""
        return self._take(recording).duration_seconds

    def camera(self, recording: str, view: str) -> str:
        """The release's name of a view's camera: aria01, cam03.

        Raises:
            NoVideoError: If the take has no such view.
        """
        return self._stream(self._take(recording), view).camera

    def stream(self, recording: str, view: str) -> str:
        """The release's name of a view's stream: rgb for the glasses' color camera, 0 for an exo camera.

        Raises:
            NoVideoError: If the take has no such view.
        """
        return self._stream(self._take(recording), view).stream

    def _take(self, recording: str) -> Take:
        if recording not in self._takes:
            raise DatasetError(self._unknown(recording))
        return self._takes[recording]

    def _unknown(self, name: str) -> str:
        return f"{name!r} is no take of the chosen scenarios in {self._root / 'takes.json'}"

    def _stream(self, take: Take, view: str) -> Stream:
        name: str | None = view
        if view == "ego":
            name = take.ego
        elif view == "best-exo":
            name = self._best_exo.choose(take.uid, take.exo)
        if name is None or name not in take.streams:
            raise NoVideoError(
                f"recording {take.name}, view {view}: takes.json names no such camera; "
                f"have: {', '.join(sorted(take.streams)) or 'none'}"
            )
        return take.streams[name]

    def _scenario(self, take: Take) -> str | None:
        return take.task or take.parent_task or self._keysteps.scenario(take.uid)

    def _actions(self, recording: str, level: Level) -> list[Action]:
        take = self._take(recording)
        keysteps = self._needed_keysteps
        scenario = keysteps.scenario(take.uid)
        if scenario in keysteps.taxonomies and scenario not in self._scenarios:
            raise DatasetError(
                f"recording {recording}: its keysteps are of scenario {scenario!r}, which isn't chosen, while "
                f"takes.json says {self._scenario(take)!r}. Add it to scenarios in sync.toml [dataset.egoexo4d]"
            )
        return keysteps.actions(take.uid, level)

    def _classes(self, level: Level) -> tuple[str, ...]:
        trees = [self._needed_keysteps.taxonomies[scenario] for scenario in self._scenarios]
        return first_seen(name for tree in trees for name in tree.classes(level))

    @cached_property
    def _scenarios(self) -> tuple[str, ...]:
        """Scenarios whose steps are classes: the chosen ones and, where a wider task is chosen, those of its takes."""
        have = self._needed_keysteps.taxonomies
        if not self._config.scenarios:
            return tuple(have)
        of_takes = sorted(self._scenario(take) or "" for take in self._takes.values())
        found = tuple(name for name in first_seen([*self._config.scenarios, *of_takes]) if name in have)
        if not found:
            raise DatasetError(
                f"{self._root / 'annotations'}: the keystep files have no taxonomy of a chosen scenario; "
                f"have: {', '.join(have)}"
            )
        return found

    @cached_property
    def _all_takes(self) -> list[Take]:
        return read_takes(self._root / "takes.json")

    @cached_property
    def _takes(self) -> dict[str, Take]:
        """The takes of the chosen scenarios by name."""
        chosen = set(self._config.scenarios)
        tasks = {take.name: {take.task, take.parent_task} - {None} for take in self._all_takes}
        known = {task for of_take in tasks.values() for task in of_take if task}
        unknown = [scenario for scenario in self._config.scenarios if scenario not in known]
        if unknown and self._config.scenarios != EgoExo4DConfig().scenarios:
            raise DatasetError(
                f"{self._project.file} [dataset.egoexo4d]: no take is of scenario "
                f"{unknown[0]!r}{suggest(unknown[0], sorted(known))}"
            )
        return {
            check_name(f"{self._root / 'takes.json'}: take", take.name, DatasetError): take
            for take in self._all_takes
            if not chosen or chosen & (tasks[take.name] or {self._scenario(take)})
        }

    @cached_property
    def _names(self) -> dict[str, str]:
        return {take.uid: name for name, take in self._takes.items()}

    @cached_property
    def _keysteps(self) -> Keysteps:
        """Keysteps, read when the first label is asked for, or for a take of which takes.json says no task."""
        keysteps = read_keysteps(self._root / "annotations")
        known = {take.uid for take in self._all_takes}
        if strange := [uid for uid in keysteps.takes if uid not in known]:
            raise DatasetError(
                f"{keysteps.takes[strange[0]].where}: isn't in takes.json. Fetch both from one release: "
                f"egoexo -o {self._root} --parts metadata annotations"
            )
        return keysteps

    @cached_property
    def _needed_keysteps(self) -> Keysteps:
        if not self._keysteps.taxonomies:
            raise DatasetError(
                f"{self._root / 'annotations'}: neither {FILES[0]} nor {FILES[1]} is there, which hold the labels. "
                f"Fetch them with: egoexo -o {self._root} --parts annotations"
            )
        return self._keysteps

    @cached_property
    def _best_exo(self) -> BestExo:
        return read_best_exo(self._root / "annotations")
