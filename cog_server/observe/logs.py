"""The server's own log, and the model's text on its way through."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from json.encoder import encode_basestring_ascii

# What the code at hand works for. Tasks inherit it, so a line about a download, an upload or a webhook has it too.
PREDICTION: contextvars.ContextVar[str] = contextvars.ContextVar("cog_prediction")
TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("cog_trace")

_MAX_LINE_CHARS = 64 * 1024
_MAX_WAITING_CHARS = 256 * 1024
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(*, log_format: str, level: str) -> None:
    """Send the server's records to stderr, one line each: JSON, or text for people."""
    handler = logging.StreamHandler(_OUTLET)
    handler.setFormatter(_JSONFormatter() if log_format == "json" else _ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Requests of the model's inputs would be logged with their URLs, which may carry credentials.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class ModelLog:
    """Writes what the model prints to stderr: as it is, or as JSON lines with the prediction's id.

    `trace_of` gives the trace of a prediction, if it has one.
    """

    def __init__(self, log_format: str) -> None:
        self.trace_of: Callable[[str], str | None] = lambda prediction_id: None
        self._is_json = log_format == "json"
        self._partial: dict[str | int | None, str] = {}

    def write(self, text: str, prediction_id: str | None, worker: int | None = None) -> None:
        """Take some text of a prediction, or of none but one of several workers.

        A line without end is written in pieces of 64 Ki characters.
        """
        if not self._is_json:
            _OUTLET.write_soon(lambda: text, len(text))
            return
        writer = worker if prediction_id is None else prediction_id
        *lines, rest = (self._partial.pop(writer, "") + text).split("\n")
        if len(rest) > _MAX_LINE_CHARS:
            lines, rest = [*lines, rest], ""
        if rest:
            self._partial[writer] = rest
        if lines:
            self._write_lines(lines, writer)

    def finish(self, prediction_id: str) -> None:
        """Write what a prediction that has ended left without a line break."""
        if prediction_id in self._partial:
            self._write_lines([self._partial.pop(prediction_id)], prediction_id)

    def _write_lines(self, lines: list[str], writer: str | int | None) -> None:
        """Write lines that came together: they share all but their text, which is all that is encoded for each."""
        ids: dict[str, str | int | None] = {"worker": writer}
        if isinstance(writer, str):
            ids = {"prediction_id": writer, "trace_id": self.trace_of(writer)}
        make = partial(_records, datetime.now(timezone.utc), lines, ids)
        _OUTLET.write_soon(make, sum(map(len, lines)))


def _records(moment: datetime, lines: list[str], ids: Mapping[str, str | int | None]) -> str:
    head, key, tail = _line(moment, "INFO", "model", "", ids).partition('"message": ')
    head, tail = head + key, tail.removeprefix('""') + "\n"
    return _escape_delete(head + (tail + head).join(map(encode_basestring_ascii, lines)) + tail)


class _Outlet:
    """stderr, for any thread. The model's text waits for the end of the loop's turn: answers do not wait for it.

    It stays before what is written later, and waits no longer than until there is a quarter of a megabyte of it.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], str]] = deque()
        self._waiting_chars = 0

    def write_soon(self, make: Callable[[], str], size: int) -> None:
        """Have it made and written; `size` is about how many characters it has."""
        self._waiting.append(make)
        self._waiting_chars += size
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # Nothing else waits for this thread.
                self.flush()
        elif self._waiting_chars > _MAX_WAITING_CHARS:
            self.flush()

    def write(self, text: str) -> int:
        self._waiting.append(lambda: text)
        return len(text)

    def flush(self) -> None:
        made = []
        while self._waiting:
            made.append(self._waiting.popleft()())
        self._waiting_chars = 0
        if made:
            sys.stderr.write("".join(made))
            sys.stderr.flush()


_OUTLET = _Outlet()


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        more = {**_ids(record), "exception": self.formatException(record.exc_info) if record.exc_info else None}
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        return _line(moment, record.levelname, record.name, record.getMessage(), more)


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ids = ", ".join(f"{name.removesuffix('_id')} {value}" for name, value in _ids(record).items() if value)
        text = f"{record.levelname}: {record.getMessage()}" + (f" [{ids}]" if ids else "")
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        # A terminal obeys what it is sent; and a line that begins at the left is one of ours.
        return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text).replace("\n", "\n    ")


def _ids(record: logging.LogRecord) -> dict[str, str | None]:
    given: str | None = getattr(record, "prediction_id", None)
    return {"prediction_id": given or PREDICTION.get(None), "trace_id": TRACE.get(None)}


def _line(moment: datetime, level: str, logger: str, message: str, more: Mapping[str, str | int | None]) -> str:
    """One line; control characters and all that is not ASCII are escaped in it."""
    record: dict[str, str | int] = {
        "time": moment.isoformat(timespec="microseconds"),
        "level": level,
        "logger": logger,
        "message": message,
    }
    record.update((name, value) for name, value in more.items() if value is not None)
    return _escape_delete(json.dumps(record))


def _escape_delete(text: str) -> str:
    """Escape the one control character that JSON leaves as it is."""
    return text.replace("\x7f", "\\u007f")
