"""`POST /shutdown`: the end of the server, for whoever has a token."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog_server.http.routes.answers import json_answer, problem
from cog_server.settings import Settings


def add_shutdown_route(app: FastAPI, settings: Settings, shut_down: Callable[[], None]) -> None:
    """Add `/shutdown` to `app`: it answers, and what runs ends in its time. Without a token there is no such thing."""

    async def shutdown(request: HTTPRequest) -> Response:
        if not settings.auth_tokens:
            return problem(404, "there is no /shutdown while COG_AUTH_TOKEN is not set: anybody could call it")
        shut_down()
        return json_answer({})

    app.add_route("/shutdown", shutdown, methods=["POST"])
