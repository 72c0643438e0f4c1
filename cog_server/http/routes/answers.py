"""Responses that every route gives in the same shape."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

JSON = "application/json"
PROBLEM = "application/problem+json"


class JSONAnswer(Response):
    """A response of JSON that is bytes already, and has no headers of its own."""

    media_type = JSON

    def __init__(self, body: bytes, status: int = 200) -> None:
        # The headers are made when somebody asks for them: mostly nobody does.
        self.body = body
        self.status_code = status
        self.background = None

    @functools.cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]  # an attribute there
        return [(b"content-length", b"%d" % len(self.body)), (b"content-type", JSON.encode())]


def is_plain(response: Response) -> bool:
    """Whether this is 200 and JSON and nothing more."""
    return type(response) is JSONAnswer and response.status_code == 200


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response from JSON data."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers={"Content-Type": JSON, **(headers or {})})


def problem(
    status: int, detail: Any, *, retry_after_s: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as RFC 9457 has it. `detail` is a sentence, or the list of a 422; `error` has it as text."""
    text = detail if isinstance(detail, str) else "; ".join(_sentence(item) for item in detail)
    waiting = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, "error": text}
    return json_answer(body, status, {"Content-Type": PROBLEM, **waiting, **(headers or {})})


def add_problem_answers(app: FastAPI) -> None:
    """Give what no route answers the same shape: unknown paths, wrong methods, exceptions that nobody expected."""

    async def refusal(request: HTTPRequest, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, _DETAILS.get(error.status_code, error.detail), headers=error.headers)

    async def accident(request: HTTPRequest, error: Exception) -> Response:
        # The traceback goes to the log: the error is raised again once this is sent.
        return problem(500, "the server failed to answer; its log says why")

    app.add_exception_handler(HTTPException, refusal)
    app.add_exception_handler(Exception, accident)


_DETAILS = {
    404: "there is nothing at this path; GET / says what there is",
    405: "this path does not take this method; the Allow header says which it takes",
}


def _sentence(item: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in item["loc"]) + ": " + str(item["msg"])
