"""Objects of a bucket, under the part of pathlib's interface that the store needs: `s3://bucket/features.zarr`.

A bucket has no folders, only keys that may begin alike; what is called a folder here is such a beginning. An object
appears whole or not at all, as a file does that `atomic` writes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from sync_store.s3_connection import SCHEME, connect, iter_pauses, named, next_pause

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is known of an object without reading it; named as `os.stat_result` does."""

    st_size: int
    """Bytes."""
    st_mtime_ns: int
    """When it was written, by the server's clock."""

    @property
    def st_mtime(self) -> float:
        """In seconds."""
        return self.st_mtime_ns / 1e9


@dataclass(frozen=True, order=True)
class S3Path:
    """One key, or what keys begin with."""

    bucket: str
    key: str = ""
    """Without slashes at its ends."""

    @classmethod
    def parse(cls, url: str) -> "S3Path":
        """Read `s3://bucket/key`.

        Raises:
            ValueError: If it is no such address.
        """
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        key = key.strip("/")
        if (
            not url.startswith(SCHEME)
            or not bucket
            or any(part in ("", ".", "..") for part in key.split("/"))
        ):
            raise ValueError(f"expected s3://BUCKET/NAME, got {url!r}")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(self.bucket, f"{self.key}/{name}" if self.key else name)

    def joinpath(self, *names: str) -> "S3Path":
        """What follows it, one name a part."""
        return S3Path(self.bucket, "/".join([*([self.key] if self.key else []), *names]))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> "S3Path":
        """Without its last part."""
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> "S3Path":
        """With another last part."""
        return self.parent / name

    def is_file(self) -> bool:
        """Whether there is an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any key lies below."""
        folders, objects = self._children()
        return bool(folders or objects)

    def exists(self) -> bool:
        """Whether there is an object, or any below."""
        return self.is_file() or self.is_dir()

    def stat(self) -> Status:
        """Size and time of an object.

        Raises:
            OSError: If there is none, or the server can't be asked.
        """
        return _status(self._asked(lambda: self._bucket.head(self.key)))

    def read_bytes(self, max_bytes: int | None = None) -> bytes:
        """All of an object.

        Raises:
            OSError: If there is none, or it can't be read.
            ValueError: If it is larger than `max_bytes`.
        """

        def ask() -> bytes:
            found = self._bucket.get(self.key)
            size = found.meta["size"]
            if max_bytes is not None and size > max_bytes:
                raise ValueError(f"it has {size} bytes, more than {max_bytes}")
            return found.bytes().to_bytes()

        return self._asked(ask)

    def write_bytes(self, content: bytes) -> None:
        """Write an object; readers see the old one or the new one.

        Raises:
            OSError: If it can't be written.
        """
        self._asked(lambda: self._bucket.put(self.key, content, use_multipart=False))

    def create(self, content: bytes) -> None:
        """Write an object where there is none: of several who do so at once, one succeeds.

        After a connection that broke in between, the object may be ours in spite of the error.

        Raises:
            FileExistsError: If there is one.
            OSError: If it can't be written.
        """
        self._asked(lambda: self._bucket.put(self.key, content, mode="create", use_multipart=False))

    def touch(self) -> None:
        """Write an empty object, or set its time anew."""
        self.write_bytes(b"")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object; one that isn't there is no error here."""
        self._asked(lambda: self._bucket.delete(self.key))

    def iterdir(self) -> Iterator["S3Path"]:
        """What lies right below, folders first; nothing if there is nothing."""
        folders, objects = self._children()
        yield from (S3Path(self.bucket, key) for key in [*folders, *objects])

    def subfolders(self) -> list[str]:
        """Names of the folders right below, sorted."""
        folders, _ = self._children()
        return sorted(key.rpartition("/")[2] for key in folders)

    def files(self) -> Iterator[tuple["S3Path", Status]]:
        """All objects below, at any depth, in the order of their keys: a request for each thousand."""
        for entry in self._asked(lambda: self._bucket.list(self.key or None).collect()):
            yield S3Path(self.bucket, entry["path"]), _status(entry)

    def delete_below(self) -> None:
        """Delete all objects below."""
        if keys := [path.key for path, _ in self.files()]:
            self._asked(lambda: self._bucket.delete(keys))

    def below(self) -> "S3Store":
        """The objects below, for libraries that take obstore's."""
        return connect(self.bucket, self.key)

    def _children(self) -> tuple[list[str], list[str]]:
        """Keys of the folders and of the objects right below."""
        found = self._asked(lambda: self._bucket.list_with_delimiter(self.key or None))
        return list(found["common_prefixes"]), [entry["path"] for entry in found["objects"]]

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """What is asked for; again, for `RETRY_TIMEOUT`, while the server can't be reached or fails."""
        pauses = iter_pauses()
        while True:
            try:
                with named(str(self)):
                    return ask()
            except ConnectionError as error:
                time.sleep(next_pause(pauses, error))

    @property
    def _bucket(self) -> "S3Store":
        return _connected(self.bucket)


@cache
def _connected(bucket: str) -> "S3Store":
    """One a process. A forked child can't use it; there are none here."""
    return connect(bucket)


def _status(entry: "ObjectMeta") -> Status:
    return Status(st_size=entry["size"], st_mtime_ns=round(entry["last_modified"].timestamp() * 1e6) * 1000)
