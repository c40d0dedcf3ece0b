"""What a variant of the benchmark is made of: items, procedures, and the names of the actions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sync_demo.shapes import Solid


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
