"""The kit of the variant `tabletop`: toys that are put together and taken apart, with mistakes."""

import numpy as np

from sync_demo.kits import Item, Kit, Motion, Procedure
from sync_demo.shapes import Solid, box, ellipsoid, frustum


def _steel(height: float, radius: float, bottom: float) -> Solid:
    return frustum((radius, radius), height, (0, 0, bottom + height / 2), (190, 195, 205), sides=6)


# Parts differ in hue for the exo cameras, and in brightness, shape and pattern for the gray ego camera.
_TABLETOP_ITEMS = (
    Item(
        name="wheel",
        half_height=0.022,
        solids=(
            frustum((0.052, 0.052), 0.044, (0, 0, 0), (32, 32, 36), sides=10),
            frustum((0.024, 0.020), 0.012, (0, 0, 0.028), (225, 225, 225), sides=8),
        ),
    ),
    Item(
        name="cabin",
        half_height=0.055,
        solids=(
            box((0.078, 0.078, 0.07), (0, 0, -0.02), (205, 38, 32)),
            box((0.066, 0.066, 0.03), (0, 0, 0.03), (150, 205, 225)),
            box((0.080, 0.080, 0.012), (0, 0, 0.05), (120, 16, 16)),
        ),
    ),
    Item(
        name="boom",
        half_height=0.018,
        solids=tuple(
            box((0.042, 0.036, 0.036), (x, 0, 0), color)
            for x, color in (
                (-0.084, (250, 208, 30)),
                (-0.042, (60, 52, 20)),
                (0.0, (250, 208, 30)),
                (0.042, (60, 52, 20)),
                (0.084, (250, 208, 30)),
            )
        ),
    ),
    Item(
        name="roof",
        half_height=0.012,
        solids=(
            box((0.135, 0.105, 0.02), (0, 0, 0), (28, 140, 62)),
            box((0.030, 0.106, 0.012), (0, 0, 0.012), (20, 84, 40)),
        ),
    ),
    Item(
        name="tank",
        half_height=0.06,
        solids=(
            frustum((0.040, 0.040), 0.045, (0, 0, -0.0375), (235, 238, 240), sides=8),
            frustum((0.041, 0.041), 0.020, (0, 0, -0.005), (240, 120, 20), sides=8),
            frustum((0.040, 0.026), 0.050, (0, 0, 0.030), (235, 238, 240), sides=8),
        ),
    ),
    Item(
        name="cone",
        half_height=0.05,
        solids=(
            frustum((0.060, 0.012), 0.095, (0, 0, 0), (44, 62, 205), sides=9),
            ellipsoid((0.022, 0.022, 0.022), (0, 0, 0.055), (240, 200, 235), sides=6, bands=3),
        ),
    ),
    Item(
        name="screwdriver",
        half_height=0.10,
        rest_tilt=-np.pi / 2,
        solids=(
            _steel(0.10, 0.010, -0.10),
            frustum((0.026, 0.030), 0.09, (0, 0, 0.045), (225, 40, 170), sides=6),
        ),
    ),
)

_BASES: dict[str, tuple[Solid, ...]] = {
    "truck": (box((0.30, 0.20, 0.04), (0, 0, 0), (150, 152, 158)),),
    "crane": (frustum((0.165, 0.150), 0.04, (0, 0, 0), (172, 120, 70), sides=6),),
    "tractor": (
        box((0.34, 0.11, 0.04), (0, 0, 0), (72, 108, 118)),
        box((0.12, 0.23, 0.036), (0, 0, 0), (88, 130, 140)),
    ),
    "loader": (frustum((0.160, 0.160), 0.04, (0, 0, 0), (206, 200, 186), sides=10),),
}
_TOY_PARTS = {
    "truck": ("wheel", "cabin", "tank", "roof", "boom"),
    "crane": ("boom", "wheel", "cone", "cabin", "roof", "tank"),
    "tractor": ("cabin", "cone", "wheel", "tank", "roof"),
    "loader": ("roof", "tank", "boom", "cone", "wheel", "cabin"),
}

TABLETOP = Kit(
    items=_TABLETOP_ITEMS,
    procedures=tuple(
        Procedure(
            name=f"{toy}-{kind}",
            toy=toy,
            kind=kind,
            base=_BASES[toy],
            base_height=0.04,
            parts=parts,
            tools=(("screw", Motion.TWIST, "screwdriver"),),
        )
        for toy, parts in _TOY_PARTS.items()
        for kind in ("assembly", "disassembly")
    ),
    mistakes=True,
    place_label="attach {}",
    remove_label="detach {}",
    lift_label="inspect",
    pauses=False,
    fixed_exo=True,
)
