"""Where the cameras are and what they see, worked out with a pinhole of our own."""

import math
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest

from sync_demo.cameras import FRAME_SIZE, HeadCamera, Shots, fixed_camera
from sync_demo.kits import Motion
from sync_demo.plan import EGO_VIEW, VIEWS, RecordingPlan, Settings, plan_benchmark

EXO_VIEWS = [view for view in VIEWS if view != EGO_VIEW]


def plans(variant: str, seed: int = 11) -> tuple[RecordingPlan, ...]:
    return plan_benchmark(Settings(variant=variant, seed=seed, recordings=(4, 2, 2)))  # type: ignore[arg-type]


def project(shots: Shots, k: int, point: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Column, row and distance of a world point in picture k."""
    right, down, forward = shots.rotation_T33[k]
    away = point - shots.eye_T3[k]
    distance = float(away @ forward)
    column = FRAME_SIZE[1] / 2 + shots.focal_pixels * float(away @ right) / distance
    row = FRAME_SIZE[0] / 2 + shots.focal_pixels * float(away @ down) / distance
    return column, row, distance


def is_seen(shots: Shots, k: int, point: npt.NDArray[np.float64]) -> bool:
    column, row, distance = project(shots, k, point)
    return distance > 0 and 0 <= column < FRAME_SIZE[1] and 0 <= row < FRAME_SIZE[0]


def test_rotations_are_rotations() -> None:
    plan = plans("tabletop")[0]
    shots = HeadCamera(plan.scene(), plan.camera_rng(EGO_VIEW)).shots(np.linspace(0, 30, 50))
    for rotation in shots.rotation_T33:
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.isclose(np.linalg.det(rotation), 1)
        assert rotation[1, 2] < 0  # the picture's down is the world's down


def test_exo_faces_the_person_and_ego_looks_from_the_persons_side() -> None:
    for plan in plans("tabletop"):
        exo = fixed_camera("v3", False, plan.camera_rng("v3"))
        ego = HeadCamera(plan.scene(), plan.camera_rng(EGO_VIEW)).shots(np.array([5.0]))
        assert exo.eye_T3[0, 1] > 0.5 and ego.eye_T3[0, 1] < -0.3
        # left and right are swapped between them
        left, right = np.array([-0.2, 0, 0.05]), np.array([0.2, 0, 0.05])
        assert project(exo, 0, left)[0] > project(exo, 0, right)[0]
        assert project(ego, 0, left)[0] < project(ego, 0, right)[0]
        # the ego camera is closer
        assert np.linalg.norm(ego.eye_T3[0]) < 0.75 * np.linalg.norm(exo.eye_T3[0])


def test_exo_cameras_stay_put_in_the_tabletop_and_are_put_anywhere_in_the_kitchen() -> None:
    for view in EXO_VIEWS:
        spread = {}
        for variant in ("tabletop", "kitchen"):
            eyes = [
                fixed_camera(view, not plan.kit.fixed_exo, plan.camera_rng(view)).eye_T3[0]
                for plan in plans(variant)
            ]
            spread[variant] = float(np.ptp(np.array(eyes), axis=0).max())
        assert spread["tabletop"] < 0.15
        assert spread["kitchen"] > 0.5


def test_the_two_exo_cameras_stand_well_apart() -> None:
    for plan in plans("tabletop"):
        eyes = [fixed_camera(view, False, plan.camera_rng(view)).eye_T3[0] for view in EXO_VIEWS]
        angle = math.acos(
            float(eyes[0] @ eyes[1]) / math.dist(eyes[0], (0, 0, 0)) / math.dist(eyes[1], (0, 0, 0))
        )
        assert math.degrees(angle) > 30


@pytest.mark.parametrize("variant", ["tabletop", "kitchen"])
def test_what_is_worked_with_is_in_every_picture(variant: str) -> None:
    """The item's middle, over the middle of each action, in each view."""
    seen = defaultdict(list)
    for plan in plans(variant):
        scene = plan.scene()
        names = [body.name for body in scene.bodies]
        for action in plan.script.actions:
            if action.motion == Motion.PAUSE:
                continue
            times = action.start_ns / 1e9 + (action.stop_ns - action.start_ns) / 1e9 * np.linspace(
                0.3, 0.9, 12
            )
            points = scene.state(times).position_TB3[:, names.index(action.item or "base")]
            for view in VIEWS:
                rng = plan.camera_rng(view)
                if view == EGO_VIEW:
                    shots = HeadCamera(scene, rng).shots(times)
                    found = [is_seen(shots, k, points[k]) for k in range(len(times))]
                else:
                    shots = fixed_camera(view, not plan.kit.fixed_exo, rng)
                    found = [is_seen(shots, 0, point) for point in points]
                seen[view, action.motion].append(np.mean(found))
    for key, shares in seen.items():
        assert np.mean(shares) > 0.85, key
        assert min(shares) >= 0.5, key


def test_the_ego_camera_follows_the_hands_sways_and_trembles() -> None:
    following, trembling = [], []
    for plan in plans("tabletop"):
        scene = plan.scene()
        times = np.arange(1, plan.script.stop_ns / 1e9, 1 / 15)
        shots = HeadCamera(scene, plan.camera_rng(EGO_VIEW)).shots(times)
        forward = shots.rotation_T33[:, 2]
        on_table = shots.eye_T3 - forward * (shots.eye_T3[:, 2:] / forward[:, 2:])
        lags = np.arange(-1, 1.01, 0.1)
        hands = [scene.state(times - lag).gaze_T3[:, 0] for lag in lags]
        alike = [np.corrcoef(on_table[:, 0], hand)[0, 1] for hand in hands]
        following.append(max(alike))
        assert 0 < lags[np.argmax(alike)] < 0.8  # the head comes after the hands
        slow = np.convolve(on_table[:, 0], np.ones(9) / 9, mode="same")
        trembling.append(np.std((on_table[:, 0] - slow)[9:-9]))
        assert np.ptp(shots.eye_T3, axis=0).min() > 0.02
    assert np.mean(following) > 0.6
    assert min(trembling) > 0.001


def test_shots_can_be_cut() -> None:
    plan = plans("tabletop")[0]
    shots = HeadCamera(plan.scene(), plan.camera_rng(EGO_VIEW)).shots(np.linspace(0, 9, 10))
    part = shots.part(slice(3, 5))
    assert np.array_equal(part.eye_T3, shots.eye_T3[3:5])
    assert np.array_equal(part.rotation_T33, shots.rotation_T33[3:5])
    points = np.random.default_rng(0).normal(size=(2, 7, 3))
    seen = part.seen(points)
    for k in range(2):
        for n in range(7):
            column, row, distance = project(part, k, points[k, n])
            assert np.isclose(seen[k, n, 2], distance)
            assert np.isclose(seen[k, n, 0] / distance * part.focal_pixels + FRAME_SIZE[1] / 2, column)
            assert np.isclose(seen[k, n, 1] / distance * part.focal_pixels + FRAME_SIZE[0] / 2, row)
