"""`EventLog`: what happened in a prediction, in order, kept for readers that come late or come back."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, NamedTuple

MAX_BYTES = 16 * 1024 * 1024


class HistoryLost(Exception):
    """Events after the one that a reader saw last are no longer kept."""


class Event(NamedTuple):
    """One event. `number` counts from 1 within its prediction.

    `payload` is the data: a value to encode, or JSON already, in pieces.
    """

    number: int
    name: str
    payload: Any

    def data(self) -> bytes:
        """The event's data as JSON."""
        if isinstance(self.payload, tuple):
            return b"".join(self.payload)
        return json.dumps(self.payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


class EventLog:
    """Keeps the last `capacity` events, and no more than 16 MiB of what only it holds, but always the last one."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self.last = 0

    def append(self, name: str, payload: Any, size: int = 0) -> None:
        """Add an event; `size` is how many bytes it holds that nobody else does."""
        self.last += 1
        self._events.append((Event(self.last, name, payload), size))
        self._bytes += size
        while len(self._events) > 1 and (len(self._events) > self._capacity or self._bytes > MAX_BYTES):
            self._bytes -= self._events.popleft()[1]

    def after(self, number: int) -> list[Event]:
        """The events that follow `number`. Raises HistoryLost if the first of them is gone, or never was."""
        missing = self.last - number
        if missing < 0 or missing > len(self._events):
            raise HistoryLost
        return [self._events[index][0] for index in range(-missing, 0)]
