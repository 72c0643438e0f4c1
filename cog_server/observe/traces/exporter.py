"""`Exporter`: sends spans to the collector, and lets them go when it does not take them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

import anyio
import httpx

from cog.version import __version__
from cog_server.network.addresses import AddressPolicy
from cog_server.network.outgoing import AddressRefused, open_transport
from cog_server.network.retry_delays import delay_s, read_retry_after
from cog_server.observe.trace_options import TraceOptions
from cog_server.observe.traces.span import Span, export_request

log = logging.getLogger("cog.server")

MAX_WAITING = 2048
MAX_BATCH = 256
COLLECT_S = 1.0
_MAX_TRIES = 6
_CONNECT_S = 5.0
_MAX_ANSWER_BYTES = 64 * 1024
# As the protocol has it; whatever else goes wrong would go wrong again.
_RETRIED = frozenset((429, 502, 503, 504))
_SAY_EVERY_S = 60.0


class Exporter:
    """Holds 2048 spans, of which the oldest go first. One request at a time; predictions never wait for it."""

    def __init__(self, options: TraceOptions, policy: AddressPolicy, on_drop: Callable[[int], None]) -> None:
        self._options = options
        self._on_drop = on_drop
        self._waiting: deque[Span] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_hurried = asyncio.Event()
        self._said_at: float | None = None
        self._dropped = 0
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=5.0)
        self._transport = open_transport(policy.with_host(options.url), limits=limits)
        self._headers = {
            "User-Agent": f"cog/{__version__}",
            **dict(options.headers),
            "Content-Type": "application/json",
        }

    def add(self, spans: Iterable[Span]) -> None:
        """Take spans that have ended."""
        self._waiting.extend(spans)
        excess = len(self._waiting) - MAX_WAITING
        for _ in range(excess):
            self._waiting.popleft()
        if excess > 0:
            self._drop(excess, "too many wait for the collector")
        if self._task is None or self._task.done():
            # In a context of its own: what it says is about no prediction.
            self._task = contextvars.Context().run(asyncio.create_task, self._work())

    async def flush(self, timeout_s: float) -> None:
        """Send what waits, at once, until `timeout_s`."""
        self._is_hurried.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=max(timeout_s, 0.0))

    async def close(self, timeout_s: float) -> None:
        """Send what can be sent until `timeout_s`, and give the connections back."""
        await self.flush(timeout_s)
        while self._task is not None and not self._task.done():
            # Connecting can lose a cancel, so there may have to be a second one.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.1)
        if self._waiting:
            self._drop(len(self._waiting), "the server ends")
        await self._transport.aclose()

    async def _work(self) -> None:
        while self._waiting:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_hurried.wait(), COLLECT_S)
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                await self._deliver(batch)

    async def _deliver(self, batch: list[Span]) -> None:
        reason = "the server ends"
        try:
            body = export_request(batch, dict(self._options.resource))
            for tries in range(1, _MAX_TRIES + 1):
                reason, retry_after_s = await self._try(body)
                if retry_after_s is None or tries == _MAX_TRIES:
                    break
                await asyncio.sleep(max(delay_s(tries), retry_after_s))
        except asyncio.CancelledError:
            self._drop(len(batch), reason or "the server ends")
            raise
        except Exception as error:
            log.exception("spans cannot be sent")
            reason = str(error)
        if reason:
            self._drop(len(batch), reason)

    async def _try(self, body: bytes) -> tuple[str, float | None]:
        """Give what is wrong, "" for nothing, and after how many seconds to try again, None for not at all."""
        try:
            # Not asyncio.wait_for: it cancels once, and httpx's connecting can lose that. A cancel scope insists.
            with anyio.fail_after(self._options.timeout_s):
                return await self._post(body)
        except TimeoutError:
            return f"no answer in {self._options.timeout_s:g} seconds", 0.0
        except (httpx.HTTPError, AddressRefused) as error:
            return f"{type(error).__name__} {str(error)[:200]}".strip(), 0.0

    async def _post(self, body: bytes) -> tuple[str, float | None]:
        timeouts = {"connect": min(_CONNECT_S, self._options.timeout_s), "read": None, "write": None, "pool": None}
        request = httpx.Request(
            "POST", self._options.url, headers=self._headers, content=body, extensions={"timeout": timeouts}
        )
        response = await self._transport.handle_async_request(request)
        try:
            answer = bytearray()
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for chunk in response.stream:
                answer += chunk
                if len(answer) > _MAX_ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        status = response.status_code
        if 200 <= status < 300:
            self._look_for_rejected(bytes(answer))
            return "", None
        if status in _RETRIED:
            return f"it answers {status}", read_retry_after(response.headers.get("retry-after"), time.time())
        return f"it answers {status}", None

    def _look_for_rejected(self, answer: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            partial = json.loads(answer)["partialSuccess"] if b"partialSuccess" in answer else {}
            count = int(partial.get("rejectedSpans", 0))
            if count > 0:
                self._drop(count, f"it rejects them: {str(partial.get('errorMessage', ''))[:200]}")

    def _drop(self, count: int, reason: str) -> None:
        self._on_drop(count)
        self._dropped += count
        now = time.monotonic()
        if self._said_at is None or now - self._said_at > _SAY_EVERY_S:
            log.warning("%d spans were not taken by the collector: %s", self._dropped, reason)
            self._said_at, self._dropped = now, 0
