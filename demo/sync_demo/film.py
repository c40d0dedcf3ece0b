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
    state = scene.state(plan.times())
    renderer = Renderer(scene.bodies, scene.look)
    return map(sensor.expose, renderer.draw(state.linear_TB33, state.position_TB3, camera))


def _shoot_ego(recording: RecordingPlan, scene: Scene, plan: ViewPlan) -> Iterator[Gray10]:
    rng = recording.camera_rng(plan.view)
    times = plan.times()
    shots = HeadCamera(scene, rng).shots(times)
    sensor = GraySensor(rng)
    state = scene.state(times)
    keep = [index for index, body in enumerate(scene.bodies) if body.name != PERSON]
    renderer = Renderer(tuple(scene.bodies[index] for index in keep), scene.look)
    return map(sensor.expose, renderer.draw(state.linear_TB33[:, keep], state.position_TB3[:, keep], shots))
