"""`/predictions` (or `/trainings`) and `/predict`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.schema.spec import PredictorSpec
from cog.schema.strict_json import JSONError
from cog_server.http.exchange import Exchange, Taker
from cog_server.http.routes.answers import JSON, JSONAnswer, json_answer, problem
from cog_server.http.routes.extensions import on_leave
from cog_server.http.routes.forms import FORM, Form, FormReader, FormRefused
from cog_server.http.routes.large_json import loads_large
from cog_server.http.routes.pagination import next_page, read_page
from cog_server.http.routes.prefer_header import Preference, read_preference
from cog_server.http.routes.requests import InputValidator, Refused, bare, envelope, read_json
from cog_server.http.routes.streams import EVENT_STREAM, stream_of, stream_of_record
from cog_server.http.routes.text_inputs import input_of_words
from cog_server.jobs.port import AtCapacity, DuplicateId, NotReady, PredictionService, Request
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.store.base import StoreError
from cog_server.settings import Settings

log = logging.getLogger("cog.server")

_RETRY_AFTER_S = 1
Handler = Callable[[HTTPRequest], Awaitable[Response]]


@dataclass(frozen=True)
class Often:
    """What is asked most, by method and path."""

    handlers: dict[tuple[str, str], Handler]
    takers: dict[tuple[str, str], Taker]


def add_prediction_routes(app: FastAPI, settings: Settings, service: PredictionService) -> Often:
    """Add the paths that run predictions to `app`; give those that are asked most, by method and path."""
    routes = _Routes(settings, service)
    noun = routes.noun
    app.add_route(f"/{noun}s", routes.all, methods=["GET", "POST"])
    app.add_route(f"/{noun}s/{{prediction_id}}", routes.one, methods=["GET", "PUT", "DELETE"])
    app.add_route(f"/{noun}s/{{prediction_id}}/cancel", routes.cancel, methods=["POST"])
    if noun == "prediction":
        app.add_route("/predict", routes.predict, methods=["POST", "GET"])
    often = Often({("POST", f"/{noun}s"): routes.create}, {("POST", f"/{noun}s"): routes.take_create})
    if noun == "prediction":
        often.handlers["POST", "/predict"] = routes.predict
        often.takers["POST", "/predict"] = routes.take_predict
    return often


class _Routes:
    def __init__(self, settings: Settings, service: PredictionService) -> None:
        self._settings = settings
        self._service = service
        self._forms = FormReader(service.files, max_text_bytes=settings.max_body_bytes)
        self._validator: InputValidator | None = None
        self.noun = "training" if settings.mode == "train" else "prediction"

    async def all(self, request: HTTPRequest) -> Response:
        answer = self._create(request, None) if request.method == "POST" else self._list(request)
        return await self._guarded(answer)

    async def create(self, request: HTTPRequest) -> Response:
        return await self._guarded(self._create(request, None))

    async def one(self, request: HTTPRequest) -> Response:
        prediction_id = request.path_params["prediction_id"]
        if request.method == "PUT":
            return await self._guarded(self._create(request, prediction_id))
        if request.method == "DELETE":
            return await self._guarded(self._delete(prediction_id))
        return await self._guarded(self._get(request, prediction_id))

    async def cancel(self, request: HTTPRequest) -> Response:
        found = self._service.cancel(request.path_params["prediction_id"])
        return json_answer({}, 200 if found else 404)

    async def predict(self, request: HTTPRequest) -> Response:
        return await self._guarded(self._predict(request))

    def take_create(self, body: bytes, exchange: Exchange) -> bool:
        """Answer an envelope that has an input and nothing else."""
        value = self._plain(body)
        if value is None or len(value) != 1 or "input" not in value:
            return False
        return self._take(value["input"], exchange, lambda prediction: JSONAnswer(prediction.snapshot_json()))

    def take_predict(self, body: bytes, exchange: Exchange) -> bool:
        """Answer a bare input."""
        return self._take(self._plain(body), exchange, _output_of)

    def _plain(self, body: bytes) -> dict[str, Any] | None:
        try:
            value = loads_large(body)
        except JSONError:
            return None
        return value if isinstance(value, dict) else None

    def _take(self, given: Any, exchange: Exchange, answer: Callable[[Prediction], Response]) -> bool:
        """Answer with what `answer` gives at the end. What is wrong, or has to wait, is for the usual way to tell."""
        if self._service.spec is None or given is None:
            return False
        try:
            valid, errors = self._validator_of().check(given, ())
            prediction = None if errors else self._service.submit_now(valid)
        except (NotReady, AtCapacity):
            return False
        if prediction is None:
            return False

        def tell() -> None:
            if prediction.is_over:
                exchange.answer(answer(prediction))

        if prediction.is_over:
            tell()
        else:
            prediction.listen(tell)
            self._service.watch(prediction)
            exchange.leave = partial(self._service.unwatch, prediction)
        return True

    async def _guarded(self, answer: Coroutine[Any, Any, Response]) -> Response:
        try:
            return await answer
        except (Refused, FormRefused) as refused:
            return self._rejected(refused.response)
        except NotReady as error:
            headers = {"Connection": "close"} if self._service.is_draining else {}
            return self._rejected(problem(503, str(error), retry_after_s=_RETRY_AFTER_S, headers=headers))
        except AtCapacity as error:
            return self._rejected(problem(409, str(error), retry_after_s=_RETRY_AFTER_S))
        except DuplicateId:
            return self._rejected(problem(409, f"a {self.noun} of this id is running", retry_after_s=_RETRY_AFTER_S))
        except StoreError as error:
            log.error("%s", error)
            return self._rejected(problem(503, "the store cannot be read", retry_after_s=_RETRY_AFTER_S))

    def _rejected(self, response: Response) -> Response:
        self._service.count_rejection(response.status_code)
        return response

    async def _create(self, request: HTTPRequest, path_id: str | None) -> Response:
        spec = self._known_spec()
        if not is_form(request):
            return await self._run(request, await self._read_json(request), path_id)
        async with self._forms.read(request, spec) as form:
            return await self._run(request, form.value, path_id, form)

    async def _run(self, request: HTTPRequest, body: Any, path_id: str | None, form: Form | None = None) -> Response:
        wanted = envelope(
            body, self._validator_of(), path_id=path_id, headers=request.headers, check=self._service.files.check
        )
        del body  # Its texts may be large, and the runner lets go of them early.
        preference = read_preference(request.headers.getlist("prefer"))
        prediction = self._service.live(path_id) if path_id is not None else None
        if prediction is None and path_id is not None:
            kept = await self._service.find(path_id)
            if kept is not None:
                return stream_of_record(kept) if _wants_stream(request) else Response(kept, media_type=JSON)
        if prediction is None:
            try:
                prediction = await self._submit(wanted, form, is_detached=preference.is_detached)
            except DuplicateId:
                # Another PUT of this id came first, while the store was asked.
                prediction = self._service.live(path_id) if path_id is not None else None
                if prediction is None:
                    raise
        return await self._answer(prediction, request, preference)

    async def _answer(self, prediction: Prediction, request: HTTPRequest, preference: Preference) -> Response:
        if _wants_stream(request):
            last = request.headers.get("last-event-id")
            return stream_of(prediction, self._service, self._settings, last_event_id=last)
        if not preference.respond_async:
            await self._wait(prediction, request, preference.wait_s)
        is_over = prediction.is_over and not preference.respond_async
        status = 200 if is_over else 202
        return JSONAnswer(prediction.snapshot_json(), status)

    async def _get(self, request: HTTPRequest, prediction_id: str) -> Response:
        prediction = self._service.live(prediction_id)
        if prediction is not None and _wants_stream(request):
            last = request.headers.get("last-event-id")
            return stream_of(prediction, self._service, self._settings, last_event_id=last)
        body = await self._service.find(prediction_id)
        if body is None:
            return problem(404, f"there is no {self.noun} of this id")
        return stream_of_record(body) if _wants_stream(request) else Response(body, media_type=JSON)

    async def _list(self, request: HTTPRequest) -> Response:
        status, before, limit = read_page(request.query_params)
        found = await self._service.page(status=status, before=before, limit=limit + 1)
        rest = ""
        if len(found) > limit:
            rest = next_page(f"/{self.noun}s", found[limit - 1].cursor, status=status, limit=limit)
        results = b",".join(record.body for record in found[:limit])
        return Response(b'{"results":[%s],"next":%s}' % (results, json.dumps(rest or None).encode()), media_type=JSON)

    async def _delete(self, prediction_id: str) -> Response:
        if await self._service.delete(prediction_id):
            return Response(status_code=204)
        return problem(404, f"there is no {self.noun} of this id")

    async def _predict(self, request: HTTPRequest) -> Response:
        spec = self._known_spec()
        if is_form(request):
            async with self._forms.read(request, spec) as form:
                wanted = bare(form.value.get("input") or {}, self._validator_of())
                return await self._output(await self._submit(wanted, form), request)
        body = await self._read_json(request)
        if request.method == "GET" and not body:
            words = parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=1000)
            wanted = bare(input_of_words(spec, words), self._validator_of(), place="query")
        else:
            wanted = bare(body, self._validator_of())
        return await self._output(await self._submit(wanted), request)

    async def _output(self, prediction: Prediction, request: HTTPRequest) -> Response:
        await self._wait(prediction, request, None)
        return _output_of(prediction)

    async def _read_json(self, request: HTTPRequest) -> Any:
        return await read_json(request, max_bytes=self._settings.max_body_bytes)

    async def _submit(self, wanted: Request, form: Form | None = None, *, is_detached: bool = False) -> Prediction:
        """Hand a request to the runner, which from then on owns the files that came with it."""
        if form is None:
            return await self._service.submit(wanted, is_detached=is_detached)
        prediction = await self._service.submit(replace(wanted, arrival=form.arrival), is_detached=is_detached)
        form.is_kept = True
        return prediction

    async def _wait(self, prediction: Prediction, request: HTTPRequest, wait_s: float | None) -> None:
        """Return when the prediction has ended, or after `wait_s`. It is canceled if the last client leaves early."""
        if prediction.is_over:
            return
        loop = asyncio.get_running_loop()
        until = loop.create_future()

        def stop() -> None:
            if not until.done():
                until.set_result(None)

        timer = loop.call_later(wait_s, stop) if wait_s is not None else None
        stop_listening = prediction.listen(lambda: stop() if prediction.is_over else None)
        stop_watching_connection = on_leave(request.scope, request.receive, stop)
        try:
            with self._service.watching(prediction):
                await until
        finally:
            stop_watching_connection()
            stop_listening()
            if timer is not None:
                timer.cancel()

    def _known_spec(self) -> PredictorSpec:
        spec = self._service.spec
        if spec is None:
            raise NotReady(self._service.reason)
        return spec

    def _validator_of(self) -> InputValidator:
        if self._validator is None:
            self._validator = InputValidator(self._known_spec(), unknown_inputs=self._settings.unknown_inputs)
        return self._validator


def _output_of(prediction: Prediction) -> Response:
    if prediction.status is Status.SUCCEEDED:
        return JSONAnswer(b'{"output":' + prediction.output_json() + b"}")
    return problem(500, prediction.error or f"the prediction was {prediction.status.value}")


def is_form(request: HTTPRequest) -> bool:
    """Whether the body is a form with files."""
    return request.headers.get("content-type", "").lower().startswith(FORM)


def _wants_stream(request: HTTPRequest) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "").lower()
