"""The server's own log, and the model's text on its way through."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone


def configure_logging(*, log_format: str, level: str) -> None:
    """Send the server's records to stderr, one line each: JSON, or text for people."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONFormatter() if log_format == "json" else logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Requests of the model's inputs would be logged with their URLs, which may carry credentials.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class ModelLog:
    """Writes what the model prints to stderr: as it is, or as JSON lines with the prediction's id."""

    def __init__(self, log_format: str) -> None:
        self._is_json = log_format == "json"
        self._partial: dict[str | None, str] = {}

    def write(self, text: str, prediction_id: str | None) -> None:
        """Take some text of a prediction, or of none."""
        if not self._is_json:
            sys.stderr.write(text)
            sys.stderr.flush()
            return
        *lines, rest = (self._partial.pop(prediction_id, "") + text).split("\n")
        if rest:
            self._partial[prediction_id] = rest
        for line in lines:
            print(_line("model", "INFO", line, prediction_id), file=sys.stderr, flush=True)


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        return _line(record.name, record.levelname, message, getattr(record, "prediction_id", None))


def _line(logger: str, level: str, message: str, prediction_id: str | None) -> str:
    record = {"time": datetime.now(timezone.utc).isoformat(), "level": level, "logger": logger, "message": message}
    if prediction_id is not None:
        record["prediction_id"] = prediction_id
    return json.dumps(record)
