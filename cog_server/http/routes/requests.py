"""From bytes to a validated `Request`, or to the response that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from pydantic_core import SchemaValidator
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.schema.spec import PredictorSpec
from cog.schema.strict_json import JSONError, NotUTF8
from cog.schema.validation import check_input, make_validator
from cog_server.files.destination import DestinationError, OutputPath, read_output_path
from cog_server.http.routes.answers import JSON, problem
from cog_server.http.routes.large_json import loads_large
from cog_server.jobs.port import Request
from cog_server.webhooks.hook import HookError, read_hook

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MAX_CONTEXT_KEYS = 1000


class Refused(Exception):
    """The request cannot be taken; carries the response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class InputValidator:
    """Checks inputs against the predictor's spec; made once when the spec is known."""

    def __init__(self, spec: PredictorSpec, *, unknown_inputs: str) -> None:
        unknown = "ignore" if unknown_inputs == "ignore" else "forbid"
        self._validator = make_validator(SchemaValidator, spec, unknown=unknown)
        self._names = [item.name for item in spec.inputs]

    def check(self, value: Any, place: tuple[str, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Give (the input, errors); `place` is the location of the input in the request, for the errors."""
        given, found = check_input(self._validator.validate_python, value, self._names)
        return (given, []) if not found else ({}, [{**item, "loc": [*place, *item["loc"]]} for item in found])


async def read_json(request: HTTPRequest, *, max_bytes: int) -> Any:
    """The body as strict JSON data; {} for an empty body. Raises Refused (413, 415, 422)."""
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type != JSON and not content_type.endswith("+json"):
        raise Refused(problem(415, f"the body must be {JSON}, not {content_type}"))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(problem(415, "a Content-Encoding of requests is not supported"))
    body = await _read_body(request, max_bytes)
    if not body.strip(b" \t\r\n"):
        return {}
    try:
        return loads_large(body)
    except NotUTF8 as error:
        raise Refused(problem(400, f"the body {error}")) from error
    except JSONError as error:
        detail = {"loc": ["body", *error.place], "msg": f"The body {error}", "type": "json_invalid"}
        raise Refused(problem(422, [detail])) from error


async def _read_body(request: HTTPRequest, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > max_bytes:
        raise Refused(_too_large(max_bytes))
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise Refused(_too_large(max_bytes))
    except ClientDisconnect as error:
        # Nobody reads this answer; it only ends the request in order.
        raise Refused(problem(400, "the client left before its request was whole")) from error
    return bytes(body)


def _too_large(max_bytes: int) -> Response:
    return problem(413, f"the body is larger than {max_bytes} bytes")


def envelope(
    value: Any,
    validator: InputValidator,
    *,
    path_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    check: Callable[[OutputPath], None] = lambda path: None,
) -> Request:
    """The request in an envelope `{"input": ..., "id": ..., "context": ..., "webhook": ..., "output_path": ...}`.

    `headers` are those of the HTTP request; `check` raises DestinationError where outputs cannot go. Raises Refused
    (422) with every error.
    """
    if not isinstance(value, dict):
        raise Refused(problem(422, [_error(["body"], "Input should be an object", "dict_type")]))
    wanted = value.get("input")
    given, errors = validator.check({} if wanted is None else wanted, ("body", "input"))
    errors += _envelope_errors(value, path_id)
    output_paths = []
    for name in ("output_path", "output_file_prefix"):
        if value.get(name) is not None:
            try:
                output_paths.append(read_output_path(value[name]))
                check(output_paths[-1])
            except DestinationError as error:
                errors.append(_error(["body", name, *error.place], str(error), "output_path"))
    hook = None
    try:
        hook = read_hook(value.get("webhook"), value.get("webhook_events_filter"), headers or {})
    except HookError as error:
        errors.append(_error(["body", *error.place], str(error), error.kind))
    if errors:
        raise Refused(problem(422, errors))
    return Request(
        input=given,
        id=path_id or value.get("id"),
        context=value.get("context") or {},
        deadline_s=_seconds_until(value.get("deadline")),
        hook=hook,
        output_path=output_paths[0] if output_paths else None,
    )


def bare(value: Any, validator: InputValidator, *, place: str = "body") -> Request:
    """The request in a bare input object. Raises Refused (422)."""
    given, errors = validator.check(value, (place,))
    if errors:
        raise Refused(problem(422, errors))
    return Request(input=given)


def _envelope_errors(value: dict[str, Any], path_id: str | None) -> list[dict[str, Any]]:
    errors = []
    if path_id is not None and not ID_PATTERN.fullmatch(path_id):
        errors.append(_error(["path", "prediction_id"], _ID_HELP, "id"))
    body_id = value.get("id")
    if body_id is not None:
        if not isinstance(body_id, str) or not ID_PATTERN.fullmatch(body_id):
            errors.append(_error(["body", "id"], _ID_HELP, "id"))
        elif path_id is not None and body_id != path_id:
            errors.append(_error(["body", "id"], "The id must match the one in the URL", "id"))
    context = value.get("context")
    if context is not None and not isinstance(context, dict):
        errors.append(_error(["body", "context"], "Input should be an object of texts", "dict_type"))
    elif context:
        if len(context) > _MAX_CONTEXT_KEYS:
            errors.append(_error(["body", "context"], f"At most {_MAX_CONTEXT_KEYS} keys", "too_long"))
        wrong = [key for key, item in context.items() if not isinstance(item, str)]
        errors += [_error(["body", "context", key], "Input should be a text", "string_type") for key in wrong[:10]]
    deadline = value.get("deadline")
    if deadline is not None and _seconds_until(deadline) is None:
        errors.append(_error(["body", "deadline"], _DEADLINE_HELP, "deadline"))
    return errors


def _seconds_until(deadline: Any) -> float | None:
    """How long a deadline leaves, at least 0; None if it is none."""
    if isinstance(deadline, int | float) and not isinstance(deadline, bool):
        return float(deadline) if 0 < deadline <= _MAX_DEADLINE_S else None
    if not isinstance(deadline, str) or len(deadline) > 64:
        return None
    try:
        moment = datetime.fromisoformat(deadline.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return min(max((moment - datetime.now(timezone.utc)).total_seconds(), 0.0), _MAX_DEADLINE_S)


_MAX_DEADLINE_S = 30 * 24 * 3600.0
_DEADLINE_HELP = "A deadline is a number of seconds from now, at most 30 days, or a moment as 2026-01-31T12:00:00Z"
_ID_HELP = "An id has 1 to 128 characters of A-Z, a-z, 0-9, _ and -"


def _error(place: list[Any], message: str, kind: str) -> dict[str, Any]:
    return {"loc": place, "msg": message, "type": kind}
