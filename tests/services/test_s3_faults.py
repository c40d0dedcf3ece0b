"""A line to the server that breaks: now and then, for good, or just before an answer; nothing is lost by it."""

import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from sync_store import layout, s3_connection
from sync_store.claim import Claim
from sync_store.layout import CLAIMS, METADATA, FeatureSet
from sync_store.place import files
from sync_store.reader import FeatureStore
from sync_store.s3 import S3Path
from sync_store.writer import RecordingWriter

WIDTH = 16
SHARD_ROWS = 32
NUM_ROWS = 100
SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=WIDTH)

PROJECT = """\
[dataset]
label_fps = 15

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"
batch_size = 32
"""

IMPATIENT = """
import sys
from datetime import timedelta
from sync_store import layout, s3_connection
s3_connection.RETRY_TIMEOUT, s3_connection.RETRIES = timedelta(0), 0
layout.CHUNK_BYTES, layout.SHARD_BYTES = 1024, 4096
from sync_extract.cli import main
main(sys.argv[1:])
"""
"""`sync-extract` that repeats no request, with small shards."""


class Proxy:
    """Hands connections on to a server, and disturbs them."""

    def __init__(self, endpoint: str) -> None:
        self._server = urlsplit(endpoint)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._random = random.Random(0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_bytes = 0
        """Connections are cut after so many bytes at most, in either direction; 0 for never."""
        self.busy_every = 0
        """Each so-manieth request is answered by "503 Service Unavailable"; 0 for none."""
        self.fail_from = self.fail_to = sys.maxsize
        """The requests with these numbers, half-open, and their connections are cut."""
        self.lost_answer = b""
        """The first request that begins so is handed on, but its answer isn't."""
        self.num_requests = self.num_cut = 0
        self._lines: list[_Line] = []
        self._accepts = threading.Thread(target=self._accept)
        self._accepts.start()

    def fail(self, start: int, stop: int = sys.maxsize) -> None:
        """Let requests fail, counted from now on."""
        self.fail_from, self.fail_to = (self.num_requests + number for number in (start, stop))

    def mend(self) -> None:
        """Disturb nothing any more."""
        self.cut_bytes = self.busy_every = 0
        self.fail_from = self.fail_to = sys.maxsize

    def close(self) -> None:
        """End all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepts.join()
        self._listener.close()
        for line in self._lines:
            line.cut()
            line.thread.join()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._server.hostname or "", self._server.port or 80))
                self._lines.append(_Line(self, client, server))

    def draw_bytes(self) -> int:
        """After how many bytes a new connection is cut."""
        return self._random.randrange(self.cut_bytes) if self.cut_bytes else sys.maxsize


class _Line:
    """One connection, and that to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = proxy.draw_bytes()
        self._loses_answer = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):  # the other side was faster
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        answers = threading.Thread(target=self._hand_on, args=(self._server, self._client, self._answer))
        answers.start()
        self._hand_on(self._client, self._server, self._ask)
        answers.join()
        self._client.close()
        self._server.close()

    def _hand_on(self, source: socket.socket, sink: socket.socket, may_pass: Callable[[bytes], bool]) -> None:
        with suppress(OSError):  # cut
            while (content := source.recv(1 << 16)) and may_pass(content):
                sink.sendall(content[: max(0, self._left)])
                self._left -= len(content)
                if self._left <= 0:
                    self._proxy.num_cut += 1
                    break
        self.cut()

    def _ask(self, content: bytes) -> bool:
        proxy = self._proxy
        if re.match(rb"(GET|HEAD|PUT|POST|DELETE) /", content):
            number = proxy.num_requests
            proxy.num_requests += 1
            if proxy.fail_from <= number < proxy.fail_to:
                return False
            if proxy.busy_every and number % proxy.busy_every == proxy.busy_every - 1:
                self._client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                return False
            if proxy.lost_answer and content.startswith(proxy.lost_answer):
                proxy.lost_answer = b""
                self._loses_answer = True
        return True

    def _answer(self, _: bytes) -> bool:
        return not self._loses_answer


@pytest.fixture
def proxy(s3: Any) -> Iterator[Proxy]:
    """Before the server; this process and its children go through it."""
    proxy = Proxy(s3.endpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
    proxy.close()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 rows and shards of 32."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * WIDTH * 2)
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_ROWS * WIDTH * 2)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is repeated."""
    monkeypatch.setattr(s3_connection, "RETRIES", 0)
    monkeypatch.setattr(s3_connection, "RETRY_TIMEOUT", timedelta(0))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, labs: Any) -> Path:
    return Path(labs.make(tmp_path_factory.mktemp("filmed"), PROJECT, [60, 90]))


@pytest.fixture(scope="module")
def extracted(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its store on disk, in small shards."""
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("local") / "lab"))
    status, said = impatiently(folder)
    assert status == 0, said
    return folder


def impatiently(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status of `sync-extract`, and what it says."""
    command = [sys.executable, "-c", IMPATIENT, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def lab_on(place: str, filmed: Path, folder: Path) -> Path:
    lab = Path(shutil.copytree(filmed, folder / "lab"))
    with (lab / "sync.toml").open("a") as file:
        file.write(f'\n[store]\npath = "{place}"\n')
    return lab


def rows() -> Any:
    return np.random.default_rng(0).standard_normal((NUM_ROWS, WIDTH)).astype(np.float16)


def write(store: Any, num_rows: int = NUM_ROWS) -> None:
    """Write a recording, or go on with it; it stays unfinished where fewer rows are given than planned."""
    times = np.arange(NUM_ROWS, dtype=np.int64) * 33_000_000
    with RecordingWriter(store, SMALL, "e4", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows()[writer.next_row : num_rows])
        if num_rows == NUM_ROWS:
            writer.commit()


def contents(store: Any) -> dict[str, bytes]:
    paths = [path for path, _ in files(store) if CLAIMS not in str(path)]
    return {str(path).removeprefix(f"{store}/"): path.read_bytes() for path in paths}


def shard_times(store: S3Path) -> dict[str, int]:
    """When each shard was written."""
    return {path.key: status.st_mtime_ns for path, status in store.files() if "/features/c/" in path.key}


def test_extraction_over_a_line_that_breaks_makes_the_same_store(
    s3: Any, proxy: Proxy, labs: Any, filmed: Path, extracted: Path, tmp_path: Path
) -> None:
    proxy.cut_bytes, proxy.busy_every = 20_000, 29
    lab = lab_on(f"{s3.url}/features.zarr", filmed, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT.replace("timedelta(0), 0", "timedelta(minutes=1), 50")],
        cwd=lab,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert proxy.num_cut > 5
    proxy.mend()
    assert s3.files("features.zarr") == labs.store(extracted)


def test_copies_over_a_line_that_breaks_have_the_same_bytes(
    s3: Any, proxy: Proxy, labs: Any, extracted: Path, tmp_path: Path
) -> None:
    proxy.cut_bytes, proxy.busy_every = 20_000, 29
    place = f"{s3.url}/features.zarr"
    there = labs.run(extracted, "copy", "features.zarr", place)
    assert there.returncode == 0, there.stderr
    back = labs.run(tmp_path, "copy", place, "features.zarr")
    assert back.returncode == 0, back.stderr
    assert proxy.num_cut > 5
    proxy.mend()
    assert s3.files("features.zarr") == labs.store(extracted) == labs.store(tmp_path)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # zarr-python's
@pytest.mark.usefixtures("small_shards", "impatient")
def test_an_outage_at_a_request_of_a_writer_ends_it_and_loses_nothing(
    s3: Any, proxy: Proxy, tmp_path: Path
) -> None:
    write(tmp_path / "features.zarr")
    expected = contents(tmp_path / "features.zarr")
    for number in range(1, 100, 2):
        store = S3Path(s3.bucket, f"{number}/features.zarr")
        proxy.fail(number)
        try:
            write(store)
            break
        except ConnectionError as error:
            assert str(error.filename).startswith(str(store))
            assert "the server can't be reached or fails: " in str(error)
        finally:
            proxy.mend()
        (store / CLAIMS).delete_below()  # as if the process had ended
        written = shard_times(store)
        write(store)
        assert written.items() <= shard_times(store).items()
        assert contents(store) == expected
    assert 20 < number < 100


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.usefixtures("small_shards", "impatient")
def test_one_request_that_fails_while_going_on_loses_no_shard(s3: Any, proxy: Proxy, tmp_path: Path) -> None:
    write(tmp_path / "features.zarr")
    expected = contents(tmp_path / "features.zarr")
    num_failed = 0
    for number in range(1, 40, 3):
        store = S3Path(s3.bucket, f"{number}/features.zarr")
        write(store, 2 * SHARD_ROWS)
        written = shard_times(store)
        assert len(written) == 2
        proxy.fail(number, number + 1)
        try:
            write(store)
        except ConnectionError:
            num_failed += 1
            proxy.mend()
            (store / CLAIMS).delete_below()
            write(store)
        finally:
            proxy.mend()
        assert written.items() <= shard_times(store).items()
        assert contents(store) == expected
    assert num_failed > 5


@pytest.mark.usefixtures("small_shards", "impatient")
def test_a_reader_takes_no_outage_for_damage(s3: Any, proxy: Proxy) -> None:
    store = S3Path(s3.bucket, "features.zarr")
    write(store)
    for number in range(100):
        proxy.fail(number)
        try:
            FeatureStore(store).read("small", "e4", "r")
            break
        except ConnectionError as error:
            assert str(error.filename).startswith(str(store))
        finally:
            proxy.mend()
    assert 5 < number < 100


def test_a_claim_whose_answer_was_lost_is_had(s3: Any, proxy: Proxy) -> None:
    store = S3Path(s3.bucket, "features.zarr")
    (store / METADATA).touch()
    proxy.lost_answer = f"PUT /{s3.bucket}/features.zarr/{CLAIMS}".encode()
    claim = Claim(store, "small", "e4", "r")
    assert proxy.lost_answer == b""
    claim.check()
    assert [path.key for path, _ in (store / CLAIMS).files()] == [f"features.zarr/{CLAIMS}/small/e4/r/1"]
    claim.release()
    assert list((store / CLAIMS).files()) == []


def test_an_outage_ends_commands_with_one_line_and_the_same_commands_go_on(
    s3: Any, proxy: Proxy, labs: Any, filmed: Path, extracted: Path, tmp_path: Path
) -> None:
    place = S3Path(s3.bucket, "features.zarr")
    lab = lab_on(str(place), filmed, tmp_path)
    one_line = rf"error: {place}\S*: the server can't be reached or fails: .+\n"

    proxy.fail(80)
    status, said = impatiently(lab, "--quiet")
    assert status == 1 and re.fullmatch(one_line, said), said
    proxy.mend()
    written = shard_times(place)
    assert 0 < len(written) < len(list((extracted / "features.zarr").glob("*/*/*/features/c/*/0")))
    status, said = impatiently(lab, "--quiet")
    assert status == 0, said
    assert written.items() <= shard_times(place).items()
    assert s3.files("features.zarr") == labs.store(extracted)

    proxy.fail(10)
    status, said = impatiently(lab, "verify")
    assert status == 1 and re.fullmatch(one_line, said), said
    proxy.mend()

    proxy.fail(20)
    status, said = impatiently(tmp_path, "copy", str(place), "copied.zarr")
    assert status == 1 and re.fullmatch(one_line, said), said
    proxy.mend()
    status, said = impatiently(tmp_path, "copy", str(place), "copied.zarr")
    assert status == 0, said
    (tmp_path / "copied.zarr").rename(tmp_path / "features.zarr")
    assert labs.store(tmp_path) == labs.store(extracted)
