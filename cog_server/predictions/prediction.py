"""`Prediction`: the one state object of a prediction. Every reader gets snapshots of it."""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any

from cog_server.predictions.events import EventLog
from cog_server.predictions.json_pieces import encode_json, json_pieces
from cog_server.predictions.timestamps import now

log = logging.getLogger("cog.server")


class Status(str, enum.Enum):
    """The life of a prediction; the last three are terminal."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    def __init__(self, value: str) -> None:
        self.is_terminal = value in ("succeeded", "failed", "canceled")


HISTORY = 1024
MAX_LOG_CHARS = 16 * 1024 * 1024
_CUT = "[the beginning of the log was cut]\n"


@dataclass(eq=False, slots=True)
class Prediction:
    """One prediction. `input` is JSON data as it is shown to clients; outputs are JSON bytes, kept as they came.

    Of the input only its JSON is kept, once: it may hold a file of many megabytes.
    `output_info` is what there is to say about output files, None if nobody wants to know. Its moments are as of `now`.
    Readers look at `events`, or take a snapshot; `listen` tells them when to look again.
    """

    id: str
    input: InitVar[dict[str, Any]]
    is_iterator: bool = False
    history: int = HISTORY
    output_info: list[dict[str, Any]] | None = None
    status: Status = Status.STARTING
    error: str | None = None
    created_at: str = field(default_factory=now)
    started_at: str | None = None
    completed_at: str | None = None
    # The same by a clock that nobody sets.
    created_s: float = field(default_factory=time.monotonic)
    started_s: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    output_bytes: int = 0
    events: EventLog = field(init=False)
    _input: list[bytes] = field(init=False)
    _outputs: list[bytes] = field(default_factory=list)
    _logs: list[str] = field(default_factory=list)
    _log_chars: int = 0
    _listeners: list[Callable[[], None]] = field(default_factory=list)
    _final: bytes | None = None
    _is_announced: bool = False

    def __post_init__(self, input: dict[str, Any]) -> None:
        self._input = json_pieces(input)
        self.events = EventLog(self.history)

    # docs/decisions/018-told-that-not-what.md
    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change; the function given back ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and everybody was told."""
        return self._is_announced

    @property
    def readers(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def start(self) -> None:
        """The worker has it now."""
        if self.status is Status.STARTING:
            self.status = Status.PROCESSING
            self.started_at = now()
            self.started_s = time.monotonic()
            self._tell("start", {"id": self.id, "status": self.status.value})

    def append_output(self, body: bytes, info: Iterable[dict[str, Any]] = ()) -> None:
        """Take one output, or one item of an iterator's output, as JSON; `info` is about the files in it."""
        if self.status.is_terminal:
            return
        if self.output_info is not None:
            position = [len(self._outputs)] if self.is_iterator else []
            self.output_info += [{**each, "place": [*position, *each["place"]]} for each in info]
        tail = b',"index":%d}' % len(self._outputs)
        self._outputs.append(body)
        self.output_bytes += len(body)
        # In this order: there are clients that compare text.
        self._tell("output", (b'{"chunk":', body, tail))

    def append_log(self, text: str) -> None:
        """Take some of the model's text; the oldest goes once there is more than `MAX_LOG_CHARS`."""
        if self.status.is_terminal:
            return
        self._logs.append(text)
        self._log_chars += len(text)
        if self._log_chars > MAX_LOG_CHARS:
            kept = "".join(self._logs).removeprefix(_CUT)[-MAX_LOG_CHARS // 2 :]
            self._logs = [_CUT, kept]
            self._log_chars = len(_CUT) + len(kept)
        self._tell("log", {"source": "stdout", "data": text}, len(text))

    def set_metric(self, name: str, value: Any) -> None:
        """Take one measurement as it stands now; None means that it was deleted. Dots in its name are groups."""
        if self.status.is_terminal:
            return
        *groups, last = name.split(".")
        within = self.metrics
        for group in groups:
            within = within.setdefault(group, {})
        if value is not None:
            within[last] = value
        else:
            within.pop(last, None)
            self._forget_empty(groups)
        self._tell("metric", {"name": name, "value": value, "mode": "replace"})

    def _forget_empty(self, groups: list[str]) -> None:
        """Take out groups of metrics that have none any more."""
        for count in range(len(groups), 0, -1):
            within = self.metrics
            for group in groups[: count - 1]:
                within = within[group]
            if not within[groups[count - 1]]:
                del within[groups[count - 1]]

    def finish(self, status: Status, *, error: str | None = None, predict_time_s: float | None = None) -> bool:
        """End it, once. Gives False, and changes nothing, if it has ended already.

        Nobody is told before `announce`, so that the end can be stored first.
        """
        assert status.is_terminal, status
        if self.status.is_terminal:
            return False
        self.status = status
        self.error = error
        self.completed_at = now()
        if predict_time_s is not None:
            self.metrics["predict_time"] = round(predict_time_s, 6)
        self._final = self._snapshot()
        return True

    def announce(self) -> None:
        """Tell everybody who waits that it has ended."""
        assert self._final is not None, self.status
        self._is_announced = True
        self._input = []
        self._tell("completed", (self._final,))
        self._listeners = []

    def _tell(self, name: str, payload: Any, size: int = 0) -> None:
        self.events.append(name, payload, size)
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                # It is one client's; the others, and the prediction itself, go on.
                log.exception("somebody who watches the prediction %s", self.id)

    @property
    def logs(self) -> str:
        """The model's text so far."""
        return "".join(self._logs)

    def input_json(self) -> bytes:
        """The input as it is shown, as JSON."""
        return b"".join(self._input)

    def output_json(self) -> bytes:
        """The output so far as JSON: `null` as long as there is none."""
        if self.is_iterator:
            if not self._outputs and self.status in (Status.STARTING, Status.PROCESSING):
                return b"null"
            return b"[" + b",".join(self._outputs) + b"]"
        return self._outputs[-1] if self._outputs else b"null"

    @property
    def shown_status(self) -> Status:
        """The status as clients see it: an end only once it is announced."""
        return Status.PROCESSING if self._is_hidden else self.status

    @property
    def _is_hidden(self) -> bool:
        return self._final is not None and not self._is_announced

    def snapshot_json(self) -> bytes:
        """The prediction as clients see it, as JSON."""
        return self._final if self._final is not None and self._is_announced else self._snapshot()

    def final_json(self) -> bytes:
        """The prediction as it has ended, announced or not."""
        assert self._final is not None, self.status
        return self._final

    def _snapshot(self) -> bytes:
        head = b'{"id":"%s","status":"%s","input":' % (self.id.encode(), self.shown_status.value.encode())
        tail: dict[str, Any] = {
            "logs": self.logs,
            "error": None if self._is_hidden else self.error,
            "metrics": self.metrics,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "completed_at": None if self._is_hidden else self.completed_at,
        }
        if self.output_info is not None:
            tail["output_info"] = self.output_info
        return b"".join((head, *self._input, b',"output":', self.output_json(), b",", encode_json(tail)[1:]))
