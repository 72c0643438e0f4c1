"""`WebhookSender`: tells receivers about predictions, which never wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterable

from cog_server.observe.logs import PREDICTION
from cog_server.predictions.prediction import Prediction
from cog_server.predictions.store.base import Message, Store, StoreError
from cog_server.settings import Settings
from cog_server.webhooks.calls import Caller
from cog_server.webhooks.delivery import Line
from cog_server.webhooks.feed import Feed
from cog_server.webhooks.hook import Hook
from cog_server.webhooks.outbox import Outbox

log = logging.getLogger("cog.server")

# Ends that wait in memory for their delivery, as a number and in bytes; what is beyond waits in the outbox.
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 256 * 1024 * 1024
_PAGE = 100


class WebhookSender:
    """One task for each prediction with a webhook, 64 calls at a time for all.

    `feed.last_message()` is what the runner stores with the prediction's end; it is settled here.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._interval_s = settings.webhook_interval_s
        self._caller = Caller(settings)
        self._outbox = Outbox(store, settings.webhook_spool or settings.folder / ".cog" / "webhooks.sqlite")
        self._room = _Room(max_waiting, max_waiting_bytes)
        self._feeds: dict[Feed, asyncio.Task[None]] = {}
        self._replays: dict[str, deque[Message]] = {}
        self._replay_tasks: set[asyncio.Task[None]] = set()
        self._parking: set[asyncio.Task[None]] = set()
        self._has_backlog = asyncio.Event()
        self._freed = asyncio.Event()
        self._backlog: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin with what an earlier server owed. The store must be open."""
        self._has_backlog.set()
        self._backlog = asyncio.create_task(self._work_off(), name="webhook-backlog")

    def follow(self, prediction: Prediction, hook: Hook) -> Feed:
        """Tell `hook` about `prediction` from here on, to its end."""
        feed = Feed(prediction, hook, interval_s=self._interval_s, on_end=self._admit)
        self._feeds[feed] = asyncio.create_task(self._run(feed), name=f"webhook-{prediction.id}")
        return feed

    async def drain(self, timeout_s: float) -> None:
        """Give deliveries until `timeout_s` to end."""
        await self.secure()
        tasks = [*self._feeds.values(), *self._replay_tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=max(timeout_s, 0.0))

    async def close(self, timeout_s: float) -> None:
        """Give deliveries until `timeout_s`, then end them; what is owed is left for the next server."""
        if self._backlog is not None:
            await _cancel([self._backlog])
        await self.drain(timeout_s)
        is_kept = await self.secure()
        count = len(self._owed())
        await _cancel([*self._feeds.values(), *self._replay_tasks])
        if count and is_kept:
            log.warning("%d webhook calls are owed; the next server in this place makes them", count)
        elif count:
            log.error("%d webhook calls are lost", count)
        try:
            await self._outbox.close()
        except StoreError as error:
            log.error("%s", error)
        await self._caller.close()

    async def secure(self) -> bool:
        """Keep what is owed where it outlives this process, which may not be left the time to deliver it.

        False, and a line in the log, if that is not possible.
        """
        await asyncio.gather(*self._parking)
        owed = self._owed()
        try:
            if owed:
                await self._outbox.keep(tuple(owed))
        except StoreError as error:
            log.error("webhook calls that are owed cannot be kept: %s", error)
            return False
        return True

    def _owed(self) -> list[Message]:
        owed = [feed.last for feed in self._feeds if feed.last is not None]
        return owed + [message for messages in self._replays.values() for message in messages]

    async def _run(self, feed: Feed) -> None:
        try:
            await Line(self._caller, feed).run(feed)
        except Exception:
            log.exception("the webhook of the prediction %s", feed.prediction_id)
        last = feed.last
        self._drop(feed)
        if last is not None:
            await self._settle(last)

    def _admit(self, feed: Feed) -> None:
        """A prediction has ended: its last message waits in memory if there is room, otherwise in the outbox."""
        self._room.add(_messages(feed))
        if self._room.is_over and feed.last is not None:
            last = feed.last
            self._feeds[feed].cancel()
            self._drop(feed)
            parking = asyncio.create_task(self._park(last))
            self._parking.add(parking)
            parking.add_done_callback(self._parking.discard)

    def _drop(self, feed: Feed) -> None:
        if feed.ended_at is not None:
            self._room.remove(_messages(feed))
        del self._feeds[feed]
        feed.close()
        self._freed.set()

    async def _park(self, message: Message) -> None:
        try:
            await self._outbox.keep((message,))
        except StoreError as error:
            log.error("a webhook call is lost, as too many wait: %s", error)
        self._has_backlog.set()

    async def _settle(self, message: Message) -> None:
        try:
            await self._outbox.settle(message.id)
        except StoreError as error:
            log.error("a webhook call will be made again, because its end is not stored: %s", error)

    async def _work_off(self) -> None:
        """Send what is in the outbox and not in memory, oldest first, as far as there is room."""
        while True:
            await self._has_backlog.wait()
            self._has_backlog.clear()
            try:
                while await self._replay_some():
                    self._freed.clear()
                    await self._freed.wait()
            except StoreError as error:
                log.error("webhook calls that are owed cannot be read: %s", error)

    async def _replay_some(self) -> bool:
        """Start some of what is owed; False if all of it is in memory."""
        held = {message.id for message in self._owed()}
        owed = await self._outbox.owed(_PAGE, but_not=held)
        busy = {feed.prediction_id for feed in self._feeds} | self._replays.keys()
        found: dict[str, deque[Message]] = {}
        for message in owed:
            if message.prediction_id not in busy:
                found.setdefault(message.prediction_id, deque()).append(message)
        for prediction_id, messages in found.items():
            if self._room.is_half_full:
                break
            self._replays[prediction_id] = messages
            self._room.add(messages)
            task = asyncio.create_task(self._replay(prediction_id), name=f"webhook-{prediction_id}")
            self._replay_tasks.add(task)
            task.add_done_callback(self._replay_tasks.discard)
        return bool(owed)

    async def _replay(self, prediction_id: str) -> None:
        PREDICTION.set(prediction_id)
        messages = self._replays[prediction_id]
        line = Line(self._caller)
        while messages:
            try:
                if not line.is_dead:
                    await line.send(lambda: messages[0])
            except Exception:
                log.exception("the webhook of the prediction %s", prediction_id)
            # First out of what is owed: a `secure` at this moment would keep it anew after it was settled.
            message = messages.popleft()
            self._room.remove((message,))
            await self._settle(message)
        del self._replays[prediction_id]
        self._freed.set()


class _Room:
    """How much of the memory for messages is taken."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._limits = max_count, max_bytes
        self._count = self._bytes = 0

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._count += 1
            self._bytes += len(message.body)

    def remove(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._count -= 1
            self._bytes -= len(message.body)

    @property
    def is_over(self) -> bool:
        return self._count > self._limits[0] or self._bytes > self._limits[1]

    @property
    def is_half_full(self) -> bool:
        return self._count * 2 >= self._limits[0] or self._bytes * 2 >= self._limits[1]


def _messages(feed: Feed) -> tuple[Message, ...]:
    return () if feed.last is None else (feed.last,)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """End the tasks. Connecting can lose a cancel, so there may have to be a second one."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.1)
