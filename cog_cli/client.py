"""`ModelClient`: what the command line says to a running model, over HTTP."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from cog_cli.engines.base import ModelEnded, RunningModel
from cog_cli.errors import CogError

_POLL_S = 0.1
_PROBE_S = 2.0
DEFAULT_SETUP_TIMEOUT_S = 300.0


class ModelClient:
    """Talks to one running model, with its `token` if it wants one. Use as a context manager."""

    def __init__(self, model: RunningModel, *, token: str | None = None) -> None:
        self._model = model
        headers = {"Authorization": f"Bearer {token}"} if token else {}
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

    def predict(self, given: dict[str, Any], *, mode: str = "predict") -> dict[str, Any]:
        """Run one prediction and give it as the server shows it. Raises CogError if it was refused."""
        path = "/trainings" if mode == "train" else "/predictions"
        try:
            answer = self._http.post(path, json={"input": given})
        except httpx.HTTPError as error:
            code = self._model.exit_code()
            ended = f"the model ended with code {code}" if code is not None else f"the connection broke ({error})"
            raise ModelEnded(f"{ended} while it ran the prediction") from error
        try:
            document = answer.json()
        except json.JSONDecodeError as error:
            raise CogError(f"the model answered {answer.status_code} without JSON") from error
        if answer.status_code == 422 and isinstance(document.get("detail"), list):
            raise CogError("the input is not valid:\n" + "\n".join(_bullet(item) for item in document["detail"]))
        if answer.status_code >= 400:
            raise CogError(f"the model answered {answer.status_code}: {document.get('error') or document}")
        assert isinstance(document, dict), document
        return document

    def _health(self) -> dict[str, Any]:
        try:
            document = self._http.get("/health-check", timeout=_PROBE_S).json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}
        return document if isinstance(document, dict) else {}


def _bullet(item: dict[str, Any]) -> str:
    place = [str(part) for part in item.get("loc", ()) if part not in ("body", "input")]
    return f"- {'.'.join(place) or 'input'}: {item.get('msg', '')}"
