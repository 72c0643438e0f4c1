"""`Line`: the way of one prediction's messages to their receiver."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import httpx

from cog_server.network.retry_delays import delay_s
from cog_server.predictions.store.base import Message
from cog_server.webhooks.calls import Caller
from cog_server.webhooks.feed import Feed
from cog_server.webhooks.retries import MAX_TRIES, Answer, Verdict, next_try

log = logging.getLogger("cog.server")


class Line:
    """Sends one message after the other: each is delivered or given up before the next is tried.

    `feed` is where they come from while the prediction lives; None for messages that an earlier server owed.
    """

    def __init__(self, caller: Caller, feed: Feed | None = None) -> None:
        self.is_dead = False
        self._caller = caller
        self._feed = feed
        self._headers = feed.hook.headers if feed else ()
        self._not_before = 0.0
        self._said: set[str] = set()

    async def run(self, feed: Feed) -> None:
        """Send what comes from `feed`, until its end has been sent or nothing more is wanted."""
        while await feed.ready():
            sent = await self.send(feed.take)
            if self.is_dead or (sent is not None and sent is feed.last):
                return

    async def send(self, take: Callable[[], Message | None]) -> Message | None:
        """Send what `take` gives when a call may be made, and give it back. Then `is_dead` if no more are wanted."""
        await asyncio.sleep(max(self._not_before - _now(), 0.0))
        async with self._caller.slots:
            message = take()
            if message is None:
                return None
            answer = await self._caller.call(message, self._headers)
        tries = 1
        while answer.verdict is Verdict.RETRY:
            self._not_before = max(self._not_before, _now() + answer.retry_after_s)
            if tries == MAX_TRIES or not await self._pause(message, delay_s(tries)):
                self._say(message, answer, f"is given up after {tries} tries")
                return message
            self._say_once(message, answer, "is tried again", key="again")
            async with self._caller.slots:
                answer = await self._caller.call(message, self._headers)
            tries += 1
        if answer.verdict is not Verdict.DELIVERED:
            self.is_dead = answer.verdict is Verdict.GONE
            consequence = "and later ones are not sent" if self.is_dead else "is not sent again"
            self._say_once(message, answer, consequence, key=answer.reason)
        return message

    async def _pause(self, message: Message, wait_s: float) -> bool:
        """Wait for the next try; False if there will be none, because the prediction's end waits behind this one."""
        failed_at = _now()
        feed = self._feed if self._feed is not None and message is not self._feed.last else None
        while True:
            hurried_since = feed.ended_at if feed is not None and feed.last is not None else None
            at = next_try(failed_at, wait_s, not_before=self._not_before, hurried_since=hurried_since)
            if at is None:
                return False
            left_s = at - _now()
            if left_s <= 0:
                return True
            if feed is None or feed.ended.is_set():
                await asyncio.sleep(left_s)
            else:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(feed.ended.wait(), left_s)

    def _say_once(self, message: Message, answer: Answer, consequence: str, *, key: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._say(message, answer, consequence)

    def _say(self, message: Message, answer: Answer, consequence: str) -> None:
        log.warning(
            "the webhook %s of the prediction %s %s; %s: %s",
            message.event,
            message.prediction_id,
            consequence,
            _without_secrets(message.url),
            answer.reason,
            extra={"prediction_id": message.prediction_id},
        )


def _without_secrets(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}{parsed.path}"


def _now() -> float:
    return asyncio.get_running_loop().time()
