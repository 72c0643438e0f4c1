"""A collector of traces over real HTTP, which decodes with OpenTelemetry's own messages and fails as it is told to."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Reply:
    """What the collector does with a request; with `hangs_s` it answers that much later."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    hangs_s: float = 0.0


@dataclass(frozen=True)
class Received:
    """One span, ids in hexadecimal, times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    is_error: bool
    message: str
    state: str


class Collector:
    """Listens at a port of its own; `replies` are used up, one a request, before all are taken."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.always: Reply | None = None
        self.spans: list[Received] = []
        self.resources: list[dict[str, Any]] = []
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                reply = collector._take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                time.sleep(reply.hangs_s)
                with contextlib.suppress(OSError):
                    self.send_response(reply.status)
                    for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)

            def log_message(self, *given: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="otlp-collector", daemon=True).start()

    def of(self, prediction_id: str) -> dict[str, Received]:
        """The spans of a prediction's trace by their names, {} before they have come."""
        roots = [span for span in self.spans if span.attributes.get("cog.prediction.id") == prediction_id]
        return {span.name: span for span in self.spans if roots and span.trace_id == roots[0].trace_id}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        with self._lock:
            self.requests.append((time.monotonic(), path, headers))
            reply = self.replies.pop(0) if self.replies else self.always or Reply()
            if reply.status == 200 and not reply.hangs_s:
                self._keep(headers["content-type"], body)
            return reply

    def _keep(self, media_type: str, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        if media_type == "application/json":
            # OTLP's JSON has ids in hexadecimal, protobuf's in base64: these are looked at as text.
            document = json.loads(body)
            for spans in (scope["spans"] for each in document["resourceSpans"] for scope in each["scopeSpans"]):
                for span in spans:
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in span:
                            span[key] = _base64(bytes.fromhex(span[key]))
            json_format.ParseDict(document, request)
        else:
            request.ParseFromString(body)
        for group in request.resource_spans:
            self.resources.append(_values(group.resource.attributes))
            self.spans += [_received(span) for scope in group.scope_spans for span in scope.spans]


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, to the end of the block."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.stop()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _received(span: Span) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        span.status.code == Status.STATUS_CODE_ERROR,
        span.status.message,
        span.trace_state,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
