"""What the films show: both views the same moments, ego darker, gray and unsteady."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_demo.film import shoot
from sync_demo.plan import EGO_VIEW

Floats = npt.NDArray[np.float64]
Decode = Callable[[Path], tuple[list[Fraction], npt.NDArray[np.uint8]]]


def activity(times: list[Fraction], pictures: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Moments in seconds, and how much the picture changes at each."""
    seconds = np.array([float(time) for time in times])
    change = np.abs(pictures[1:].astype(np.int16) - pictures[:-1]).mean(axis=(1, 2))
    return (seconds[1:] + seconds[:-1]) / 2, np.sqrt(change)


def best_lag(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> float:
    """By how many seconds the second view's pictures come late."""
    grid, lags = np.arange(3, 21, 0.05), np.arange(-2, 2.01, 0.05)
    alike = [
        np.corrcoef(np.interp(grid, *first), np.interp(grid + lag, second[0], second[1]))[0, 1]
        for lag in lags
    ]
    return float(lags[np.argmax(alike)])


def test_the_stored_times_bring_the_same_moments_together(rendered: Any, decode: Decode) -> None:
    """Seen in the pictures alone: when much moves in one view, much moves in the other at that time.

    Counted from each file's first frame, as frame numbers do, the views are off by their starts' difference.
    """
    for index, plan in enumerate(rendered.plans):
        moving = {view.view: activity(*decode(rendered.file(index, view.view))) for view in plan.views}
        stored = {
            view: (seconds + float(rendered.offset(index, view)), change)
            for view, (seconds, change) in moving.items()
        }
        from_zero = {
            view.view: (stored[view.view][0] - float(view.start_seconds), stored[view.view][1])
            for view in plan.views
        }
        start = {view.view: float(view.start_seconds) for view in plan.views}
        for first, second in (("v3", "v4"), ("v3", EGO_VIEW)):
            assert abs(best_lag(stored[first], stored[second])) < 0.11
            off = best_lag(from_zero[first], from_zero[second])
            assert abs(off - (start[first] - start[second])) < 0.11


def test_decoded_pictures_are_the_scene_at_their_time(rendered: Any, decode: Decode) -> None:
    """A picture is nearer to the scene drawn for its own time than for a tenth of a second off."""
    plan = rendered.plans[0]
    scene = plan.scene()
    for view in plan.views:
        _, pictures = decode(rendered.file(0, view.view))
        drawn = [
            frame.mean(axis=2) if frame.ndim == 3 else frame / 1023 * 255
            for frame in shoot(plan, scene, view)
        ]
        shift = round(view.fps / 10)
        moments = np.arange(20, 320, 3)
        error = {
            lag: np.mean([np.abs(pictures[k].astype(float) - drawn[k + lag]).mean() for k in moments])
            for lag in (-shift, 0, shift)
        }
        assert error[0] < 0.8 * min(error[-shift], error[shift]), (view.view, error)


def test_ego_is_darker_gray_and_never_still(rendered: Any, decode: Decode) -> None:
    plan = rendered.plans[1]
    scene = plan.scene()
    films = {view.view: decode(rendered.file(1, view.view)) for view in plan.views}
    assert films[EGO_VIEW][1].mean() < 0.7 * films["v3"][1].mean()
    for view in plan.views:
        frame = next(iter(shoot(plan, scene, view)))
        assert (frame.ndim, frame.dtype) == ((2, np.uint16) if view.view == EGO_VIEW else (3, np.uint8))
        if view.view == EGO_VIEW:
            assert frame.max() > 255  # levels that 8 bits haven't
    # the share of the picture that stays as it is over a second
    still = {
        view: np.mean([(np.abs(p[k].astype(int) - p[k + 12]) < 12).mean() for k in range(0, len(p) - 12, 10)])
        for view, (_, p) in films.items()
    }
    assert still["v3"] > 0.7
    assert still[EGO_VIEW] < still["v3"]
