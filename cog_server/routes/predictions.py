"""`/predictions` (or `/trainings`) and `/predict`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.spec import FieldSpec, PredictorSpec
from cog.strict_json import JSONError, loads
from cog_server.predictions import Prediction, Status
from cog_server.routes.answers import JSON, json_answer, problem
from cog_server.routes.requests import InputValidator, Refused, bare, envelope, read_json
from cog_server.runner import AtCapacity, DuplicateId, JobRunner, NotReady, Request
from cog_server.settings import Settings
from cog_server.worker.supervisor import Supervisor

_RETRY_AFTER_S = 1


def add_prediction_routes(app: FastAPI, settings: Settings, supervisor: Supervisor, runner: JobRunner) -> None:
    """Add the paths that run predictions to `app`."""
    routes = _Routes(settings, supervisor, runner)
    noun = "training" if settings.mode == "train" else "prediction"
    app.add_route(f"/{noun}s", routes.create, methods=["POST"])
    app.add_route(f"/{noun}s/{{prediction_id}}", routes.put, methods=["PUT"])
    app.add_route(f"/{noun}s/{{prediction_id}}", routes.get, methods=["GET"])
    app.add_route(f"/{noun}s/{{prediction_id}}/cancel", routes.cancel, methods=["POST"])
    if noun == "prediction":
        app.add_route("/predict", routes.predict, methods=["POST", "GET"])


class _Routes:
    def __init__(self, settings: Settings, supervisor: Supervisor, runner: JobRunner) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._runner = runner
        self._validator: InputValidator | None = None

    async def create(self, request: HTTPRequest) -> Response:
        return await self._guarded(self._create(request, None))

    async def put(self, request: HTTPRequest) -> Response:
        return await self._guarded(self._create(request, request.path_params["prediction_id"]))

    async def get(self, request: HTTPRequest) -> Response:
        prediction = self._runner.find(request.path_params["prediction_id"])
        if prediction is None:
            return problem(404, "there is no prediction of this id")
        return Response(prediction.snapshot_json(), media_type=JSON)

    async def cancel(self, request: HTTPRequest) -> Response:
        found = self._runner.cancel(request.path_params["prediction_id"])
        return json_answer({}, 200 if found else 404)

    async def predict(self, request: HTTPRequest) -> Response:
        return await self._guarded(self._predict(request))

    async def _guarded(self, answer: Coroutine[Any, Any, Response]) -> Response:
        try:
            return await answer
        except Refused as refused:
            return refused.response
        except NotReady as error:
            return problem(503, str(error), retry_after_s=_RETRY_AFTER_S)
        except AtCapacity as error:
            return problem(409, str(error), retry_after_s=_RETRY_AFTER_S)
        except DuplicateId:
            return problem(409, "a prediction of this id is already running")

    async def _create(self, request: HTTPRequest, path_id: str | None) -> Response:
        validator = self._known_validator()
        body = await read_json(request, max_bytes=self._settings.max_body_bytes)
        wanted = envelope(body, validator, path_id=path_id)
        if path_id is not None:
            running = self._runner.find(path_id)
            if running is not None:
                await self._wait(running, request, cancel_on_disconnect=False)
                return Response(running.snapshot_json(), media_type=JSON)
        prediction = self._runner.submit(wanted)
        if _wants_async(request):
            return Response(prediction.snapshot_json(), 202, media_type=JSON)
        await self._wait(prediction, request, cancel_on_disconnect=True)
        return Response(prediction.snapshot_json(), media_type=JSON)

    async def _predict(self, request: HTTPRequest) -> Response:
        validator = self._known_validator()
        prediction = self._runner.submit(await self._bare_request(request, validator))
        await self._wait(prediction, request, cancel_on_disconnect=True)
        if prediction.status is Status.SUCCEEDED:
            return Response(b'{"output":' + prediction.output_json() + b"}", media_type=JSON)
        return problem(500, prediction.error or f"the prediction was {prediction.status.value}")

    async def _bare_request(self, request: HTTPRequest, validator: InputValidator) -> Request:
        body = await read_json(request, max_bytes=self._settings.max_body_bytes)
        spec = self._supervisor.spec
        if request.method == "GET" and not body and spec is not None:
            return bare(query_input(spec, request.url.query), validator, place="query")
        return bare(body, validator)

    async def _wait(self, prediction: Prediction, request: HTTPRequest, *, cancel_on_disconnect: bool) -> None:
        """Return when the prediction has ended; a client that leaves cancels it."""
        if prediction.finished.is_set():
            return
        finished = asyncio.ensure_future(prediction.finished.wait())
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({finished, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not finished.done() and cancel_on_disconnect:
                self._runner.cancel(prediction.id)
            await finished
        finally:
            gone.cancel()
            finished.cancel()

    def _known_validator(self) -> InputValidator:
        spec = self._supervisor.spec
        if spec is None:
            raise NotReady(self._supervisor.reason)
        if self._validator is None:
            self._validator = InputValidator(spec, unknown_inputs=self._settings.unknown_inputs)
        return self._validator


def query_input(spec: PredictorSpec, query: str) -> dict[str, object]:
    """The input in a query string: each value is read as its input's type; a repeated name makes a list."""
    fields = {item.name: item for item in spec.inputs}
    result: dict[str, object] = {}
    for name, text in parse_qsl(query, keep_blank_values=True, max_num_fields=1000):
        item = fields.get(name)
        value = text if item is None else _query_value(item, text)
        if item is not None and item.type.kind in ("list", "set", "tuple") and not isinstance(value, list):
            earlier = result.get(name)
            value = [*earlier, value] if isinstance(earlier, list) else [value]
        result[name] = value
    return result


def _query_value(item: FieldSpec, text: str) -> object:
    kind = item.type.items[0].kind if item.type.kind in ("list", "set") else item.type.kind
    if kind in ("str", "path", "file", "secret", "datetime", "date") and not text.startswith("["):
        return text
    try:
        return loads(text.encode("utf-8", "replace"))
    except JSONError:
        return text


def _wants_async(request: HTTPRequest) -> bool:
    preferences = (part.strip().lower() for value in request.headers.getlist("prefer") for part in value.split(","))
    return "respond-async" in preferences


async def _disconnected(request: HTTPRequest) -> None:
    """Return when the client has closed the connection; the body was read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
