"""Objects of a bucket, under the part of pathlib's interface that the store needs: `s3://bucket/features.zarr`.

A bucket has no folders, only keys that may begin alike; what is called a folder here is such a beginning. An object
appears whole or not at all, as a file does that `atomic` writes.

Endpoint, region and credentials are those of the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …) or of ~/.aws, as
other tools take them. Requests that fail by the network or the server are repeated for three minutes, at growing
intervals; the first time, a warning says so.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sync_store.errors import StoreError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

Answer = TypeVar("Answer")

SCHEME = "s3://"

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name the server; the first that is set counts."""

REQUEST_TIMEOUT = timedelta(minutes=2)
"""Enough for a shard of 16 MiB at 1.2 Mbit/s."""

RETRY_TIMEOUT = timedelta(minutes=3)
"""How long a request that fails by the network or the server is repeated."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before it is: each pause is twice the one before."""

RETRIES, BRIEF_RETRY_TIMEOUT = 3, timedelta(seconds=5)
"""What obstore repeats by itself. It is brief, since no signal is heeded meanwhile."""

_OF_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "301 Moved Permanently")
"""In answers to requests for another region than the bucket's."""

_METADATA_SERVICE = "169.254.169.254"
"""Of Amazon's own machines, asked for credentials where nothing else has any."""


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
                with named(self):
                    return ask()
            except ConnectionError as error:
                time.sleep(next_pause(pauses, error))

    @property
    def _bucket(self) -> "S3Store":
        return _connected(self.bucket)


def connect(bucket: str, prefix: str = "") -> "S3Store":
    """A bucket, or what lies below one of its folders, by the settings of the environment.

    Raises:
        StoreError: If a package is missing, or settings can't be used.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ModuleNotFoundError:
        raise _not_installed(f"{SCHEME}{bucket}") from None
    options: dict[str, Any] = {
        "client_options": {"timeout": REQUEST_TIMEOUT},
        "retry_config": {"max_retries": RETRIES, "retry_timeout": BRIEF_RETRY_TIMEOUT},
        **_account(),
    }
    endpoint = options.get("endpoint", "https://")
    if not endpoint.startswith(("http://", "https://")):
        raise StoreError(f"AWS_ENDPOINT_URL: expected http://HOST:PORT or https://HOST, got {endpoint!r}")
    if endpoint.startswith("http://"):
        options["client_options"]["allow_http"] = True
    try:
        return S3Store(bucket, prefix=prefix or None, **options)
    except (BaseError, ValueError) as error:
        raise StoreError(f"{SCHEME}{bucket}: {_first_line(error)}. Check AWS_* in the environment") from None


def iter_pauses() -> Iterator[float]:
    """Seconds before a request is made again, and again; until it is time to give up."""
    stop, pause = time.monotonic() + RETRY_TIMEOUT.total_seconds(), FIRST_PAUSE
    while time.monotonic() + pause <= stop:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def next_pause(pauses: Iterator[float], error: ConnectionError) -> float:
    """The next of `iter_pauses`, of which the first is told to the user; raises the error after the last."""
    pause = next(pauses, None)
    if pause is None:
        raise error
    if pause == FIRST_PAUSE:
        log.warning("%s: %s; trying again", error.filename, error.strerror)
    return pause


@contextmanager
def named(path: S3Path) -> Iterator[None]:
    """Errors of obstore as those of a file system, which name the path and are one line.

    Raises:
        ConnectionError: If the server can't be reached or fails: nothing is known of the object, and asking again may
            help.
        OSError: If there is none, it may not be read or written, or the server refuses for another reason.
    """
    try:
        from obstore import exceptions
    except ModuleNotFoundError:
        raise _not_installed(str(path)) from None
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise _missing(path, str(error)) from None
    except exceptions.AlreadyExistsError:
        raise FileExistsError(errno.EEXIST, "exists already", str(path)) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, f"the server refuses: {_reason(error)}", str(path)) from None
    except exceptions.BaseError as error:
        if "<Code>NoSuchBucket" in str(error):
            raise _missing(path, str(error)) from None
        if _METADATA_SERVICE in str(error):
            raise PermissionError(
                errno.EACCES,
                "no credentials are found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                str(path),
            ) from None
        if _is_refusal(str(error)):
            hint = ". Check AWS_REGION" if any(code in str(error) for code in _OF_REGION) else ""
            raise OSError(errno.EIO, f"the server refuses: {_reason(error)}{hint}", str(path)) from None
        raise ConnectionError(
            errno.EIO, f"the server can't be reached or fails: {_reason(error)}", str(path)
        ) from None


@cache
def _connected(bucket: str) -> "S3Store":
    """One a process. A forked child can't use it; there are none here."""
    return connect(bucket)


def _account() -> dict[str, Any]:
    """Endpoint and credentials, where obstore wouldn't find them by itself."""
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if not _has_profile():
        return {} if endpoint is None else {"endpoint": endpoint}
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ModuleNotFoundError:
        raise _not_installed("~/.aws") from None
    try:
        session = boto3.Session()
        options = {"endpoint": endpoint or session.client("s3").meta.endpoint_url}
        if session.get_credentials() is not None:
            options["credential_provider"] = Boto3CredentialProvider(session)
    except BotoCoreError as error:
        raise StoreError(f"~/.aws: {error}") from None
    return options


def _has_profile() -> bool:
    files = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
    return "AWS_PROFILE" in os.environ or any(
        Path(os.environ.get(name, usual)).expanduser().is_file() for name, usual in files.items()
    )


def _not_installed(what: str) -> StoreError:
    return StoreError(f"{what}: the extra s3 isn't installed. Install it with: pip install 'sync-tas[s3]'")


def _status(entry: "ObjectMeta") -> Status:
    return Status(st_size=entry["size"], st_mtime_ns=round(entry["last_modified"].timestamp() * 1e6) * 1000)


def _is_refusal(said: str) -> bool:
    """Whether the server has answered, and would answer the same again: by a status of HTTP."""
    _, found, rest = said.partition("status code: ")
    status = rest[:3]
    return bool(found) and (status[:1] in "34" or status == "501") and status not in ("408", "429")


def _missing(path: S3Path, said: str) -> FileNotFoundError:
    what = f"there is no bucket {path.bucket}" if "<Code>NoSuchBucket" in said else "there is no such object"
    return FileNotFoundError(errno.ENOENT, what, str(path))


def _reason(error: Exception) -> str:
    """What the server says in its own code or by its status, or what went wrong on the way to it."""
    for begin, end in (("<Code>", "</Code>"), ("status code: ", ": "), ("HTTP error: ", "\n")):
        _, found, rest = str(error).partition(begin)
        if found:
            return rest.partition(end)[0]
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
