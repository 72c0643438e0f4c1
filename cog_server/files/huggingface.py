"""`HubFiles`: `hf://owner/repository/path`, a file of a model repository at Hugging Face or at HF_ENDPOINT."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote

from cog_server.files.transfer import Opened, TransferError
from cog_server.files.web import WebFiles

_ENDPOINT = "https://huggingface.co"
# As huggingface_hub writes them: hf://[datasets/|spaces/]owner/name[@revision]/path. A revision's slashes are %2F.
_FORM = re.compile(
    r"hf:/{0,2}(?P<kind>(?:datasets|spaces)/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.%-]+))?/(?P<path>.+)",
    re.IGNORECASE,
)


class HubFiles:
    """Reads through `web`, which must be allowed to connect to `endpoint_of(environment)`. HF_TOKEN goes there only."""

    def __init__(self, web: WebFiles, environment: Mapping[str, str]) -> None:
        self._web = web
        self._endpoint = endpoint_of(environment)
        self._token = _token(environment)

    @contextlib.asynccontextmanager
    async def open(self, url: str, *, etag: str | None = None) -> AsyncIterator[Opened]:
        """Open a file of a repository, of its `main` revision unless the URL names one."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            async with self._web.open(self._web_url(url), etag=etag, headers=headers) as opened:
                yield opened
        except TransferError as error:
            raise _explained(error, has_token=bool(self._token)) from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._web.close()

    def _web_url(self, url: str) -> str:
        match = _FORM.fullmatch(url)
        segments = match["path"].split("/") if match else [""]
        if match is None or any(segment in ("", ".", "..") for segment in segments):
            raise TransferError("the form is hf://owner/repository/path, or hf://owner/repository@revision/path")
        kind, revision = match["kind"] or "", match["revision"] or "main"
        path = quote(match["path"], safe="/%")
        return f"{self._endpoint}/{kind.lower()}{match['repository']}/resolve/{revision}/{path}"


def endpoint_of(environment: Mapping[str, str]) -> str:
    """Where the hub is."""
    return (environment.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")


def _token(environment: Mapping[str, str]) -> str:
    """HF_TOKEN, or what `hf auth login` left behind."""
    given = environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN")
    if given:
        return given.strip()
    home = environment.get("HF_HOME") or str(Path(environment.get("HOME") or "/") / ".cache" / "huggingface")
    try:
        return Path(environment.get("HF_TOKEN_PATH") or Path(home) / "token").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _explained(error: TransferError, *, has_token: bool) -> TransferError:
    text = str(error)
    if text.endswith((" 401", " 403")):
        hint = "HF_TOKEN has no access" if has_token else "no HF_TOKEN is set"
        return TransferError(f"{text}: access denied ({hint})")
    return error
