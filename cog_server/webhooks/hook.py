"""`Hook`: where a request wants its prediction's events to go, and which of them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from cog_server.observe.trace_context import read_parent
from cog_server.predictions.store.base import Message

EVENTS = ("start", "output", "logs", "completed")
MAX_URL_CHARS = 8192

_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_ID_BYTES = 18


class HookError(Exception):
    """A request names a webhook that cannot be used; `place` is the field, and for a list the index in it."""

    def __init__(self, place: tuple[str | int, ...], message: str, kind: str) -> None:
        super().__init__(message)
        self.place = place
        self.kind = kind


@dataclass(frozen=True)
class Hook:
    """A URL and the events it wants. `headers` are those of the request that go along: its trace context."""

    url: str
    events: tuple[str, ...] = EVENTS
    headers: tuple[tuple[str, str], ...] = ()

    def message(self, prediction_id: str, event: str, body: bytes) -> Message:
        """A new message; its id is unlike every other's."""
        return Message(f"msg_{secrets.token_urlsafe(_ID_BYTES)}", prediction_id, event, self.url, body)

    def to_json(self) -> str:
        """The hook as text, for `from_json`."""
        return json.dumps({"url": self.url, "events": self.events, "headers": self.headers})

    @classmethod
    def from_json(cls, text: str) -> Hook:
        """Read what `to_json` gave."""
        document = json.loads(text)
        headers = tuple((name, value) for name, value in document["headers"])
        return cls(document["url"], tuple(document["events"]), headers)


def read_hook(url: Any, events: Any, headers: Mapping[str, str]) -> Hook | None:
    """The hook in a request's `webhook`, `webhook_events_filter` and HTTP headers; None if there is none.

    Raises HookError. The addresses that the host has are looked at when a connection is made, not here.
    """
    chosen = _read_events(events)
    if url is None:
        return None
    parent = read_parent(headers)
    return Hook(_read_url(url), chosen, parent.headers if parent else ())


def _read_url(url: Any) -> str:
    place = ("webhook",)
    if not isinstance(url, str):
        raise HookError(place, "Input should be a URL", "string_type")
    if len(url) > MAX_URL_CHARS:
        raise HookError(place, f"The URL has more than {MAX_URL_CHARS} characters", "url_too_long")
    if _ODD.search(url):
        raise HookError(place, "The URL has spaces, control characters or backslashes", "url_parsing")
    try:
        # The parser of the client that will connect: two parsers could disagree about the host.
        parsed = httpx.URL(url)
        port = parsed.port
        encoded_host = parsed.raw_host
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise HookError(place, "Input should be a valid URL", "url_parsing") from error
    if parsed.scheme not in ("http", "https"):
        raise HookError(place, "The URL should begin with http:// or https://", "url_scheme")
    if not encoded_host or port == 0 or (port or 0) > 65535:
        raise HookError(place, "The URL should name a host, and a port from 1 to 65535 or none", "url_parsing")
    if parsed.userinfo:
        raise HookError(place, "The URL should hold no user name and password", "url_userinfo")
    return url


def _read_events(events: Any) -> tuple[str, ...]:
    place = "webhook_events_filter"
    if events is None:
        return EVENTS
    if not isinstance(events, list):
        raise HookError((place,), f"Input should be a list of {', '.join(EVENTS)}", "list_type")
    for index, event in enumerate(events):
        if event not in EVENTS:
            raise HookError((place, index), f"Input should be one of {', '.join(EVENTS)}", "enum")
    return tuple(event for event in EVENTS if event in events)
