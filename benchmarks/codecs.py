"""Compressing stored features: bytes and time of codecs, on rows with the statistics of a backbone's.

The rows are made: like the output of DINOv2's last LayerNorm, each value has its dimension's mean and deviation (a few
dimensions 10 times as large), tails are heavy (Student's t, 5 degrees of freedom), and rows at 30 a second
resemble the one before: an autoregression with coefficient 0.97, 1 second's memory. All in float16. Codecs see one
chunk at a time, and the disk isn't in it. "None" is the layout's: a copy and a CRC-32C. A codec is worth its time if
`bytes_times_read`, share of the bytes by time of reading against "none", is below 1 and so is `bytes_times_write`.
Blosc uses all cores. Axes: T rows, D feature width.
"""

from collections.abc import Callable
from functools import partial

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc
from numcodecs.abc import Codec
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd

from benchmarks.measure import arguments, ratio, time_in_turn, write_result

NUM_ROWS = 8192
FEATURE_DIM = 1024
CORRELATION = 0.97
CHUNK_BYTES = (512 << 10, 2 << 20, 8 << 20)
"""0.5, 2 (the layout's) and 8 MiB."""

CODECS: dict[str, Codec | None] = {
    "none": None,
    "zstd-1": Zstd(level=1),
    "zstd-3": Zstd(level=3),
    "blosc-lz4-shuffle": Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE),
    "blosc-lz4-bitshuffle": Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE),
    "blosc-zstd1-shuffle": Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),
    "blosc-zstd1-bitshuffle": Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE),
    "blosc-zstd3-bitshuffle": Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE),
}

Bytes = npt.NDArray[np.uint8]


def main() -> None:
    options = arguments("codecs", __doc__)
    num_rows, num_rounds = (256, 2) if options.smoke else (NUM_ROWS, 3)
    rows = make_rows(num_rows)
    content = rows.reshape(-1).view(np.uint8)
    candidates: dict[str, Callable[[], object]] = {}
    shares: dict[str, float] = {}
    for chunk_bytes in CHUNK_BYTES[:1] if options.smoke else CHUNK_BYTES:
        chunks = [content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes)]
        for name, codec in CODECS.items():
            at = f"{name} {chunk_bytes / (1 << 20):g} MiB"
            packed = write_all(chunks, codec)
            if not np.array_equal(np.concatenate(read_all(packed, codec)), content):
                raise RuntimeError(f"{at}: what is read isn't what was written")
            shares[at] = sum(len(stored) for stored, _ in packed) / len(content)
            candidates[f"write {at}"] = partial(write_all, chunks, codec)
            candidates[f"read {at}"] = partial(read_all, packed, codec)
    timings = time_in_turn(candidates, num_rounds=num_rounds)
    medians = {name: timing.median_seconds for name, timing in timings.items()}
    none = {at: f"none {at.split(' ', 1)[1]}" for at in shares}
    write_result(
        options.out,
        settings={
            "rows": num_rows,
            "feature_dim": FEATURE_DIM,
            "correlation": CORRELATION,
            "rounds": num_rounds,
            "blosc_threads": blosc.get_nthreads(),
            "share_of_bytes": {at: round(share, 4) for at, share in shares.items()},
            **{
                f"bytes_times_{kind}": {
                    at: round(share * medians[f"{kind} {at}"] / medians[f"{kind} {none[at]}"], 3)
                    for at, share in shares.items()
                }
                for kind in ("read", "write")
            },
        },
        timings={name: timing.summary(content.nbytes / 1e6, "megabytes") for name, timing in timings.items()},
        ratios={
            f"read {at}": ratio(timings[f"read {at}"], timings[f"read {none[at]}"])
            for at in shares
            if at != none[at]
        },
        targets={},
    )


def make_rows(num_rows: int) -> npt.NDArray[np.float16]:
    """Rows as the module says: float16 (T, D)."""
    rng = np.random.default_rng(7)
    mean_D = 0.3 * rng.standard_normal(FEATURE_DIM)
    deviation_D = rng.gamma(4, 0.25, FEATURE_DIM)
    deviation_D[:8] *= 10
    noise_TD = rng.standard_t(5, (num_rows, FEATURE_DIM)) * np.sqrt((1 - CORRELATION**2) * 3 / 5)
    rows_TD = np.empty_like(noise_TD)
    rows_TD[0] = rng.standard_normal(FEATURE_DIM)
    for row in range(1, num_rows):
        rows_TD[row] = CORRELATION * rows_TD[row - 1] + noise_TD[row]
    rows: npt.NDArray[np.float16] = (mean_D + deviation_D * rows_TD).astype(np.float16)
    return rows


def write_all(chunks: list[Bytes], codec: Codec | None) -> list[tuple[bytes, int]]:
    """What is stored of each chunk, and its checksum. Codecs are told that values have two bytes."""
    stored = [
        chunk.tobytes() if codec is None else bytes(codec.encode(chunk.view(np.uint16))) for chunk in chunks
    ]
    return [(each, google_crc32c.value(each)) for each in stored]


def read_all(packed: list[tuple[bytes, int]], codec: Codec | None) -> list[Bytes]:
    """The chunks again, each checked."""
    chunks = []
    for stored, checksum in packed:
        if google_crc32c.value(stored) != checksum:
            raise RuntimeError("a checksum doesn't fit")
        chunk = np.frombuffer(bytearray(stored) if codec is None else codec.decode(stored), dtype=np.uint8)
        chunks.append(chunk)
    return chunks


if __name__ == "__main__":
    main()
