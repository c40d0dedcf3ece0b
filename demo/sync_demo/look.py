"""How one recording looks: colours of person, table and light, drawn anew for each."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sync_demo.shapes import Color, Floats

Image = npt.NDArray[np.uint8]

TEXTURE_SIZE = (160, 224)
"""Rows and columns of the table's texture."""
_SKINS: tuple[Color, ...] = ((226, 180, 152), (205, 152, 122), (178, 126, 96))
_SLEEVES: tuple[Color, ...] = (
    (84, 100, 130),
    (96, 112, 104),
    (112, 104, 96),
    (104, 92, 122),
)
_TABLES: tuple[Color, ...] = (
    (178, 160, 138),
    (168, 158, 146),
    (170, 168, 164),
    (162, 156, 150),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """Colours (RGB, 0–255) and light of one recording."""

    skin: Color
    sleeve: Color
    shirt: Color
    room: Color
    table: Image
    """Texture of the table's top: uint8 (*TEXTURE_SIZE, 3); the first row is the far edge."""
    light: Floats
    """Unit vector (3,) towards the lamp."""
    ambient: float
    """Share of light that comes from everywhere."""
    warmth: Floats
    """Gain (3,) of each colour."""


def draw_look(rng: np.random.Generator) -> Look:
    """Draw one recording's look."""
    light = np.array([rng.uniform(-0.45, 0.45), rng.uniform(-0.4, 0.4), 1.0])
    tint = rng.uniform(-0.03, 0.03)
    return Look(
        skin=_vary(_SKINS[rng.integers(len(_SKINS))], rng),
        sleeve=_vary(_SLEEVES[rng.integers(len(_SLEEVES))], rng),
        shirt=_vary(_SLEEVES[rng.integers(len(_SLEEVES))], rng),
        room=_vary((120, 124, 128), rng),
        table=_table(_vary(_TABLES[rng.integers(len(_TABLES))], rng), rng),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.55, 0.65),
        warmth=rng.uniform(0.95, 1.04) * np.array([1 + tint, 1.0, 1 - tint]),
    )


def _vary(color: Color, rng: np.random.Generator) -> Color:
    red, green, blue = np.clip(np.array(color) * rng.uniform(0.95, 1.05) + rng.normal(0, 3, 3), 10, 250)
    return float(red), float(green), float(blue)


def _table(color: Color, rng: np.random.Generator) -> Image:
    rows, columns = TEXTURE_SIZE
    grain = rng.normal(0, 1, (int(rng.integers(8, 30)), int(rng.integers(3, 7)))).astype(np.float32)
    if rng.random() < 0.5:
        grain = grain.T
    waves = cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_CUBIC)
    specks = cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)).astype(np.float32), (0, 0), 1.0)
    shade = rng.uniform(2, 6) * waves + rng.uniform(2, 6) * specks
    texture: Image = np.clip(np.array(color) + shade[..., None], 0, 255).astype(np.uint8)
    return texture
