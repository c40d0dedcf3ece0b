"""A folder of a bucket as zarr-python takes it: patient with the server, errors as those of a file system."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from sync_store.s3 import Answer, S3Path
from sync_store.s3_connection import iter_pauses, named, next_pause


class ZarrStore(ObjectStore[Any]):
    """The objects below a folder; what creating, opening, writing and resizing arrays needs."""

    def __init__(self, folder: S3Path, *, read_only: bool = False) -> None:
        """Take a folder, which needn't exist."""
        super().__init__(folder.below(), read_only=read_only)
        self._folder = folder

    def with_read_only(self, read_only: bool = False) -> Self:
        """See zarr-python."""
        return type(self)(self._folder, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """See zarr-python."""
        ask = super().get
        return await self._asked(key, lambda: ask(key, prototype, byte_range))

    async def exists(self, key: str) -> bool:
        """See zarr-python."""
        ask = super().exists
        return await self._asked(key, lambda: ask(key))

    async def set(self, key: str, value: Buffer) -> None:
        """See zarr-python."""
        ask = super().set
        await self._asked(key, lambda: ask(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """See zarr-python."""
        ask = super().set_if_not_exists
        await self._asked(key, lambda: ask(key, value))

    async def delete(self, key: str) -> None:
        """See zarr-python."""
        ask = super().delete
        await self._asked(key, lambda: ask(key))

    async def delete_dir(self, prefix: str) -> None:
        """See zarr-python."""
        await asyncio.to_thread((self._folder / prefix).delete_below)

    async def _asked(self, key: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """As that of `S3Path`."""
        pauses = iter_pauses()
        while True:
            try:
                with named(str(self._folder / key)):
                    return await ask()
            except ConnectionError as error:
                await asyncio.sleep(next_pause(pauses, error))
