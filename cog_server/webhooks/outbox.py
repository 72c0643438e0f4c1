"""`Outbox`: where webhook messages outlive the server that owes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from pathlib import Path

from cog_server.predictions.store.base import Message, Store, StoreError
from cog_server.predictions.store.sqlite import SqliteStore

_WAIT_FOR_LOCK_S = 2.0


class Outbox:
    """The durable store; without one a spool file, which is there only as long as it holds something.

    Every method may raise StoreError.
    """

    def __init__(self, store: Store, spool: Path) -> None:
        self._store = store
        self._path = spool
        self._spool: SqliteStore | None = None
        self._lock = asyncio.Lock()

    async def owed(self, limit: int, *, but_not: Collection[str]) -> list[Message]:
        """The first messages that are owed, but not those of the ids `but_not`."""
        if self._store.is_durable:
            return await self._store.owed(limit, but_not=but_not)
        async with self._lock:
            if self._spool is None and not self._path.exists():
                return []
            found = await (await self._opened()).owed(limit, but_not=but_not)
            if not found:
                await self._release_if_empty()
            return found

    async def keep(self, messages: tuple[Message, ...]) -> None:
        """Keep messages for a later time, or for the next server; those that are kept already stay as they are."""
        if self._store.is_durable:
            await self._store.owe(messages)
            return
        async with self._lock:
            await (await self._opened()).owe(messages)

    async def settle(self, message_id: str) -> None:
        """Forget a message."""
        if self._store.is_durable:
            await self._store.settle(message_id)
            return
        async with self._lock:
            if self._spool is not None:
                await self._spool.settle(message_id)
                await self._release_if_empty()

    async def close(self) -> None:
        """Give the spool back; the store is its owner's."""
        async with self._lock:
            await self._release_if_empty()
            if self._spool is not None:
                await self._spool.close()
                self._spool = None

    async def _opened(self) -> SqliteStore:
        """The spool, opened. Another server that ends at the same time may hold it, for a moment."""
        until = time.monotonic() + _WAIT_FOR_LOCK_S
        while self._spool is None:
            spool = SqliteStore(self._path, 1)
            try:
                await spool.open()
                self._spool = spool
            except StoreError:
                if time.monotonic() > until or not self._path.exists():
                    raise
                await asyncio.sleep(0.1)
        return self._spool

    async def _release_if_empty(self) -> None:
        if self._spool is None or await self._spool.owed(1):
            return
        spool, self._spool = self._spool, None
        # While it is locked; the lock's own file stays, or two servers could each lock one of that name.
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        await spool.close()
