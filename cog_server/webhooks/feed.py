"""`Feed`: what is still to be said about one prediction, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cog_server.predictions.events import HistoryLost
from cog_server.predictions.prediction import Prediction
from cog_server.predictions.store.base import Message
from cog_server.webhooks.hook import Hook


class Feed:
    """At most three messages: the start, one snapshot of outputs and logs, the end.

    Until a snapshot is taken for its first try, newer changes only make it newer. It is due `interval_s` after the one
    before. Once the prediction has ended, the end says all that a waiting snapshot would have.
    """

    def __init__(
        self, prediction: Prediction, hook: Hook, *, interval_s: float, on_end: Callable[[Feed], None]
    ) -> None:
        self.hook = hook
        self.prediction_id = prediction.id
        self.ended = asyncio.Event()
        self.ended_at: float | None = None
        self.last: Message | None = None
        self._interval_s = interval_s
        self._on_end = on_end
        self._prediction: Prediction | None = prediction
        self._seen = prediction.events.last
        self._start: Message | None = None
        self._news: str | None = None
        self._snapshot: Message | None = None
        self._due_at = 0.0
        self._changed = asyncio.Event()
        self._stop_listening = prediction.listen(self._on_change)

    def last_message(self) -> Message | None:
        """The message of the end: to be asked for after the prediction's `finish`, and before its `announce`.

        None if the receiver does not want it.
        """
        if self._prediction is not None and "completed" in self.hook.events and self.last is None:
            self.last = self.hook.message(self.prediction_id, "completed", self._prediction.final_json())
        return self.last

    async def ready(self) -> bool:
        """Wait until a message is due; False if there is none any more."""
        while True:
            self._changed.clear()
            wait_s = self._wait_s()
            if wait_s is not None and wait_s <= 0:
                return True
            if self.ended.is_set() and wait_s is None:
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), wait_s)
            except asyncio.TimeoutError:
                continue

    def take(self) -> Message | None:
        """The message that is due; its body stays as it is now, however often it is tried.

        The end stays in `last` while it is tried, so that what is owed is known at any moment.
        """
        if self._start is not None:
            message, self._start = self._start, None
            return message
        if self._news is not None and self._prediction is not None:
            message = self.hook.message(self.prediction_id, self._news, self._prediction.snapshot_json())
            self._news = None
            self._due_at = _now() + self._interval_s
            return message
        if self._snapshot is not None:
            message, self._snapshot = self._snapshot, None
            return message
        return self.last if self.ended.is_set() else None

    def close(self) -> None:
        """Listen no longer, and say no more."""
        # Later: this may be called by the prediction, on its way through its listeners.
        asyncio.get_running_loop().call_soon(self._stop_listening)
        self._prediction = self._start = self._snapshot = self._news = self.last = None

    def _wait_s(self) -> float | None:
        """Seconds until something is due; None if nothing is there to say."""
        if self._start is not None:
            return 0.0
        if self._news is not None or self._snapshot is not None:
            return self._due_at - _now()
        return 0.0 if self.last is not None and self.ended.is_set() else None

    def _on_change(self) -> None:
        prediction = self._prediction
        if prediction is None:
            return
        try:
            names = [event.name for event in prediction.events.after(self._seen)]
        except HistoryLost:
            names = ["output", "log"]
        self._seen = prediction.events.last
        for name in names:
            self._note(prediction, name)
        if prediction.status.is_terminal:
            self._end(prediction)

    def _note(self, prediction: Prediction, name: str) -> None:
        event = "logs" if name == "log" else name
        if event not in self.hook.events:
            return
        if event == "start":
            self._start = self.hook.message(self.prediction_id, event, prediction.snapshot_json())
        elif event == "output" or (event == "logs" and self._news is None):
            self._news = event
        else:
            return
        self._changed.set()

    def _end(self, prediction: Prediction) -> None:
        """The end says it all; without one wanted, the last outputs and logs are a message of their own."""
        if self._news is not None and self.last is None:
            self._snapshot = self.hook.message(self.prediction_id, self._news, prediction.snapshot_json())
        self._news = None
        # What is kept from here on is what is still to be sent, not the prediction.
        self._prediction = None
        self.ended_at = _now()
        self.ended.set()
        self._changed.set()
        self._on_end(self)


def _now() -> float:
    return asyncio.get_running_loop().time()
