"""Responses that every route gives in the same shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

JSON = "application/json"


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response from JSON data."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, media_type=JSON, headers=dict(headers or {}))


def problem(status: int, detail: Any, *, retry_after_s: int | None = None) -> Response:
    """An error response. `detail` is a sentence, or the list of a 422; `error` repeats it for older clients."""
    text = detail if isinstance(detail, str) else "; ".join(_sentence(item) for item in detail)
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}
    body = {"title": HTTPStatus(status).phrase, "status": "failed", "detail": detail, "error": text}
    return json_answer(body, status, headers)


def _sentence(item: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in item["loc"]) + ": " + str(item["msg"])
