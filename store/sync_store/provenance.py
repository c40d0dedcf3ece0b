"""Where numbers come from: versions of code and libraries, the machine, digests of files."""

import errno
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from sync_store.bounded import is_special

_BLOCK_BYTES = 1 << 20


def file_digest(path: Path, max_bytes: int | None = None) -> str:
    """SHA-256 of a file's bytes, hex.

    Raises:
        OSError: If the system can't read it, it is a pipe or a device, or larger than `max_bytes`.
    """
    if is_special(path):
        raise OSError(errno.EINVAL, "it isn't a file but a pipe or a device", str(path))
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
        raise OSError(errno.EFBIG, f"it has {size} bytes, more than {max_bytes}", str(path))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution, "absent" where it isn't installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


@cache
def code_version() -> str:
    """This software's version, with the git commit where it runs from a checkout."""
    version = metadata.version("sync-tas")
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # Installed into an environment inside somebody's own checkout, this file isn't one of that checkout's.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return version
    return f"{version}+{commit.stdout.strip()}{'.changed' if changed.stdout.strip() else ''}"


@cache
def machine() -> dict[str, str]:
    """Processor and operating system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = f"{models[0]} × {len(models)}" if models else processor
    return {"processor": processor, "system": platform.platform(), "python": platform.python_version()}
