"""How much of a video is there, of what its header promises: refuses too little, and says what is missing."""

from fractions import Fraction

from sync_extract.grid import Grid
from sync_extract.probe import VideoProbe
from sync_store.errors import VideoError
from sync_store.labels import ns_to_text


def check_coverage(
    video: VideoProbe, grid: Grid, *, num_frames: int, fps: Fraction | None, min_coverage: float
) -> str | None:
    """Compare the frames that a video gives with those that it should give.

    Args:
        video: The file.
        grid: Its frames on the sampling grid, all of which should decode.
        num_frames: Those that did decode, from the first on.
        fps: Rate of the grid; None for every frame.
        min_coverage: Smallest share of the expected frames, 0–1.

    Returns:
        What is wrong with the file, although what decoded can be kept; None if nothing is.

    Raises:
        VideoError: If there are fewer frames than `min_coverage` of the expected ones.
    """
    missing_seconds = video.missing_start_seconds + video.missing_end_seconds
    expected = len(grid) + round(missing_seconds * _frames_per_second(video, fps))
    if num_frames == expected:
        return _oddity(video)
    reasons = []
    if video.missing_start_seconds:
        reasons.append(
            f"its first {video.missing_start_seconds:.3f} s refer to frames before the file's start"
        )
    if num_frames < len(grid):
        last, planned = (ns_to_text(int(grid.timestamps[row])) for row in (max(0, num_frames - 1), -1))
        reasons.append(f"its frames decode up to {last} of {planned} s")
    if video.missing_end_seconds:
        stop = video.seconds(-1)
        reasons.append(
            f"its last frame is at {stop:.3f} s, {video.missing_end_seconds:.3f} s before its stated end"
        )
    what = f"{video.path}: only {num_frames} of about {expected} frames of the sampling grid: {', '.join(reasons)}"
    if num_frames < min_coverage * expected:
        raise VideoError(
            f"{what}. Less than min_coverage ({min_coverage:.0%}) is refused: get a whole copy; or, if the file "
            f"is whole and its header wrong, rewrite that: ffmpeg -i {video.path.name} -c copy "
            f"{video.path.stem}-whole{video.path.suffix}; or lower min_coverage in sync.toml [extract]"
        )
    return f"{what}. These were kept; get a whole copy and extract it with --overwrite for the rest"


def _frames_per_second(video: VideoProbe, fps: Fraction | None) -> float:
    """Frames of the grid that a second of the video gives: each serves once at the most, however fine the grid."""
    measured = video.measured_fps or video.header.fps  # of a single frame there is nothing to measure
    rates = [float(rate) for rate in (fps, measured) if rate is not None]
    return min(rates, default=0.0)


def _oddity(video: VideoProbe) -> str | None:
    if video.ends_within_frame:
        return (
            f"{video.path}: the file ends within a frame or has damaged ones; what decodes was kept, up to "
            f"{video.seconds(-1):.3f} s. How much is missing isn't stated in the file"
        )
    # AVI counts the places of frames that the camera lost, too; there an early end shows by its time.
    if video.container != "avi" and video.header.num_frames not in (None, video.num_stored):
        return (
            f"{video.path}: its header counts {video.header.num_frames} frames, but it holds {video.num_stored}; "
            f"all of these were used. To write the header anew: ffmpeg -i {video.path.name} -c copy "
            f"{video.path.stem}-whole{video.path.suffix}"
        )
    return None
