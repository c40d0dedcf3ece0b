"""What writers may rely on: of several who create one key at once, one does."""

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError

NUM_WRITERS = 4
NUM_KEYS = 25

WRITER = """
import sys
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

bucket, name, num_keys = sys.argv[1:]
store = S3Store(bucket)
print("ready", flush=True)
input()
for key in range(int(num_keys)):
    try:
        store.put(f"claim-{key}", name.encode(), mode="create")
        print(key)
    except AlreadyExistsError:
        pass
"""


def test_an_exclusive_create_has_one_winner(s3: Any) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, s3.bucket, str(name), str(NUM_KEYS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(NUM_WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    won = {name: list(map(int, writer.communicate()[0].split())) for name, writer in enumerate(writers)}
    assert [writer.returncode for writer in writers] == [0] * NUM_WRITERS
    assert Counter(key for keys in won.values() for key in keys) == Counter(range(NUM_KEYS))
    for name, keys in won.items():
        for key in keys:
            assert s3.store.get(f"claim-{key}").bytes() == str(name).encode()


def test_a_create_over_something_is_refused_and_changes_nothing(s3: Any) -> None:
    s3.store.put("claim", b"first", mode="create")
    with pytest.raises(AlreadyExistsError, match="claim"):
        s3.store.put("claim", b"second", mode="create")
    assert s3.store.get("claim").bytes() == b"first"
