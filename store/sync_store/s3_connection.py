"""How a bucket is reached: endpoint and credentials, patience with its server, and errors as those of a file system.

Endpoint, region and credentials are those of the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …) or of ~/.aws, as
other tools take them. Requests that fail by the network or the server are repeated for three minutes, at growing
intervals; the first time, a warning says so.
"""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync_store.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

log = logging.getLogger(__name__)

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
def named(url: str) -> Iterator[None]:
    """Errors of obstore as those of a file system, which name the object and are one line.

    Raises:
        ConnectionError: If the server can't be reached or fails: nothing is known of the object, and asking again may
            help.
        OSError: If there is none, it may not be read or written, or the server refuses for another reason.
    """
    try:
        from obstore import exceptions
    except ModuleNotFoundError:
        raise _not_installed(url) from None
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise _missing(url, str(error)) from None
    except exceptions.AlreadyExistsError:
        raise FileExistsError(errno.EEXIST, "exists already", url) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, f"the server refuses: {_reason(error)}", url) from None
    except exceptions.BaseError as error:
        if "<Code>NoSuchBucket" in str(error):
            raise _missing(url, str(error)) from None
        if _METADATA_SERVICE in str(error):
            raise PermissionError(
                errno.EACCES,
                "no credentials are found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                url,
            ) from None
        if _is_refusal(str(error)):
            hint = ". Check AWS_REGION" if any(code in str(error) for code in _OF_REGION) else ""
            raise OSError(errno.EIO, f"the server refuses: {_reason(error)}{hint}", url) from None
        raise ConnectionError(
            errno.EIO, f"the server can't be reached or fails: {_reason(error)}", url
        ) from None


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


def _is_refusal(said: str) -> bool:
    """Whether the server has answered, and would answer the same again: by a status of HTTP."""
    _, found, rest = said.partition("status code: ")
    status = rest[:3]
    return bool(found) and (status[:1] in "34" or status == "501") and status not in ("408", "429")


def _missing(url: str, said: str) -> FileNotFoundError:
    bucket = url.removeprefix(SCHEME).partition("/")[0]
    what = f"there is no bucket {bucket}" if "<Code>NoSuchBucket" in said else "there is no such object"
    return FileNotFoundError(errno.ENOENT, what, url)


def _reason(error: Exception) -> str:
    """What the server says in its own code or by its status, or what went wrong on the way to it."""
    for begin, end in (("<Code>", "</Code>"), ("status code: ", ": "), ("HTTP error: ", "\n")):
        _, found, rest = str(error).partition(begin)
        if found:
            return rest.partition(end)[0]
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
