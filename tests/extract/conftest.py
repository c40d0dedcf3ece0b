"""Real video files in which every picture carries its own number, and a small project of them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

Picture = npt.NDArray[np.uint8]

BLOCK = 8
"""Side of the block that shows one bit of a picture's number, in pixels: large enough for any encoder."""

CODERS: Mapping[str, dict[str, Any]] = {
    "h264": {"codec": "libx264"},
    "h264-open": {
        "codec": "libx264",
        "options": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:b-adapt=0:scenecut=0"},
    },
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:open-gop=0:keyint=40"}},
    "hevc-open": {"codec": "libx265", "options": {"x265-params": "log-level=none:open-gop=1:keyint=20"}},
    "vp9": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime", "g": "30"}},
    "av1": {"codec": "libsvtav1", "options": {"preset": "11", "svtav1-params": "keyint=30"}},
    "mpeg4": {"codec": "mpeg4", "time_base": Fraction(1, 30)},
    "mjpeg": {"codec": "mjpeg", "pixel_format": "yuvj422p", "time_base": Fraction(1, 30)},
    "prores": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
}


class Films:
    """Writes videos and reads the numbers in their pictures."""

    def picture(self, number: int, height: int = 48, width: int = 64) -> Picture:
        """RGB (H, W, 3): sixteen blocks for the bits of `number` over a colored pattern that moves."""
        y, x = np.mgrid[:height, :width]
        red = 64 + (3 * x + 5 * number) % 128
        green = 64 + (4 * y + 3 * number) % 128
        image = np.stack([red, green, np.full_like(red, 100)], axis=-1).astype(np.uint8)
        for bit in range(16):
            top, left = BLOCK * (bit // 8), BLOCK * (bit % 8)
            image[top : top + BLOCK, left : left + BLOCK] = 230 if number >> bit & 1 else 20
        return image

    def number(self, picture: Picture) -> int:
        """The number in a decoded picture (H, W, 3)."""
        grey = picture[: 2 * BLOCK, : 8 * BLOCK].mean(axis=2)
        blocks = grey.reshape(2, BLOCK, 8, BLOCK)[:, 2:-2, :, 2:-2].mean(axis=(1, 3)).ravel()
        return int(sum(1 << bit for bit in np.flatnonzero(blocks > 128)))

    def numbers(self, batches: Iterable[Picture]) -> list[int]:
        """The numbers in batches (N, H, W, 3)."""
        return [self.number(picture) for batch in batches for picture in batch]

    def times(
        self, *, fps: Fraction | int = 30, count: int = 90, start: Fraction | int = 0, uneven: bool = False
    ) -> list[Fraction]:
        """Times of `count` frames at a constant rate, or `uneven`: 17 to 67 ms apart."""
        if not uneven:
            return [Fraction(start) + frame / Fraction(fps) for frame in range(count)]
        steps = np.random.default_rng(0).integers(1_500, 6_000, count)
        return [Fraction(int(tick), 90_000) for tick in np.cumsum(steps) - steps[0]]

    def silence(self, place: int = 0) -> av.AudioFrame:
        """An eighth of a second of sound, the `place`th of several."""
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1000)
        frame.sample_rate, frame.pts, frame.time_base = 8000, 1000 * place, Fraction(1, 8000)
        np.frombuffer(memoryview(frame.planes[0]), np.float32)[:] = 0
        return frame

    def write(
        self,
        path: Path,
        times: Iterable[Fraction],
        *,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        time_base: Fraction = Fraction(1, 90_000),
        size: tuple[int, int] = (48, 64),
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        rotation: int = 0,
        hflip: bool = False,
        audio: bool = False,
        audio_seconds: float = 0.125,
    ) -> Path:
        """Encode picture k at `times[k]` seconds of the file's clock, with `audio_seconds` of sound if `audio`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if codec == "libx264":
            # At widths that aren't multiples of 128 its macroblock tree reads memory that nobody wrote.
            options = {"mbtree": "0", **(options or {})}
        with av.open(str(path), "w", options=container_options or {}) as container:
            try:
                stream: Any = container.add_stream(codec, rate=30, options=options or {})
            except av.codec.codec.UnknownCodecError:
                pytest.skip(f"this build of PyAV can't encode {codec}")
            stream.height, stream.width = size
            stream.pix_fmt = pixel_format
            stream.time_base = stream.codec_context.time_base = time_base
            stream.codec_context.thread_count = 1
            if rotation or hflip:
                stream.set_display_rotation(rotation, hflip=hflip)
            audio_codec = "libopus" if path.suffix == ".webm" else "aac"
            sound: Any = container.add_stream(audio_codec, rate=8000, layout="mono") if audio else None
            for number, seconds in enumerate(times):
                rgb = av.VideoFrame.from_ndarray(self.picture(number, *size), format="rgb24")
                frame = rgb.reformat(format=pixel_format)
                frame.pts, frame.time_base = round(seconds / time_base), time_base
                container.mux(stream.encode(frame))
            if sound is not None:
                for place in range(round(8 * audio_seconds)):
                    container.mux(sound.encode(self.silence(place)))
                container.mux(sound.encode(None))
            container.mux(stream.encode(None))
        return path

    def blank_packets(self, path: Path, places: Iterable[int]) -> None:
        """Overwrite packets with zeros, which no decoder takes; times and sizes stay."""
        content = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        for place in places:
            at = content.index(bytes(packets[place]))
            content[at : at + packets[place].size] = bytes(packets[place].size)
        path.write_bytes(content)

    def copy_packets(
        self,
        source: Path,
        target: Path,
        *,
        from_seconds: Fraction = Fraction(0),
        keep: Callable[[int], bool] = lambda _: True,
        twice: bool = False,
    ) -> Path:
        """Copy the stream without decoding it, as `ffmpeg -ss SECONDS -c copy`: the result has an edit list.

        Args:
            source: A video.
            target: The new file.
            from_seconds: Becomes time 0; packets from the key frame before it on are copied.
            keep: Which packets to copy, by their place among those.
            twice: Copy the stream into two streams.
        """
        with av.open(str(source)) as container, av.open(str(target), "w") as output:
            stream = container.streams.video[0]
            outputs = [output.add_stream_from_template(stream) for _ in range(1 + twice)]
            assert stream.time_base is not None
            shift = round(from_seconds / stream.time_base)
            if shift:
                container.seek(shift, stream=stream)
            packets = [packet for packet in container.demux(stream) if packet.size]
            for place, packet in enumerate(packets):
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if keep(place):
                    for new in outputs:
                        again = av.Packet(bytes(packet))
                        again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                        again.is_keyframe = packet.is_keyframe
                        again.duration = packet.duration
                        again.stream = new
                        output.mux(again)
        return target


@pytest.fixture(scope="session")
def films() -> Films:
    return Films()


@pytest.fixture(scope="session")
def make_video(films: Films) -> Callable[..., Path]:
    """Write a video: `make_video(path, "hevc", fps=30, count=90, start=0, uneven=False, …)`."""

    def make(path: Path, coder: str = "h264", **options: Any) -> Path:
        timing = {key: options.pop(key) for key in ("fps", "count", "start", "uneven") if key in options}
        return films.write(path, films.times(**timing), **{**CODERS[coder], **options})

    return make


@pytest.fixture
def call_extract(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """`sync-extract` in this process: `call_extract(folder, *arguments, **variables of the environment)`.

    What it prints and its exit status are those of the real one.
    """
    from sync_extract.cli import main

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(folder: Path, *arguments: str, **variables: str) -> Result:
        monkeypatch.chdir(folder)
        result = CliRunner(env=variables).invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call
    root.handlers[:], root.level = handlers, level
