"""`MemoryStore`: the last finished predictions, as long as the server lives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from cog_server.predictions.store.base import Message, Record

MAX_BYTES = 256 * 1024 * 1024


class MemoryStore:
    """Keeps at most `max_records` finished predictions and 256 MiB of them, the newest in any case."""

    is_durable = False

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._bytes = 0

    async def open(self) -> None:
        pass

    async def unfinished(self) -> list[Record]:
        return []

    async def save(self, record: Record, owed: tuple[Message, ...] = ()) -> None:
        if record.status in ("starting", "processing"):
            return  # It lives in the runner; if this process dies, so does this store.
        self.keep(record)

    def keep(self, record: Record) -> None:
        """Keep a finished record."""
        replaced = self._records.pop(record.id, None)
        if replaced is not None:
            self._bytes -= len(replaced.body)
        self._records[record.id] = record
        self._bytes += len(record.body)
        while len(self._records) > 1 and (len(self._records) > self._max_records or self._bytes > MAX_BYTES):
            _, oldest = self._records.popitem(last=False)
            self._bytes -= len(oldest.body)

    async def find(self, prediction_id: str) -> Record | None:
        return self._records.get(prediction_id)

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        found = [
            record
            for record in self._records.values()
            if (status is None or record.status == status) and (before is None or record.cursor < before)
        ]
        return sorted(found, key=lambda record: record.cursor, reverse=True)[:limit]

    async def delete(self, prediction_id: str) -> bool:
        record = self._records.pop(prediction_id, None)
        if record is not None:
            self._bytes -= len(record.body)
        return record is not None

    async def owe(self, messages: tuple[Message, ...]) -> None:
        pass  # The sender remembers them as long as this process lives, and this store lives no longer.

    async def owed(self, limit: int = -1, *, but_not: Collection[str] = ()) -> list[Message]:
        return []

    async def settle(self, message_id: str) -> None:
        pass

    async def close(self) -> None:
        pass
