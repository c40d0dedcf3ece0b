"""Pictures of simple bodies against a pinhole camera of our own, and what hides what."""

import numpy as np
import numpy.typing as npt
import pytest

from sync_demo.cameras import FRAME_SIZE, HeadCamera, Shots, fixed_camera
from sync_demo.draw import Renderer
from sync_demo.look import Look, draw_look
from sync_demo.plan import EGO_VIEW, Settings, plan_benchmark
from sync_demo.scene import BEHIND_TABLE, FRONT, Body
from sync_demo.shapes import Solid, box, ellipsoid, frustum, rotation_z

ROWS, COLUMNS = FRAME_SIZE


@pytest.fixture
def look() -> Look:
    """A plain table under a lamp overhead."""
    drawn = draw_look(np.random.default_rng(0))
    table = np.full_like(drawn.table, 200)
    overhead = np.array([0.0, 0.0, 1.0])
    return Look(
        skin=drawn.skin,
        sleeve=drawn.sleeve,
        shirt=drawn.shirt,
        room=(40, 40, 40),
        table=table,
        light=overhead,
        ambient=0.6,
        warmth=np.ones(3),
    )


def body(solid: Solid, layer: int = FRONT, shadow_radius: float = 0.0) -> Body:
    return Body(name="thing", solids=(solid,), layer=layer, shadow_radius=shadow_radius)


def one_picture(
    bodies: tuple[Body, ...], places: list[tuple[float, float, float]], shots: Shots, look: Look
) -> npt.NDArray[np.uint8]:
    linear = np.broadcast_to(np.eye(3), (1, len(bodies), 3, 3))
    return next(iter(Renderer(bodies, look).draw(linear, np.array([places], dtype=float), shots)))


def from_above(height: float = 1.0, focal: float = 120.0) -> Shots:
    """Looks straight down; columns are x, rows are −y."""
    return Shots(
        rotation_T33=np.array([[[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]]),
        eye_T3=np.array([[0.0, 0, height]]),
        focal_pixels=focal,
    )


def from_the_front() -> Shots:
    """An exo camera that sits exactly where it should, looking at the person."""
    return fixed_camera("v3", False, np.random.default_rng(0))


RED = (250.0, 10.0, 10.0)
BLUE = (10.0, 10.0, 250.0)


def test_a_box_lies_where_a_pinhole_sees_it(look: Look) -> None:
    solid = box((0.2, 0.1, 0.05), (0, 0, 0), RED)
    image = one_picture((body(solid),), [(0.1, 0.05, 0.1)], from_above(), look)
    red = (image[..., 0] > 150) & (image[..., 2] < 60)
    rows, columns = np.nonzero(red)
    # its top is at z = 0.125, so 0.875 m from the eye
    scale = 120 / 0.875
    assert abs(columns.min() - (COLUMNS / 2 + 0.0 * scale)) <= 1.5
    assert abs(columns.max() - (COLUMNS / 2 + 0.2 * scale)) <= 1.5
    assert abs(rows.min() - (ROWS / 2 - 0.1 * scale)) <= 1.5
    assert abs(rows.max() - (ROWS / 2 - 0.0 * scale)) <= 1.5
    # the outline belongs to a face, so it is up to a pixel wider and higher
    assert 0 <= red.sum() - 0.2 * 0.1 * scale**2 < 0.15 * red.sum()


def test_the_table_lies_where_a_pinhole_sees_it(look: Look) -> None:
    image = one_picture(
        (body(box((0.01, 0.01, 0.01), (9, 9, 9), RED)),), [(0, 0, 0)], from_above(1.2, 60), look
    )
    table = image[..., 0] > 150
    rows, columns = np.nonzero(table)
    assert abs(np.ptp(columns) + 1 - 1.24 * 50) <= 1.5
    assert abs(rows.min() - (ROWS / 2 - 0.42 * 50)) <= 1.5
    assert abs(rows.max() - (ROWS / 2 + 0.36 * 50)) <= 1.5


def test_the_nearer_body_hides_the_farther(look: Look) -> None:
    bodies = (body(box((0.1, 0.1, 0.02), (0, 0, 0), RED)), body(box((0.1, 0.1, 0.02), (0, 0, 0), BLUE)))
    middle = (ROWS // 2, COLUMNS // 2)
    for low, high in ((0, 1), (1, 0)):
        places = [(0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
        places[low], places[high] = (0, 0, 0.1), (0, 0, 0.3)
        image = one_picture(bodies, places, from_above(), look)
        assert image[middle][0 if high == 0 else 2] > 200


def test_the_table_hides_what_is_behind_it_and_nothing_else(look: Look) -> None:
    tall = box((0.3, 0.1, 1.2), (0, 0, 0), RED)
    empty = one_picture((body(tall),), [(9, 9, 9)], from_the_front(), look)
    front = one_picture((body(tall, FRONT),), [(0, -0.72, 0)], from_the_front(), look)
    behind = one_picture((body(tall, BEHIND_TABLE),), [(0, -0.72, 0)], from_the_front(), look)
    table = empty[..., 0] > 150
    changed_front = (front != empty).any(axis=2)
    changed_behind = (behind != empty).any(axis=2)
    assert (changed_front & table).sum() > 50
    assert not (changed_behind & table)[2:-2].any()
    assert np.array_equal(front[~table & changed_behind], behind[~table & changed_behind])
    assert changed_behind.sum() > 100


def test_a_body_throws_a_shadow_and_brightness_depends_on_the_side(look: Look) -> None:
    solid = box((0.06, 0.06, 0.06), (0, 0, 0), (180.0, 180.0, 180.0))
    bare = one_picture((body(solid),), [(0, 0, 0.2)], from_above(), look)
    shaded = one_picture((body(solid, shadow_radius=0.1),), [(0, 0, 0.2)], from_above(), look)
    darker = (shaded < bare).all(axis=2)
    assert 200 < darker.sum() < ROWS * COLUMNS / 3
    assert not (shaded > bare).any()
    seen = one_picture((body(solid),), [(0, 0, 0.03)], from_the_front(), look)
    levels = np.unique(seen[(seen[..., 0] != 200) & (seen[..., 0] > 90)])
    assert levels.max() / levels.min() > 1.3  # top under the lamp against side


def test_what_is_too_near_or_outside_the_picture_is_not_drawn(look: Look) -> None:
    solid = box((0.1, 0.1, 0.1), (0, 0, 0), RED)
    empty = one_picture((body(solid),), [(0, 0, 50)], from_above(), look)  # behind the camera
    for place in ((0, 0, 0.97), (5, 0, 0), (0, -5, 0)):
        assert np.array_equal(one_picture((body(solid),), [place], from_above(), look), empty)


@pytest.mark.parametrize(
    "solid",
    [
        box((0.1, 0.2, 0.3), (0.1, 0, 0), RED),
        frustum((0.1, 0.05), 0.2, (0, 0.1, 0), RED, sides=7),
        frustum((0.05, 0.1), 0.2, (0, 0, 0), RED),
        ellipsoid((0.1, 0.2, 0.05), (0, 0, 0.3), RED, sides=9, bands=5),
    ],
)
def test_solids_are_closed_and_their_faces_look_outwards(solid: Solid) -> None:
    middle = solid.vertices.mean(axis=0)
    edges = []
    for face in solid.faces:
        corners = solid.vertices[list(face)]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        assert (corners.mean(axis=0) - middle) @ normal > 0
        assert np.allclose((corners - corners[0]) @ normal, 0, atol=1e-9)
        edges += list(zip(face, (*face[1:], face[0]), strict=True))
    # each edge once in each direction: nothing is open
    assert sorted(edges) == sorted((b, a) for a, b in edges)


def test_pictures_do_not_depend_on_how_many_are_drawn_together() -> None:
    plan = plan_benchmark(Settings(seed=2, recordings=(1, 1, 1)))[0]
    scene = plan.scene()
    times = np.linspace(3, 12, 70)
    state = scene.state(times)
    shots = HeadCamera(scene, plan.camera_rng(EGO_VIEW)).shots(times)
    renderer = Renderer(scene.bodies, scene.look)
    together = list(renderer.draw(state.linear_TB33, state.position_TB3, shots))
    assert len(together) == 70
    for k in (0, 31, 32, 69):
        one = slice(k, k + 1)
        (alone,) = renderer.draw(state.linear_TB33[one], state.position_TB3[one], shots.part(one))
        assert np.array_equal(alone, together[k])


def test_turning_everything_turns_nothing_in_the_picture(look: Look) -> None:
    """A camera that moves with the bodies sees the same, up to the lamp, which is overhead."""
    solid = box((0.2, 0.1, 0.1), (0, 0, 0), RED)
    shots = from_above()
    turn = rotation_z(np.array(0.7))
    turned = Shots(
        rotation_T33=shots.rotation_T33 @ turn.T,
        eye_T3=shots.eye_T3 @ turn.T,
        focal_pixels=shots.focal_pixels,
    )
    place = np.array([[[0.1, 0.02, 0.05]]])
    renderer = Renderer((body(solid),), look)
    (still,) = renderer.draw(np.eye(3)[None, None], place, shots)
    (moved,) = renderer.draw(turn[None, None], place @ turn.T, turned)
    red_still, red_moved = ((picture[..., 2] < 100) & (picture[..., 0] > 150) for picture in (still, moved))
    assert red_still.sum() > 200
    assert (red_still != red_moved).sum() <= 4
