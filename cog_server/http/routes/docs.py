"""The manual: `/openapi.json` and Swagger UI, whose assets this server serves itself."""

from __future__ import annotations

import importlib.resources

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from cog.schema.openapi import openapi_document
from cog_server.http.routes.answers import json_answer, problem
from cog_server.jobs.port import PredictionService
from cog_server.settings import Settings

_ASSETS = "/docs/assets"


def add_docs_routes(app: FastAPI, settings: Settings, service: PredictionService) -> None:
    """Add `/openapi.json` and `/docs` to `app`; both work without a connection to anywhere."""

    async def openapi(request: HTTPRequest) -> Response:
        if service.spec is None:
            return problem(503, service.reason, retry_after_s=1)
        return json_answer(openapi_document(service.spec, is_closed=settings.unknown_inputs == "refuse"))

    async def docs(request: HTTPRequest) -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Cog",
            swagger_js_url=f"{_ASSETS[1:]}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS[1:]}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS[1:]}/favicon.png",
        )

    # The package carries the files of Swagger UI; its own FastAPI subclass is not used.
    assets = importlib.resources.files("fastapi_offline") / "static"
    app.mount(_ASSETS, StaticFiles(directory=str(assets)), name="docs-assets")
    app.add_route("/openapi.json", openapi, methods=["GET"])
    app.add_route("/docs", docs, methods=["GET"])
