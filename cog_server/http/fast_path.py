"""`FastPath`: the requests that come most often go to their handler at once, all others through the application.

Nearly all of what a small prediction costs in a web framework is the framework: middleware, routing, dependencies.
What the application adds for these requests is the check of access, which is made here too. As soon as somebody has
put other middleware around the application, everything goes through it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cog_server.http.access import AccessMiddleware
from cog_server.http.exchange import Taker
from cog_server.http.routes.answers import JSON, is_plain, problem
from cog_server.http.routes.extensions import ANSWER
from cog_server.http.routes.streams import EVENT_STREAM

log = logging.getLogger("cog.server")

# What makes a request another one than its path and its body say.
_UNUSUAL = frozenset(
    (b"connection", b"content-encoding", b"expect", b"last-event-id", b"prefer", b"transfer-encoding", b"upgrade")
)

Handler = Callable[[HTTPRequest], Awaitable[Response]]


# docs/decisions/014-short-way-before-the-framework.md
class FastPath:
    """An ASGI application in front of `app`. `handlers` and `takers` are by method and path, to the letter.

    A taker answers requests for which not even ASGI is needed, see `Exchange`, and leaves all others to the handler.
    """

    def __init__(
        self,
        app: FastAPI,
        access: AccessMiddleware,
        handlers: Mapping[tuple[str, str], Handler],
        takers: Mapping[tuple[str, str], Taker] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self._access = access
        self._handlers = dict(handlers)
        self._takers = dict(takers)

    def lane(self, scope: Scope) -> Taker | None:
        """Who answers requests with this head without ASGI: plain ones, with a JSON body, whose answer is JSON."""
        names = [name for name, _ in scope["headers"]]
        headers = dict(scope["headers"])
        is_plain = len(headers) == len(names) and headers.keys().isdisjoint(_UNUSUAL) and not scope["query_string"]
        is_json = (
            headers.get(b"content-type") == JSON.encode()
            and EVENT_STREAM.encode() not in headers.get(b"accept", b"").lower()
        )
        if not is_plain or not is_json or scope["http_version"] != "1.1":
            return None
        if b"content-length" not in headers or self._is_wrapped() or self._access.refusal(scope) is not None:
            return None
        return self._takers.get((scope["method"], scope["path"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None or self._is_wrapped():
            await self.app(scope, receive, send)
            return
        response = self._access.refusal(scope)
        if response is None:
            try:
                response = await handler(HTTPRequest(scope, receive, send))
            except Exception:
                log.exception("%s %s", scope["method"], scope["path"])
                response = problem(500, "the server failed to answer; its log says why")
        answer = scope.get("extensions", {}).get(ANSWER)
        if answer is None or not is_plain(response) or not answer(response.body):
            await response(scope, receive, send)

    def _is_wrapped(self) -> bool:
        """Whether the application has middleware beyond our own check of access."""
        return len(self.app.user_middleware) > 1
