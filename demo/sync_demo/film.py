"""Films one recording: every view of its scene, frame by frame at the frame's own moment."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2

from sync_demo.cameras import FRAME_SIZE, HeadCamera, fixed_camera
from sync_demo.draw import Renderer
from sync_demo.encode import COLOR, gray_encoding, write_video
from sync_demo.look import Image
from sync_demo.plan import EGO_VIEW, RecordingPlan, ViewPlan
from sync_demo.scene import PERSON, Scene
from sync_demo.sensor import ColorSensor, Gray10, GraySensor


def film(recording: RecordingPlan, folder: Path) -> None:
    """Write `<view>.mp4` of every view into `folder`."""
    cv2.setNumThreads(1)
    scene = recording.scene()
    for plan in recording.views:
        write_video(
            folder / f"{plan.view}.mp4",
            shoot(recording, scene, plan),
            encoding=gray_encoding() if plan.view == EGO_VIEW else COLOR,
            fps=plan.fps,
            start_seconds=plan.start_seconds if plan.keeps_clock else Fraction(0),
            size=FRAME_SIZE,
        )


def shoot(recording: RecordingPlan, scene: Scene, plan: ViewPlan) -> Iterator[Image | Gray10]:
    """The frames of one view: color for the exo cameras, gray for the ego camera."""
    return (_shoot_ego if plan.view == EGO_VIEW else _shoot_exo)(recording, scene, plan)


def _shoot_exo(recording: RecordingPlan, scene: Scene, plan: ViewPlan) -> Iterator[Image]:
    rng = recording.camera_rng(plan.view)
    camera = fixed_camera(plan.view, not recording.kit.fixed_exo, rng)
    sensor = ColorSensor(rng)
    renderer = Renderer(scene.bodies, scene.look)
    rotation, eye, focal = camera.rotation_T33[0], camera.eye_T3[0], camera.focal_pixels
    empty = renderer.draw_table(rotation, eye, focal)
    state = scene.state(plan.times())
    for linear, position in zip(state.linear_TB33, state.position_TB3, strict=True):
        yield sensor.expose(renderer.draw(linear, position, rotation, eye, focal, empty))


def _shoot_ego(recording: RecordingPlan, scene: Scene, plan: ViewPlan) -> Iterator[Gray10]:
    rng = recording.camera_rng(plan.view)
    times = plan.times()
    shots = HeadCamera(scene, rng).shots(times)
    sensor = GraySensor(rng)
    keep = [index for index, body in enumerate(scene.bodies) if body.name != PERSON]
    renderer = Renderer(tuple(scene.bodies[index] for index in keep), scene.look)
    state = scene.state(times)
    linear, position = state.linear_TB33[:, keep], state.position_TB3[:, keep]
    for k in range(len(times)):
        yield sensor.expose(
            renderer.draw(linear[k], position[k], shots.rotation_T33[k], shots.eye_T3[k], shots.focal_pixels)
        )
