"""The kit of the variant `kitchen`: dishes that ingredients are added to, with pauses that have no label."""

import numpy as np

from sync_demo.kits import Item, Kit, Motion, Procedure
from sync_demo.shapes import Color, box, ellipsoid, frustum, rotation_x, turned

_ON_ITS_SIDE = rotation_x(np.array(np.pi / 2))


def _ball(name: str, radius: float, color: Color) -> Item:
    solids = (
        ellipsoid((radius, radius, radius * 0.9), (0, 0, 0), color),
        frustum((0.016, 0.004), 0.014, (0, 0, radius), (40, 110, 40), sides=5),
    )
    return Item(name=name, solids=solids, half_height=radius * 0.9)


_KITCHEN_ITEMS = (
    _ball("tomato", 0.046, (214, 44, 30)),
    Item(
        name="cucumber",
        half_height=0.026,
        solids=(turned(frustum((0.026, 0.022), 0.19, (0, 0, 0), (36, 122, 50)), _ON_ITS_SIDE),),
    ),
    Item(
        name="egg",
        half_height=0.040,
        solids=(ellipsoid((0.032, 0.032, 0.042), (0, 0, 0), (246, 232, 214)),),
    ),
    Item(
        name="cheese",
        half_height=0.025,
        solids=(box((0.10, 0.075, 0.05), (0, 0, 0), (246, 200, 50)),),
    ),
    Item(
        name="knife",
        half_height=0.09,
        rest_tilt=-np.pi / 2,
        solids=(
            box((0.010, 0.045, 0.12), (0, 0, -0.03), (200, 206, 214)),
            box((0.022, 0.034, 0.09), (0, 0, 0.07), (36, 34, 38)),
        ),
    ),
    Item(
        name="spoon",
        half_height=0.10,
        rest_tilt=-np.pi / 2,
        solids=(
            ellipsoid((0.030, 0.012, 0.036), (0, 0, -0.07), (176, 122, 66), sides=6, bands=3),
            frustum((0.011, 0.013), 0.15, (0, 0, 0.03), (176, 122, 66), sides=6),
        ),
    ),
    Item(
        name="bottle",
        half_height=0.085,
        solids=(
            frustum((0.034, 0.034), 0.10, (0, 0, -0.035), (150, 160, 32)),
            frustum((0.030, 0.012), 0.06, (0, 0, 0.045), (190, 196, 70)),
        ),
    ),
    Item(
        name="shaker",
        half_height=0.055,
        solids=(
            frustum((0.030, 0.026), 0.075, (0, 0, -0.0175), (60, 96, 200), sides=6),
            frustum((0.027, 0.020), 0.03, (0, 0, 0.035), (235, 235, 235), sides=6),
        ),
    ),
)

_PAN = (frustum((0.13, 0.155), 0.045, (0, 0, 0), (58, 58, 64), sides=10),)
_BOWL = (frustum((0.10, 0.165), 0.060, (0, 0, 0), (196, 194, 188), sides=10),)
_CHOP = ("chop", Motion.CHOP, "knife")
_STIR = ("stir", Motion.STIR, "spoon")
_OIL = ("pour oil", Motion.POUR, "bottle")
_SALT = ("season", Motion.SHAKE, "shaker")

KITCHEN = Kit(
    items=_KITCHEN_ITEMS,
    procedures=tuple(
        Procedure(
            name=name,
            toy=name,
            kind="cooking",
            base=base,
            base_height=0.05,
            parts=parts,
            tools=tools,
        )
        for name, base, parts, tools in (
            ("salad", _BOWL, ("cucumber", "tomato", "cheese"), (_CHOP, _OIL, _SALT, _STIR)),
            ("omelet", _PAN, ("egg", "cheese"), (_OIL, _STIR, _SALT)),
            ("scrambled-eggs", _PAN, ("egg", "tomato"), (_STIR, _OIL, _SALT)),
            ("tomato-and-eggs", _PAN, ("tomato", "egg", "cucumber"), (_CHOP, _OIL, _STIR)),
        )
    ),
    mistakes=False,
    place_label="add {}",
    remove_label="take out {}",
    lift_label="toss",
    pauses=True,
    fixed_exo=False,
)
