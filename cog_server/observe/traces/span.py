"""`Span`, and what a collector is sent of it: OTLP in JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cog.version import __version__

INTERNAL, SERVER = 1, 2
_ERROR = 2
_MAX_TEXT_CHARS = 1024


@dataclass
class Span:
    """One span: ids in hexadecimal, times in nanoseconds since 1970. With an `error`, it failed."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int = 0
    kind: int = INTERNAL
    state: str = ""
    attributes: dict[str, str | int] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The span as opentelemetry.proto.trace.v1.Span, in the JSON of OTLP."""
        span: dict[str, Any] = {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": str(self.start_ns),
            "endTimeUnixNano": str(max(self.start_ns, self.end_ns)),
            "attributes": _attributes(self.attributes),
        }
        if self.parent_id:
            span["parentSpanId"] = self.parent_id
        if self.state:
            span["traceState"] = self.state
        if self.error is not None:
            span["status"] = {"code": _ERROR, "message": self.error[:_MAX_TEXT_CHARS]}
        return span


def new_id(count: int) -> str:
    """An id of so many bytes, in hexadecimal; never zero."""
    return f"{random.getrandbits(count * 8) or 1:0{count * 2}x}"


def export_request(spans: Iterable[Span], resource: Mapping[str, str]) -> bytes:
    """The body of one request to /v1/traces."""
    scope = {"name": "cog_server", "version": __version__}
    scoped = {"scope": scope, "spans": [span.to_json() for span in spans]}
    body = {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scoped]}]}
    return json.dumps(body, separators=(",", ":")).encode()


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
