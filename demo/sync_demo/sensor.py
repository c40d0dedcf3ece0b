"""What a camera makes of the picture in front of it: an exo webcam, and a dim gray head camera."""

import cv2
import numpy as np
import numpy.typing as npt

from sync_demo.cameras import FRAME_SIZE
from sync_demo.look import Image

Gray10 = npt.NDArray[np.uint16]

_NOISE_MARGIN = 64
"""Noise is drawn once, this much larger than a frame, and cut out at a random place for every frame."""


class ColorSensor:
    """Three channels of 8 bits with a little noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        sigma = rng.uniform(1.5, 4.0)
        self._noise = np.round(rng.normal(0, sigma, _with_margin((3,)))).astype(np.int16)

    def expose(self, image: Image) -> Image:
        """The recorded frame: uint8 (rows, columns, 3)."""
        noisy = cv2.add(image.astype(np.int16), _crop(self._noise, self._rng))
        clipped: Image = np.clip(noisy, 0, 255).astype(np.uint8)
        return clipped


class GraySensor:
    """One channel of 10 bits: darker, noisier, with dim corners."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        rows, columns = FRAME_SIZE
        y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        self._gain = (rng.uniform(0.60, 0.72) * (1 - 0.28 * (x**2 + y**2) / 2)).astype(np.float32)
        self._gamma = np.float32(rng.uniform(1.05, 1.2))
        self._noise = rng.normal(0, rng.uniform(0.010, 0.018), _with_margin(())).astype(np.float32)

    def expose(self, image: Image) -> Gray10:
        """The recorded frame: uint16 (rows, columns), 0–1023."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
        light = cv2.pow(gray, float(self._gamma)) * self._gain + _crop(self._noise, self._rng)
        levels: Gray10 = np.round(np.clip(light, 0, 1) * 1023).astype(np.uint16)
        return levels


def _with_margin(channels: tuple[int, ...]) -> tuple[int, ...]:
    return (FRAME_SIZE[0] + _NOISE_MARGIN, FRAME_SIZE[1] + _NOISE_MARGIN, *channels)


def _crop(noise: npt.NDArray[np.generic], rng: np.random.Generator) -> npt.NDArray[np.generic]:
    row, column = rng.integers(0, _NOISE_MARGIN, 2)
    return noise[row : row + FRAME_SIZE[0], column : column + FRAME_SIZE[1]]
