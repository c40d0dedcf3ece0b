"""Names that become folders: recordings, views, feature sets.

Names come from data (file names, annotation files), so each is checked before it is joined to a path.
"""

import re

from sync_store.errors import SyncError

MAX_NAME_BYTES = 200
"""Leaves room under the 255 bytes that file systems allow for suffixes such as `.<uuid>.partial`."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]")
_RESERVED = {"zarr.json", "index.json"}


def check_name(kind: str, name: str, error: type[SyncError]) -> str:
    """Return `name` if it can safely be one folder of a store.

    Args:
        kind: What the name is, for the message: "recording", "view", "feature set".
        name: The name as found in data or options.
        error: The class to raise.

    Raises:
        error: If the name is empty, too long, reserved, or could leave its folder.
    """
    problem = None
    if not name or name.strip() != name:
        problem = "is empty or begins or ends with a space"
    elif name.startswith((".", "__")):
        problem = "begins with '.' or '__', which the store reserves"
    elif name in _RESERVED or name.endswith(".partial"):
        problem = "is reserved by the store"
    elif _FORBIDDEN.search(name):
        problem = 'contains a path separator, a control character or one of : * ? " < > |'
    elif len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        problem = f"is longer than {MAX_NAME_BYTES} bytes"
    elif not name.isprintable():
        problem = "contains a character that can't be printed"
    if problem:
        raise error(
            f"{kind} name {name[:80]!r} {problem}. Rename it: letters, digits, '-', '_', '.' are safe."
        )
    return name
