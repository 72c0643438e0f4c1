"""`FastPath`: the requests that come most often go to their handler at once, all others through the application.

Nearly all of what a small prediction costs in a web framework is the framework: middleware, routing, dependencies.
What the application adds for these requests is the check of access, which is made here too. As soon as somebody has
put other middleware around the application, everything goes through it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cog_server.access import AccessMiddleware
from cog_server.routes.answers import JSONAnswer, problem
from cog_server.routes.extensions import ANSWER

log = logging.getLogger("cog.server")

Handler = Callable[[HTTPRequest], Awaitable[Response]]


class FastPath:
    """An ASGI application in front of `app`. `handlers` are by method and path, which must match to the letter."""

    def __init__(self, app: FastAPI, access: AccessMiddleware, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self.app = app
        self._access = access
        self._handlers = dict(handlers)

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
        if answer is None or not _is_plain(response) or not answer(response.body):
            await response(scope, receive, send)

    def _is_wrapped(self) -> bool:
        """Whether the application has middleware beyond our own check of access."""
        return len(self.app.user_middleware) > 1


def _is_plain(response: Response) -> bool:
    """Whether this is 200 and JSON and nothing more."""
    return type(response) is JSONAnswer and response.status_code == 200
