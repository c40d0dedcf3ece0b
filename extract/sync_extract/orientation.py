"""How a stored picture is turned for display, as a file's display matrix says. Decoders don't turn it."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame

from sync_store.errors import VideoError


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """What to do with a stored picture, in this order."""

    transpose: bool = False
    """Rows become columns."""
    flip_x: bool = False
    """Left and right change places, after transposing."""
    flip_y: bool = False
    """Top and bottom change places, after transposing."""

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn a picture (H, W, 3); a view of the same memory."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def read_orientation(path: Path, frame: VideoFrame) -> Orientation:
    """Read the display matrix a, b, u, c, d, v, … of a decoded picture: x' = a x + c y and y' = b x + d y.

    Raises:
        VideoError: If it turns by an angle that isn't a multiple of 90 degrees.
    """
    side_data = cast("SideDataContainer", frame.side_data)  # PyAV's stub calls it a dict of motion vectors
    if (matrix := side_data.get("DISPLAYMATRIX")) is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if a and d and not (b or c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    if b and c and not (a or d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    raise VideoError(
        f"{path}: the display matrix turns the picture by an angle that isn't a multiple of 90 degrees "
        f"({a}, {b}, {c}, {d}). Convert it upright first: ffmpeg -i {path.name} {path.stem}-upright.mp4"
    )
