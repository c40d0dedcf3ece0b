"""What lies on the table in each variant: items, procedures, and the names of the actions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from sync_demo.shapes import Color, Solid, box, ellipsoid, frustum, rotation_x, turned


class Motion(StrEnum):
    """How an action moves things."""

    PLACE = "place"
    """A part goes from the table into its slot on the base."""
    REMOVE = "remove"
    """A part is pulled from its slot and goes back to the table."""
    TWIST = "twist"
    """A tool is turned to and fro above the base."""
    STIR = "stir"
    """A tool circles above the base."""
    CHOP = "chop"
    """A tool goes up and down on the base."""
    POUR = "pour"
    """A tool is tilted above the base."""
    SHAKE = "shake"
    """A tool is shaken high above the base."""
    LIFT = "lift"
    """Both hands lift the base and turn it."""
    PAUSE = "pause"
    """Nothing that has a name: hands wander."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """A thing that hands move."""

    name: str
    solids: tuple[Solid, ...]
    """In the item's own frame; the origin is its middle, standing upright."""
    half_height: float
    """Metres from the origin down to what the item stands on."""
    rest_tilt: float = 0.0
    """Radians about its x axis while it lies on the table: tools lie, parts stand."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Procedure:
    """One toy in one direction, or one recipe."""

    name: str
    toy: str
    kind: Literal["assembly", "disassembly", "cooking"]
    base: tuple[Solid, ...]
    base_height: float
    parts: tuple[str, ...]
    """In the usual order; which slot a part goes to follows from its place here."""
    tools: tuple[tuple[str, Motion, str], ...]
    """Label, motion and item of each action with a tool."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kit:
    """One variant of the benchmark."""

    items: tuple[Item, ...]
    procedures: tuple[Procedure, ...]
    mistakes: bool
    """Whether parts are put on wrongly, taken off and put on again."""
    place_label: str
    """With {} for the part."""
    remove_label: str
    lift_label: str
    pauses: bool
    """Whether there is unlabeled time between actions."""
    fixed_exo: bool
    """Whether the exo cameras stand where they stood in every other recording."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every label that can occur."""
        parts = dict.fromkeys(part for procedure in self.procedures for part in procedure.parts)
        return (
            *(self.place_label.format(part) for part in parts),
            *(self.remove_label.format(part) for part in parts if self.mistakes),
            *dict.fromkeys(label for procedure in self.procedures for label, _, _ in procedure.tools),
            self.lift_label,
        )

    def item(self, name: str) -> Item:
        """The item of that name."""
        return next(item for item in self.items if item.name == name)


_ON_ITS_SIDE = rotation_x(np.array(np.pi / 2))


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

KITS = {"tabletop": TABLETOP, "kitchen": KITCHEN}
