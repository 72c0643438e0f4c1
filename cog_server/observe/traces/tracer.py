"""`Tracer`: makes a span of each prediction, with its queue, download, predict and upload below it."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cog_server.files.outputs import StoredOutput
from cog_server.network.addresses import AddressPolicy
from cog_server.observe.logs import TRACE
from cog_server.observe.trace_context import Parent, read_parent
from cog_server.observe.trace_options import TraceOptions
from cog_server.observe.traces.exporter import Exporter
from cog_server.observe.traces.span import SERVER, Span, new_id
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.steps import Localized, Steps

T = TypeVar("T")
_CALL: contextvars.ContextVar[Scope] = contextvars.ContextVar("cog_call")


class CallMiddleware:
    """Remembers the request at hand: whoever submits a prediction need not hand it down."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _CALL.set(scope)
        await self._app(scope, receive, send)


class Tracer:
    """Owns the way to the collector. `middleware` must be around whatever asks for predictions.

    `on_drop` is told how many spans the collector did not take.
    """

    middleware = CallMiddleware

    def __init__(self, options: TraceOptions, policy: AddressPolicy, on_drop: Callable[[int], None]) -> None:
        self._options = options
        self._live: dict[str, str] = {}
        self.exporter = Exporter(options, policy, on_drop)

    def steps_of(self, prediction: Prediction) -> Steps:
        """The steps of a prediction that the request at hand asks for."""
        call = _CALL.get({})
        parent = _parent_of(call)
        trace_id = parent.trace_id if parent else new_id(16)
        span = Span("prediction", trace_id, new_id(8), parent.span_id if parent else "", time.time_ns(), kind=SERVER)
        span.state = parent.state if parent else ""
        span.attributes["cog.prediction.id"] = prediction.id
        if call:
            span.attributes["http.request.method"] = call["method"]
            span.attributes["http.route"] = _route(call)
        TRACE.set(trace_id)
        return TracedSteps(span, self.exporter, self._live, self._samples(parent, trace_id))

    def trace_of(self, prediction_id: str) -> str | None:
        """The trace of a prediction that waits or runs."""
        return self._live.get(prediction_id)

    def _samples(self, parent: Parent | None, trace_id: str) -> bool:
        options = self._options
        if options.follows_parent and parent is not None:
            return parent.is_sampled
        if options.sampler == "traceidratio":
            # As OpenTelemetry's own libraries do, so that all of one trace decide alike.
            return int(trace_id[16:], 16) < round(options.ratio * 2**64)
        return options.sampler == "always_on"


class TracedSteps(Steps):
    """The steps as spans. One that is not sampled has ids, for the worker and the log, and sends nothing."""

    __slots__ = ("_clock_ns", "_exporter", "_is_sampled", "_live", "_predict", "_queue", "_root", "_spans")

    def __init__(self, root: Span, exporter: Exporter, live: dict[str, str], is_sampled: bool) -> None:
        self._root = root
        self._exporter = exporter
        self._live = live
        self._is_sampled = is_sampled
        # Steps of one prediction are in order, whatever happens to the system's time meanwhile.
        self._clock_ns = root.start_ns - time.monotonic_ns()
        self._spans: list[Span] = []
        self._queue: Span | None = None
        self._predict: Span | None = None

    def admit(self) -> None:
        self._live[str(self._root.attributes["cog.prediction.id"])] = self._root.trace_id
        self._queue = self._begin("queue")

    def leave_queue(self) -> None:
        self._finish(self._queue)
        self._queue = None

    def download(self, fetching: Coroutine[Any, Any, Localized]) -> Coroutine[Any, Any, Localized]:
        return self._download(fetching)

    def predict(self, head: dict[str, object]) -> None:
        self._predict = self._begin("predict")
        head["traceparent"] = f"00-{self._root.trace_id}-{self._predict.span_id}-{int(self._is_sampled):02x}"

    def upload(self, storing: Coroutine[Any, Any, StoredOutput]) -> Coroutine[Any, Any, StoredOutput]:
        return self._step(self._begin("upload"), storing)

    def end(self, prediction: Prediction, predict_time_s: float | None) -> None:
        self._live.pop(prediction.id, None)
        error = (prediction.error or "it failed") if prediction.status is Status.FAILED else None
        self._finish(self._queue)
        if self._predict is not None:
            self._finish(self._predict, error, predict_time_s)
        self._root.attributes["cog.prediction.status"] = prediction.status.value
        self._finish(self._root, error)
        if self._is_sampled:
            self._exporter.add(self._spans)

    async def _download(self, fetching: Coroutine[Any, Any, Localized]) -> Localized:
        span = self._begin("download")
        try:
            found = await fetching
        except BaseException as error:
            self._finish(span, _said(error))
            raise
        if found[1]:
            span.attributes["cog.files"] = len(found[1])
            self._finish(span)
        return found

    async def _step(self, span: Span, work: Coroutine[Any, Any, T]) -> T:
        error: str | None = None
        try:
            return await work
        except BaseException as problem:
            error = _said(problem)
            raise
        finally:
            self._finish(span, error)

    def _begin(self, name: str) -> Span:
        return Span(name, self._root.trace_id, new_id(8), self._root.span_id, self._clock_ns + time.monotonic_ns())

    def _finish(self, span: Span | None, error: str | None = None, seconds: float | None = None) -> None:
        if span is None:
            return
        now_ns = self._clock_ns + time.monotonic_ns()
        # The model's own time, where it is known: what follows it here is the storing of its output.
        span.end_ns = now_ns if seconds is None else min(span.start_ns + int(seconds * 1e9), now_ns)
        span.error = error
        self._spans.append(span)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _parent_of(call: Scope) -> Parent | None:
    headers = Headers(scope=call) if call else Headers()
    # Two of them are none: nobody can tell which one is meant.
    return read_parent(headers) if len(headers.getlist("traceparent")) == 1 else None


def _route(call: Scope) -> str:
    """The path as the routes have it, whatever the id."""
    path, parameters = str(call["path"]), call.get("path_params") or {}
    return f"{path.rpartition('/')[0]}/{{{next(iter(parameters))}}}" if parameters else path
