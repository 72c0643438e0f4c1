"""Predictions as server-sent events: start, output, log, metric, completed (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from cog_server.http.routes.answers import problem
from cog_server.jobs.port import PredictionService
from cog_server.predictions.events import Event, HistoryLost
from cog_server.predictions.prediction import Prediction
from cog_server.settings import Settings

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_S = 15.0
MAX_READERS = 1024
_LINE_BREAKS = tuple((each.encode(), json.dumps(each)[1:-1].encode()) for each in ("\u2028", "\u2029", "\x85"))
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def stream_of(
    prediction: Prediction, service: PredictionService, settings: Settings, *, last_event_id: str | None
) -> Response:
    """The events that follow the one a client saw last: all, or those from now on if none are kept for replay."""
    if prediction.readers >= MAX_READERS:
        return problem(429, f"more than {MAX_READERS} clients read this prediction", retry_after_s=1)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else 0
    if not settings.stream_history:
        after = max(after, prediction.events.last - 1 if prediction.status.is_terminal else prediction.events.last)
    events = _events(prediction, service, after, settings.stream_grace_s)
    return StreamingResponse(events, media_type=EVENT_STREAM, headers=_HEADERS)


def stream_of_record(body: bytes) -> Response:
    """The stream of a prediction that is only in the store: its end."""
    return Response(_text("completed", body), media_type=EVENT_STREAM, headers=_HEADERS)


async def _events(
    prediction: Prediction, service: PredictionService, after: int, grace_s: float
) -> AsyncIterator[bytes]:
    changed = asyncio.Event()
    stop_listening = prediction.listen(changed.set)
    try:
        with service.watching(prediction, grace_s=grace_s):
            while True:
                changed.clear()
                try:
                    events = prediction.events.after(after)
                except HistoryLost:
                    yield _text("error", b'{"error":"earlier events are no longer kept"}')
                    return
                if events:
                    # All that there are in one piece: a reader that is slow falls behind, but holds nobody up.
                    yield b"".join(map(_encode, events))
                    after = events[-1].number
                    if events[-1].name == "completed":
                        return
                else:
                    try:
                        await asyncio.wait_for(changed.wait(), KEEP_ALIVE_S)
                    except asyncio.TimeoutError:
                        yield b": keep-alive\n\n"
    finally:
        stop_listening()


def _encode(event: Event) -> bytes:
    return b"id: %d\n" % event.number + _text(event.name, event.data())


def _text(name: str, data: bytes) -> bytes:
    # Line breaks to many a client, though not to the standard. In JSON they stand in texts only, unlike "\n", which
    # JSON made without indentation does not have.
    for raw, escaped in _LINE_BREAKS:
        if raw in data:
            data = data.replace(raw, escaped)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
