"""The work folder: a project of its own, with the videos as recordings and the features that were extracted.

    <output>/.work/<fingerprint>/{sync.toml, videos/<recording>/video.mp4, features.zarr, shortfalls/<recording>.txt}

Features are kept, so that another prediction of the same video needs none, and with them what they lack of the video.
The folder may be deleted at any time.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sync_predict.model import Model
from sync_predict.programs import chosen, run_program
from sync_predict.videos import Video
from sync_store.atomic import write_atomic
from sync_store.errors import StoreError
from sync_store.exported import ModelRecipe
from sync_store.labels import Segments, read_segments
from sync_store.layout import ensure_feature_set
from sync_store.lock import alone_in
from sync_store.project import PROJECT_FILE
from sync_store.reader import FeatureStore

FOLDER = ".work"
VIEW = "video"

BUSY = "another sync-predict is at work there; wait for it, or choose another folder with --output"


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """What the user may say about extraction."""

    weights: Path | None = None
    device: str = "auto"
    overwrite: bool = False
    """Extract again what is there."""
    quiet: bool = False


@contextmanager
def open_work(output: Path, recipe: ModelRecipe) -> Iterator["Work"]:
    """The work folder of a model's features, made if it isn't there.

    Raises:
        StoreError: If it holds something else.
        SyncError: If another `sync-predict` writes to the same output.
    """
    with alone_in(output.resolve() / FOLDER, BUSY):
        yield Work(output, recipe)


class Work:
    """See the module, and `open_work`."""

    def __init__(self, output: Path, recipe: ModelRecipe) -> None:
        self.recipe = recipe
        self.folder = output.resolve() / FOLDER / recipe.feature_set.fingerprint[:16]
        write_atomic(self.folder / PROJECT_FILE, _project_text(recipe).encode())
        # The store knows from the start which features are wanted, so extraction refuses to make others.
        ensure_feature_set(self._store, recipe.feature_set)

    def extract(self, videos: Sequence[Video], options: ExtractionOptions) -> dict[Video, str]:
        """Extract what isn't there yet.

        Returns:
            What failed, and why.

        Raises:
            SyncError: If nothing can be extracted, such as without the backbone's weights.
        """
        to_do = [video for video in videos if options.overwrite or not self.has_features(video)]
        if not to_do:
            return {}
        for video in to_do:
            self._link(video)
        done = run_program(
            *("sync-extract", "--project", str(self.folder), "--device", options.device),
            *chosen("--weights", [options.weights]),
            *(["--overwrite"] if options.overwrite else []),
            *(["--quiet"] if options.quiet else []),
            *chosen("--recording", [video.recording for video in to_do]),
            problem=(
                f"the features of run {self.recipe.run} can't be extracted. If its recipe differs, give the weights "
                "that the run's features were made with (--weights), and the kind of device (--device)"
            ),
        )
        failures = {failure["recording"]: failure for failure in done["failed"]}
        failed = {}
        for video in to_do:
            if (failure := failures.get(video.recording)) is None:
                self._shortfall(video).unlink(missing_ok=True)
                continue
            message = failure["message"].replace(str(self._place(video)), str(video.path))
            if failure["kept"]:
                write_atomic(self._shortfall(video), message.encode())
            else:
                failed[video] = message
        return failed

    def has_features(self, video: Video) -> bool:
        """Whether a video's features are complete."""
        try:
            FeatureStore(self._store).attributes(self.recipe.feature_set.name, VIEW, video.recording)
        except StoreError:
            return False
        return True

    def shortfall(self, video: Video) -> str | None:
        """What a video's features lack of it, if anything."""
        path = self._shortfall(video)
        return path.read_text(encoding="utf-8") if path.exists() else None

    def predict(self, videos: Sequence[Video], model: Model, device: str) -> dict[Video, Segments]:
        """Apply the model to the features of videos.

        Returns:
            Segments, of those whose features aren't damaged.

        Raises:
            SyncError: If it can't be applied.
        """
        if not videos:
            return {}
        with TemporaryDirectory(dir=self.folder, prefix="segments-") as output:
            done = run_program(
                *("sync-train", "--project", str(self.folder), "apply", "--view", VIEW, "--device", device),
                *("--output", output),
                *chosen("--recording", [video.recording for video in videos]),
                *("--", str(model.folder)),
                problem=f"the model of run {self.recipe.run} can't be applied",
            )
            damaged = {failure["recording"] for failure in done["failed"]}
            return {
                video: read_segments(Path(output) / f"{video.recording}.csv")
                for video in videos
                if video.recording not in damaged
            }

    @property
    def _store(self) -> Path:
        return self.folder / "features.zarr"

    def _place(self, video: Video) -> Path:
        return self.folder / "videos" / video.recording / f"{VIEW}{video.suffix}"

    def _shortfall(self, video: Video) -> Path:
        return self.folder / "shortfalls" / f"{video.recording}.txt"

    def _link(self, video: Video) -> None:
        place = self._place(video)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(video.path)


def _project_text(recipe: ModelRecipe) -> str:
    name = json.dumps(recipe.feature_set.name, ensure_ascii=False)
    return f'[views.{VIEW}]\nkind = "ego"\n\n[extract]\nfeature_set = {name}\n{recipe.extract.to_toml()}'
