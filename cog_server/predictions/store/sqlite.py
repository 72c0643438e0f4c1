"""`SqliteStore`: predictions and owed webhook calls in one file, safe against a crash at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from cog_server.predictions.store.base import Message, Record, StoreError

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL, body BLOB NOT NULL, webhook TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON predictions (created_at, id);
CREATE TABLE IF NOT EXISTS messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, prediction_id TEXT NOT NULL,
    event TEXT NOT NULL, url TEXT NOT NULL, body BLOB NOT NULL
);
"""
_UNFINISHED = "status IN ('starting', 'processing')"
_COLUMNS = "id, status, created_at, body, webhook"
_TRIM_EVERY = 256
_BUSY_S = 1.0


class SqliteStore:
    """Keeps the newest `max_records` predictions in the database at `path`, which one server at a time may use.

    The calls run on one thread of their own: a slow disk delays who waits for it, and nothing else.
    """

    is_durable = True

    def __init__(self, path: Path, max_records: int) -> None:
        self._path = path
        self._max_records = max_records
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cog-store")
        self._connection: sqlite3.Connection
        self._lock: IO[str] | None = None
        self._saves = 0

    async def open(self) -> None:
        try:
            await self._call(self._open)
        except StoreError:
            await self.close()
            raise

    async def unfinished(self) -> list[Record]:
        return await self._call(lambda: self._records(_UNFINISHED, (), -1))

    async def save(self, record: Record, owed: tuple[Message, ...] = ()) -> None:
        await self._call(lambda: self._save(record, owed))

    async def find(self, prediction_id: str) -> Record | None:
        rows = await self._call(lambda: self._records("id = ?", (prediction_id,), 1))
        return rows[0] if rows else None

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        wheres, values = [f"NOT {_UNFINISHED}"], []
        if status is not None:
            wheres.append("status = ?")
            values.append(status)
        if before is not None:
            wheres.append("(created_at, id) < (?, ?)")
            values += before
        return await self._call(lambda: self._records(" AND ".join(wheres), tuple(values), limit))

    async def delete(self, prediction_id: str) -> bool:
        return await self._call(lambda: self._write("DELETE FROM predictions WHERE id = ?", (prediction_id,)) > 0)

    async def owe(self, messages: tuple[Message, ...]) -> None:
        await self._call(lambda: self._owe(messages))

    async def owed(self, limit: int = -1, *, but_not: Collection[str] = ()) -> list[Message]:
        excluded = json.dumps(list(but_not))
        return await self._call(lambda: self._owed(limit, excluded))

    async def settle(self, message_id: str) -> None:
        await self._call(lambda: self._write("DELETE FROM messages WHERE id = ?", (message_id,)))

    async def close(self) -> None:
        await self._call(self._close)
        self._thread.shutdown()

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StoreError(f"{self._path}: {reason}") from error

    # On the store's thread.

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # What is kept may be anything that clients sent: the file is its owner's.
        self._lock = open(os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600), "w")  # noqa: SIM115 - held
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self._path} is in use by another server") from None
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=_BUSY_S)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    def _save(self, record: Record, owed: tuple[Message, ...]) -> None:
        row = (record.id, record.status, record.created_at, record.body, record.webhook)
        with self._transaction():
            self._connection.execute(f"INSERT OR REPLACE INTO predictions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
            self._insert(owed)
            self._saves += 1
            if self._saves % _TRIM_EVERY == 0:
                self._connection.execute(
                    f"DELETE FROM predictions WHERE id IN (SELECT id FROM predictions WHERE NOT {_UNFINISHED} "
                    "ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?)",
                    (self._max_records,),
                )

    def _records(self, where: str, values: tuple[str, ...], limit: int) -> list[Record]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM predictions WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?",
            (*values, limit),
        )
        return [Record(*row) for row in rows]

    def _owe(self, messages: tuple[Message, ...]) -> None:
        with self._transaction():
            self._insert(messages)

    def _insert(self, messages: tuple[Message, ...]) -> None:
        self._connection.executemany(
            "INSERT OR IGNORE INTO messages (id, prediction_id, event, url, body) VALUES (?, ?, ?, ?, ?)",
            [(each.id, each.prediction_id, each.event, each.url, each.body) for each in messages],
        )

    def _owed(self, limit: int, excluded: str) -> list[Message]:
        rows = self._connection.execute(
            "SELECT id, prediction_id, event, url, body FROM messages "
            "WHERE id NOT IN (SELECT value FROM json_each(?)) ORDER BY position LIMIT ?",
            (excluded, limit),
        )
        return [Message(*row) for row in rows]

    def _write(self, statement: str, values: tuple[str, ...]) -> int:
        return self._connection.execute(statement, values).rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that happens inside, or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()
        if self._lock is not None:
            self._lock.close()
