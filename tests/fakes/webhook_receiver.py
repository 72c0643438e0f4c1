"""A receiver of webhooks over real HTTP, on a thread of its own, that fails as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")


class Manner(enum.Enum):
    """How a receiver treats a call: before its body is read, or after."""

    ANSWER = "answer"
    RESET_BEFORE = "reset before the body"
    RESET_AFTER = "reset after the body"
    HANG = "no answer"
    SLOW_BODY = "an answer without end"


@dataclass(frozen=True)
class Reply:
    """What a receiver does with a call."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = Manner.ANSWER

    @property
    def is_acknowledgement(self) -> bool:
        """Whether the sender has heard that its message arrived."""
        return 200 <= self.status < 300 and self.manner in (Manner.ANSWER, Manner.SLOW_BODY)


OK = Reply()


@dataclass(frozen=True)
class Call:
    """A call whose body arrived. Header names are in lower case; `at` is on time.monotonic's clock."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes
    reply: Reply

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @cached_property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def is_end(self) -> bool:
        return self.document["status"] in ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Findings:
    """What went wrong, as counts, over the predictions whose ids were given."""

    lost: int
    without_start: int
    out_of_order: int
    after_the_end: int
    altered: int
    ends_of_two_ids: int
    duplicates: int

    @property
    def faults(self) -> dict[str, int]:
        """All but the duplicates, which have equal ids and are what at-least-once means."""
        return {name: count for name, count in vars(self).items() if name != "duplicates" and count}


class WebhookReceiver:
    """Listens on a port of its own until `stop`; `choose` says what happens to a call, from its path and headers."""

    def __init__(
        self,
        choose: Callable[[str, dict[str, str]], Reply] | None = None,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.choose = choose or (lambda path, headers: OK)
        self.calls: list[Call] = []
        self.requests = 0
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self._host = host
        self._tls = tls
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhook-receiver", daemon=True)
        self._thread.start()
        self.port = 0
        self.up()

    def url(self, path: str = "/hook") -> str:
        """Where predictions should send their events."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}{path}"

    def down(self) -> None:
        """Refuse connections from here on, and break those that there are."""
        self._await(self._close())

    def up(self) -> None:
        """Listen, again at the same port."""
        self._await(self._listen())

    def stop(self) -> None:
        """End it."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def of(self, prediction_id: str) -> list[Call]:
        """The calls about one prediction, in the order they came."""
        return [call for call in list(self.calls) if call.document["id"] == prediction_id]

    def acknowledged(self, prediction_id: str) -> list[Call]:
        """Those of which the sender has heard that they arrived."""
        return [call for call in self.of(prediction_id) if call.reply.is_acknowledgement]

    def has_end_of(self, prediction_id: str) -> bool:
        return any(call.is_end for call in self.acknowledged(prediction_id))

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 15) -> None:
        """Poll until `condition` holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {timeout_s} s; {len(self.calls)} calls: {self.calls[-3:]}")
            time.sleep(0.02)

    def examine(self, prediction_ids: list[str]) -> Findings:
        """Look for what must not be: a message that is missing, late, changed or said twice under two ids."""
        counts: Counter[str] = Counter()
        calls: dict[str, list[Call]] = {prediction_id: [] for prediction_id in prediction_ids}
        for call in list(self.calls):
            calls.setdefault(call.document["id"], []).append(call)
        for found in calls.values():
            counts.update(_examine(found))
        return Findings(**{name: counts[name] for name in Findings.__dataclass_fields__})

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self._host, self.port, ssl=self._tls, reuse_address=True, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        serving = dict(self._serving)
        for task, writer in serving.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # Cancelled by `down`: asyncio's streams take that for an accident.
        finally:
            self.open_now -= 1
            del self._serving[task]
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        path = first.split(" ")[1]
        self.requests += 1
        reply = self.choose(path, headers)
        if reply.manner is Manner.RESET_BEFORE:
            return _reset(writer)
        body = await reader.readexactly(int(headers["content-length"]))
        self.calls.append(Call(time.monotonic(), path, headers, body, reply))
        if reply.manner is Manner.RESET_AFTER:
            return _reset(writer)
        if reply.manner is Manner.HANG:
            await reader.read()
            return False
        length = 1000 if reply.manner is Manner.SLOW_BODY else 0
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\ncontent-length: {length}\r\n{extra}\r\n".encode())
        for _ in range(length):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)
        await writer.drain()
        return True


@contextlib.contextmanager
def receiving(*given: Any, **options: Any) -> Iterator[WebhookReceiver]:
    """A WebhookReceiver for a `with` block."""
    receiver = WebhookReceiver(*given, **options)
    try:
        yield receiver
    finally:
        receiver.stop()


def at_random(seed: int, *, share: float = 0.3) -> Callable[[str, dict[str, str]], Reply]:
    """Let this share of the calls fail, each in one of seven ways."""
    chance = random.Random(seed)
    ways = [
        Reply(manner=Manner.HANG),
        Reply(manner=Manner.RESET_BEFORE),
        Reply(manner=Manner.RESET_AFTER),
        Reply(500),
        Reply(503),
        Reply(429, {"Retry-After": "1"}),
        Reply(manner=Manner.SLOW_BODY),
    ]
    return lambda path, headers: chance.choice(ways) if chance.random() < share else OK


def _examine(calls: list[Call]) -> Counter[str]:
    counts: Counter[str] = Counter()
    acknowledged = [call for call in calls if call.reply.is_acknowledgement]
    counts["lost"] = not any(call.is_end for call in acknowledged)
    counts["without_start"] = not any(call.document["status"] == "processing" for call in acknowledged)
    # A message that comes again after a later one has come, or that knows less than the one before.
    runs = [message_id for message_id, _ in itertools.groupby(call.message_id for call in calls)]
    counts["out_of_order"] = len(runs) - len(set(runs))
    counts["out_of_order"] += sum(later < earlier for earlier, later in itertools.pairwise(map(_progress, calls)))
    ends = [call.message_id for call in calls if call.is_end]
    counts["ends_of_two_ids"] = max(len(set(ends)) - 1, 0)
    if ends:
        first = next(index for index, call in enumerate(calls) if call.is_end)
        counts["after_the_end"] = sum(not call.is_end for call in calls[first:])
    bodies: dict[str, bytes] = {}
    for call in calls:
        counts["altered"] += bodies.setdefault(call.message_id, call.body) != call.body
    counts["duplicates"] = len(calls) - len(bodies)
    return counts


def _progress(call: Call) -> tuple[bool, int, int]:
    document = call.document
    return call.is_end, len(json.dumps(document["output"])), len(document["logs"])


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Close with a RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False
