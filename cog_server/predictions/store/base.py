"""The store port: what the runner asks of memory, of a database, or of a fake in a test."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


class StoreError(Exception):
    """The store cannot be read or written; says why."""


@dataclass(frozen=True)
class Record:
    """A prediction as it is kept. `body` is its JSON as clients see it; `created_at` is ISO 8601 in UTC.

    `webhook` is the request's own description of where events go, as JSON, for a prediction that a crash cut short.
    """

    id: str
    status: str
    created_at: str
    body: bytes
    webhook: str | None = None

    @property
    def cursor(self) -> tuple[str, str]:
        """Where it stands among all, which are listed newest first."""
        return self.created_at, self.id


@dataclass(frozen=True)
class Message:
    """A webhook call that is still owed. `id` stays the same on every try; messages of a prediction go in order."""

    id: str
    prediction_id: str
    event: str
    url: str
    body: bytes


class Store(Protocol):
    """Keeps records and messages. Every method may raise StoreError."""

    is_durable: bool

    async def open(self) -> None:
        """Make ready."""

    async def unfinished(self) -> list[Record]:
        """The records of predictions that have not ended; at start, those that a crash of the server cut short."""

    async def save(self, record: Record, owed: tuple[Message, ...] = ()) -> None:
        """Keep a record, in place of an older one of its id, and what is owed for it, both or neither."""

    async def find(self, prediction_id: str) -> Record | None:
        """The record of this id, if it is still kept."""

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        """Up to `limit` finished records, newest first, of one status, from the one after the cursor `before`."""

    async def delete(self, prediction_id: str) -> bool:
        """Forget a record; True if there was one."""

    async def owe(self, messages: tuple[Message, ...]) -> None:
        """Keep messages that cannot be sent before the server ends."""

    async def owed(self, limit: int = -1, *, but_not: Collection[str] = ()) -> list[Message]:
        """The first `limit` messages that are owed (all if -1), in order, but not those of the ids `but_not`."""

    async def settle(self, message_id: str) -> None:
        """Forget a message: it was delivered, or given up."""

    async def close(self) -> None:
        """Give back what the store holds open."""
