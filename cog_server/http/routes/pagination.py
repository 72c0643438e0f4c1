"""Lists in pages: what a client asks for, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from cog_server.http.routes.answers import problem
from cog_server.http.routes.requests import Refused
from cog_server.predictions.prediction import Status

_DEFAULT = 20
_MOST = 100


def read_page(query: QueryParams) -> tuple[str | None, tuple[str, str] | None, int]:
    """`status`, `cursor` and `limit` of a query as (status, cursor, limit). Raises Refused (404, 422)."""
    status, limit = query.get("status"), query.get("limit", str(_DEFAULT))
    errors = []
    if status is not None and status not in {each.value for each in Status}:
        known = ", ".join(each.value for each in Status)
        errors.append({"loc": ["query", "status"], "msg": f"Input should be one of {known}", "type": "enum"})
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 1 <= int(limit) <= _MOST):
        errors.append({"loc": ["query", "limit"], "msg": f"Input should be from 1 to {_MOST}", "type": "limit"})
    before = None
    if "cursor" in query:
        before = _decode(query["cursor"])
        if before is None:
            raise Refused(problem(404, "there is no page at this cursor; take the `next` of an earlier page"))
    if errors:
        raise Refused(problem(422, errors))
    return status, before, int(limit)


def next_page(path: str, cursor: tuple[str, str], *, status: str | None, limit: int) -> str:
    """The path and query of the page that follows the one whose last record stands at `cursor`."""
    text = base64.urlsafe_b64encode(" ".join(cursor).encode()).decode()
    query = {"cursor": text, "limit": str(limit)} | ({"status": status} if status else {})
    return f"{path}?{urlencode(query)}"


def _decode(text: str) -> tuple[str, str] | None:
    try:
        created_at, space, identifier = (
            base64.b64decode(text, altchars=b"-_", validate=True).decode("ascii").partition(" ")
        )
    except (binascii.Error, ValueError):
        return None
    return (created_at, identifier) if space else None
