"""`add_access`: who may call: those with a token, where one is set, and no page of another site."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cog_server.http.routes.answers import problem
from cog_server.settings import Settings

OPEN_PATHS = frozenset({"/", "/health-check", "/livez", "/readyz"})


def add_access(app: FastAPI, settings: Settings) -> AccessMiddleware:
    """Put the checks in front of every route of `app`, those that are added later too; give them for other ways in."""
    app.add_middleware(AccessMiddleware, tokens=settings.auth_tokens, origins=settings.cors_origins)
    if settings.cors_origins:
        # Around the checks: a preflight has no token, and a page may read why it was refused.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=("*",),
            expose_headers=("Retry-After", "Location"),
        )
    return AccessMiddleware(app, tokens=settings.auth_tokens, origins=settings.cors_origins)


class AccessMiddleware:
    """Refuses before anything of the body is read: 401 without a token, 403 to a page of another site."""

    def __init__(self, app: ASGIApp, *, tokens: Collection[bytes], origins: Collection[str]) -> None:
        self._app = app
        self._tokens = tuple(tokens)
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to an HTTP request that may not be made; None if it may."""
        if self._tokens and scope["path"] not in OPEN_PATHS and not self._has_token(scope):
            return problem(401, "this needs `Authorization: Bearer TOKEN`", headers={"WWW-Authenticate": "Bearer"})
        if _changes_state(scope) and self._is_foreign(scope):
            return problem(403, "a page of another site may not do this; COG_CORS_ORIGINS names those that may")
        return None

    def _has_token(self, scope: Scope) -> bool:
        given = _values(scope, b"authorization")
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # All are compared, in constant time, as bytes: a header may hold any.
        found = [hmac.compare_digest(token.strip(), each) for each in self._tokens]
        return scheme.lower() == b"bearer" and any(found)

    def _is_foreign(self, scope: Scope) -> bool:
        """Whether a browser sends this for a page that is neither this server's nor allowed."""
        origins = _values(scope, b"origin")
        if b"*" in self._origins or (len(origins) == 1 and origins[0].lower() in self._origins):
            return False
        sites = _values(scope, b"sec-fetch-site")
        if sites:
            return any(site not in (b"same-origin", b"none") for site in sites)
        hosts = _values(scope, b"host") + _values(scope, b"x-forwarded-host")
        return any(not _is_at(origin, hosts) for origin in origins)


def _changes_state(scope: Scope) -> bool:
    """Whether the request does something; /predict does with every method."""
    method = scope["method"]
    return method not in ("GET", "HEAD", "OPTIONS") or (scope["path"] == "/predict" and method != "OPTIONS")


def _is_at(origin: bytes, hosts: list[bytes]) -> bool:
    """Whether an origin (`https://host:port`, or `null`) is at one of these hosts, which name no scheme."""
    scheme, _, authority = origin.lower().partition(b"://")
    port = b":443" if scheme == b"https" else b":80"
    names = {name.strip().lower().removesuffix(port) for host in hosts for name in host.split(b",")}
    return authority.removesuffix(port) in names - {b""}


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]
