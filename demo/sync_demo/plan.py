"""Which recordings a benchmark has: their scripts, cameras' clocks and splits, all from one seed.

Nothing is rendered here; a plan takes milliseconds and two runs with the same settings make the same plan.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from sync_demo.kitchen import KITCHEN
from sync_demo.kits import Kit
from sync_demo.scene import Scene
from sync_demo.script import Script, write_script
from sync_demo.tabletop import TABLETOP

Size = Literal["demo", "study"]
Variant = Literal["tabletop", "kitchen"]

KITS: dict[Variant, Kit] = {"tabletop": TABLETOP, "kitchen": KITCHEN}

SPLITS = ("train", "adapt", "test")
NUM_RECORDINGS: dict[str, tuple[int, int, int]] = {"demo": (20, 9, 21), "study": (60, 40, 60)}
"""Of train, adapt and test. The demo has the paper's proportions, 143 : 63 : 156 (section 4)."""

EGO_VIEW = "e4"
VIEWS = {"v3": Fraction(12), "v4": Fraction(25, 2), EGO_VIEW: Fraction(15)}
"""Frames a second of each view; different, so that equal frame numbers are different moments."""

LABEL_FPS = 10

_STARTS_MS = {"v3": (0, 400), "v4": (0, 900), EGO_VIEW: (300, 1700)}
"""Earliest and latest first frame on the recording's clock."""
_TAIL_MS = (-400, 900)
"""Time of the last frame after the last action's stop."""

_SCENE_STREAM, _CLOCK_STREAM, _SPLIT_STREAM = 0, 1, 2
_CAMERA_STREAMS = {"v3": 10, "v4": 11, EGO_VIEW: 12}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a benchmark's content depends on."""

    size: Size = "demo"
    variant: Variant = "tabletop"
    seed: int = 0
    recordings: tuple[int, int, int]
    """Numbers of recordings for train, adapt and test."""

    def __post_init__(self) -> None:
        if min(self.recordings) < 1:
            raise ValueError(f"every split needs a recording, got {self.recordings}")
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, got {self.seed}")

    @property
    def kit(self) -> Kit:
        """What lies on the table."""
        return KITS[self.variant]


@dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """One camera's clock in one recording."""

    view: str
    fps: Fraction
    start_seconds: Fraction
    """Of the first frame, on the recording's clock."""
    num_frames: int
    keeps_clock: bool
    """Whether the file's own time is the recording's; otherwise the file starts at 0 and the start is stated."""

    @property
    def offset_seconds(self) -> Fraction:
        """What must be added to the file's time."""
        return Fraction(0) if self.keeps_clock else self.start_seconds

    def times(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Moment of each frame on the recording's clock, in seconds."""
        return np.array([float(self.start_seconds + k / self.fps) for k in range(self.num_frames)])


@dataclass(frozen=True, kw_only=True)
class RecordingPlan:
    """One recording."""

    name: str
    index: int
    split: str
    seed: int
    kit: Kit
    script: Script
    views: tuple[ViewPlan, ...]

    def scene(self) -> Scene:
        """The scene that every view films."""
        rng = np.random.default_rng([self.seed, self.index, _SCENE_STREAM, 1])
        return Scene(self.kit, self.script, rng)

    def camera_rng(self, view: str) -> np.random.Generator:
        """Source of one camera's place, trembling and noise."""
        return np.random.default_rng([self.seed, self.index, _CAMERA_STREAMS[view]])


def plan_benchmark(settings: Settings) -> tuple[RecordingPlan, ...]:
    """Draw every recording's script and clocks, and deal the recordings to the splits."""
    total = sum(settings.recordings)
    splits = [split for split, count in zip(SPLITS, settings.recordings, strict=True) for _ in range(count)]
    order = np.random.default_rng([settings.seed, total, _SPLIT_STREAM]).permutation(total)
    return tuple(_plan_recording(settings, index, splits[order[index]]) for index in range(total))


def _plan_recording(settings: Settings, index: int, split: str) -> RecordingPlan:
    kit = settings.kit
    procedure = kit.procedures[index % len(kit.procedures)]
    script = write_script(kit, procedure, np.random.default_rng([settings.seed, index, _SCENE_STREAM]))
    rng = np.random.default_rng([settings.seed, index, _CLOCK_STREAM])
    return RecordingPlan(
        name=f"r{index:03d}-{procedure.name}",
        index=index,
        split=split,
        seed=settings.seed,
        kit=kit,
        script=script,
        views=tuple(_plan_view(view, fps, script, rng) for view, fps in VIEWS.items()),
    )


def _plan_view(view: str, fps: Fraction, script: Script, rng: np.random.Generator) -> ViewPlan:
    start = Fraction(int(rng.integers(*_STARTS_MS[view])), 1000)
    stop = Fraction(script.stop_ns, 10**9) + Fraction(int(rng.integers(*_TAIL_MS)), 1000)
    return ViewPlan(
        view=view,
        fps=fps,
        start_seconds=start,
        num_frames=int((stop - start) * fps) + 1,
        keeps_clock=bool(rng.random() < 0.5),
    )
