"""`Archive`: every prediction that can be asked for: those that run, that just ended, and that the store keeps."""

from __future__ import annotations

import heapq
import json
from collections import OrderedDict
from dataclasses import replace

from cog_server.jobs.port import DuplicateId
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.store.base import Message, Record, Store
from cog_server.predictions.store.memory import MemoryStore
from cog_server.predictions.timestamps import now
from cog_server.webhooks.hook import Hook

# Finished predictions whose events can be read again, by a stream that comes back.
_RECENT = 100
_RECENT_BYTES = 64 * 1024 * 1024
_INTERRUPTED = "the server stopped while the prediction ran"


# docs/decisions/017-stored-before-told.md
class Archive:
    """Predictions by their ids. Whatever touches the store may raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Nothing has to be waited for with it.
        self._memory = store if isinstance(store, MemoryStore) else None
        self._running: dict[str, Prediction] = {}
        self._recent: OrderedDict[str, Prediction] = OrderedDict()
        self._recent_bytes = 0

    async def restore(self) -> None:
        """End what a crash of the server cut short, as failed; its webhook is owed."""
        for record in await self._store.unfinished():
            ended = _interrupted(record)
            await self._store.save(ended, _owed_for(ended))

    def reserve(self, prediction: Prediction) -> None:
        """Give it its id. Raises DuplicateId while another one of that id runs."""
        if prediction.id in self._running:
            raise DuplicateId(prediction.id)
        self._running[prediction.id] = prediction

    def release(self, prediction: Prediction) -> None:
        """Take the id back from one that is not taken after all."""
        del self._running[prediction.id]

    @property
    def in_flight(self) -> int:
        """How many run or wait, or are on their way into the store or out of sight."""
        return len(self._running)

    async def store(self, prediction: Prediction, hook: Hook | None) -> None:
        """Keep a prediction that was reserved, if this store outlives the server; gives the id back if it cannot."""
        if not self._store.is_durable:
            return
        try:
            await self._store.save(
                replace(_record(prediction, prediction.snapshot_json()), webhook=hook.to_json() if hook else None)
            )
        except BaseException:
            self.release(prediction)
            raise

    @property
    def is_at_hand(self) -> bool:
        """Whether the store needs no waiting, for `end_now` instead of `store` and `end`."""
        return self._memory is not None

    def end_now(self, prediction: Prediction) -> None:
        """Keep a prediction that has ended, for which no message is owed."""
        assert self._memory is not None, "the store has to be waited for"
        del self._running[prediction.id]
        self._remember(prediction)
        self._memory.keep(_record(prediction, prediction.final_json()))

    async def end(self, prediction: Prediction, owed: Message | None) -> None:
        """Keep a prediction that has ended, and the message owed for it. Even if that fails, it can be found."""
        try:
            await self._store.save(_record(prediction, prediction.final_json()), (owed,) if owed else ())
        finally:
            del self._running[prediction.id]
            self._remember(prediction)

    def live(self, prediction_id: str) -> Prediction | None:
        """The prediction of this id if it runs, waits, or has ended only recently: one whose events can be read."""
        return self._running.get(prediction_id) or self._recent.get(prediction_id)

    async def find(self, prediction_id: str) -> bytes | None:
        """The prediction of this id as JSON, as long as it is kept."""
        prediction = self.live(prediction_id)
        if prediction is not None:
            return prediction.snapshot_json()
        record = await self._store.find(prediction_id)
        return record.body if record else None

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        """Up to `limit` predictions, newest first, of one status, from the one that follows the cursor `before`."""
        kept = await self._store.page(status=status, before=before, limit=limit)
        chosen = heapq.nlargest(
            limit,
            (
                prediction
                for prediction in self._running.values()
                if (status is None or prediction.shown_status.value == status)
                and (before is None or (prediction.created_at, prediction.id) < before)
            ),
            key=lambda prediction: (prediction.created_at, prediction.id),
        )
        # One that has ended while the store was asked may be in both.
        found = [_record(prediction, prediction.snapshot_json()) for prediction in chosen] + [
            each for each in kept if each.id not in self._running
        ]
        return sorted(found, key=lambda record: record.cursor, reverse=True)[:limit]

    async def delete(self, prediction_id: str) -> bool:
        """Forget a finished prediction; False if there is none. Raises DuplicateId while it runs."""
        if prediction_id in self._running:
            raise DuplicateId(prediction_id)
        was_recent = self._forget_recent(prediction_id)
        return await self._store.delete(prediction_id) or was_recent

    def _remember(self, prediction: Prediction) -> None:
        self._forget_recent(prediction.id)
        self._recent[prediction.id] = prediction
        self._recent_bytes += prediction.output_bytes
        while len(self._recent) > 1 and (len(self._recent) > _RECENT or self._recent_bytes > _RECENT_BYTES):
            self._forget_recent(next(iter(self._recent)))

    def _forget_recent(self, prediction_id: str) -> bool:
        prediction = self._recent.pop(prediction_id, None)
        if prediction is not None:
            self._recent_bytes -= prediction.output_bytes
        return prediction is not None


def _record(prediction: Prediction, body: bytes) -> Record:
    return Record(prediction.id, prediction.status.value, prediction.created_at, body)


def _interrupted(record: Record) -> Record:
    document = json.loads(record.body)
    document.update(status=Status.FAILED.value, error=_INTERRUPTED, completed_at=now())
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return replace(record, status=Status.FAILED.value, body=body)


def _owed_for(record: Record) -> tuple[Message, ...]:
    """What the webhook of a prediction that was cut short has yet to be told."""
    hook = Hook.from_json(record.webhook) if record.webhook else None
    if hook is None or "completed" not in hook.events:
        return ()
    return (hook.message(record.id, "completed", record.body),)
