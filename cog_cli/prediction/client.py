"""`ModelClient`: what the command line says to a running model, over HTTP."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from cog_cli.engines.base import ModelEnded, RunningModel
from cog_cli.errors import CogError
from cog_cli.prediction.multipart_body import MultipartBody
from cog_cli.prediction.transfer_progress import TransferProgress
from cog_cli.prediction.uploads import Upload

_POLL_S = 0.1
_PROBE_S = 2.0
_PIECE_BYTES = 256 * 1024
_MAX_TEXT = 1000
DEFAULT_SETUP_TIMEOUT_S = 300.0


class ModelClient:
    """Talks to one running model, with its `token` if it wants one. Use as a context manager.

    `progress` is the mode of `--progress`.
    """

    def __init__(self, model: RunningModel, *, token: str | None = None, progress: str = "auto") -> None:
        self._model = model
        self._progress = progress
        headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}
        # A prediction may take hours; the connection itself may not.
        self._http = httpx.Client(
            base_url=model.url, timeout=httpx.Timeout(None, connect=_PROBE_S), trust_env=False, headers=headers
        )

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(self, *details: object) -> None:
        self._http.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the model takes predictions. Raises CogError if its setup fails, ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            code = self._model.exit_code()
            if code is not None:
                raise ModelEnded(f"the model ended with code {code} before it was ready")
            health = self._health()
            if health is None:
                raise CogError(
                    f"the server at {self._model.url} has no /health-check: cog did not make it, or a very old one did",
                    hint="Build the image again with `cog build`, or ask it with curl.",
                )
            status = health.get("status")
            if status in ("READY", "BUSY"):
                return
            if status in ("SETUP_FAILED", "DEFUNCT"):
                raise CogError(f"the model's setup failed: {health.get('reason', 'its log says why')}")
            if time.monotonic() > deadline:
                raise CogError(
                    f"the model was not ready after {timeout_s:g} seconds", hint="Give it more with --setup-timeout."
                )
            time.sleep(_POLL_S)

    def predict(
        self, given: dict[str, Any], *, uploads: tuple[Upload, ...] = (), mode: str = "predict"
    ) -> dict[str, Any]:
        """Run one prediction and give it as the server shows it. Raises CogError if it was refused.

        `uploads` are the files that references in `given` mean.
        """
        path = "/trainings" if mode == "train" else "/predictions"
        answer = self._post_files(path, given, uploads) if uploads else self._post_json(path, given)
        if answer.status == 422 and answer.complaints:
            raise CogError("the input is not valid:\n" + "\n".join(_bullet(item) for item in answer.complaints))
        if answer.status >= 400:
            said = str(answer.document.get("error") or answer.document)
            raise CogError(f"the model answered {answer.status}: {_with_paths(said, uploads)}")
        return answer.document

    def _post_files(self, path: str, given: dict[str, Any], uploads: tuple[Upload, ...]) -> _Answer:
        """The answer to a body with files, or where the server knows no such bodies, to JSON with data: URLs."""
        body = MultipartBody({"input": given}, uploads)
        names = uploads[0].path.name if len(uploads) == 1 else f"{len(uploads)} files"
        answer = self._post(path, body, body.headers, what=f"sending {names}", size_bytes=body.size_bytes)
        if not answer.is_about_form:
            return answer
        urls = {upload.reference: upload.data_url() for upload in uploads}
        return self._post_json(path, _with_urls(given, urls))

    def _post_json(self, path: str, given: dict[str, Any]) -> _Answer:
        body = json.dumps({"input": given}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        pieces = (body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES))
        return self._post(path, pieces, headers, what="sending the input", size_bytes=len(body))

    def _post(
        self, path: str, body: Iterable[bytes], headers: Mapping[str, str], *, what: str, size_bytes: int
    ) -> _Answer:
        try:
            with TransferProgress(what, size_bytes, mode=self._progress) as progress:
                content = _counted(body, progress)
                request = self._http.build_request("POST", path, content=content, headers=dict(headers))
                response = self._http.send(request, stream=True)
            with contextlib.closing(response):
                return _Answer(response.status_code, _document(response, self._receive(response)))
        except httpx.HTTPError as error:
            code = self._model.exit_code()
            ended = f"the model ended with code {code}" if code is not None else f"the connection broke ({error})"
            raise ModelEnded(f"{ended} while it ran the prediction") from error

    def _receive(self, response: httpx.Response) -> bytes:
        length = response.headers.get("content-length")
        with TransferProgress("receiving the output", int(length) if length else None, mode=self._progress) as progress:
            return b"".join(_counted(response.iter_bytes(), progress))

    def _health(self) -> dict[str, Any] | None:
        """What the server says of itself: nothing yet while it starts, None if it never will."""
        try:
            answer = self._http.get("/health-check", timeout=_PROBE_S)
            if answer.status_code in (404, 405):
                return None
            document = answer.json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True)
class _Answer:
    status: int
    document: dict[str, Any]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What a refusal says about places of the request, if it says so one by one."""
        detail = self.document.get("detail")
        return [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []

    @property
    def is_about_form(self) -> bool:
        """Whether the server refused how the input was sent, and not what: then its complaints name no input."""
        if self.status == 415:
            return True
        return self.status in (400, 422) and not any("input" in item.get("loc", ()) for item in self.complaints)


def _document(response: httpx.Response, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        if response.status_code in (400, 415, 422):
            return {"error": body.decode("utf-8", "replace")[:_MAX_TEXT]}
        raise CogError(f"the model answered {response.status_code} without JSON") from error
    return document if isinstance(document, dict) else {"error": document}


def _counted(pieces: Iterable[bytes], progress: TransferProgress) -> Iterator[bytes]:
    """The same pieces; the bar goes with the last of them, and not only when there is an answer."""
    for piece in pieces:
        yield piece
        progress.advance(len(piece))
    progress.stop()


def _with_urls(value: Any, urls: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return urls.get(value, value)
    if isinstance(value, list):
        return [_with_urls(item, urls) for item in value]
    if isinstance(value, dict):
        return {key: _with_urls(item, urls) for key, item in value.items()}
    return value


def _with_paths(text: str, uploads: tuple[Upload, ...]) -> str:
    """A complaint about a part, with what the person calls it."""
    for upload in uploads:
        if text.startswith(f"{upload.part}:"):
            return f"the input {upload.input}: {upload.path}{text[len(upload.part) :]}"
    return text


def _bullet(item: dict[str, Any]) -> str:
    place = [str(part) for part in item.get("loc", ()) if part not in ("body", "input")]
    return f"- {'.'.join(place) or 'input'}: {item.get('msg', '')}"
