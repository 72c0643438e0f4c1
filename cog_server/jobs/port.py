"""`PredictionService`: all that a front needs of the server: to submit, watch, cancel and find predictions.

A front is one way in, such as HTTP, and a folder of its own beside this one. Fronts know this port and the values that
go through it; they know neither who runs a prediction nor each other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from cog.schema.spec import PredictorSpec
from cog_server.files.destination import OutputPath
from cog_server.files.room import Arrival, FileRoom
from cog_server.observe.exposition import Family
from cog_server.predictions.prediction import Prediction
from cog_server.predictions.store.base import Record
from cog_server.webhooks.hook import Hook


class NotReady(Exception):
    """No prediction can be taken now; says why."""


class AtCapacity(Exception):
    """All slots and the whole queue are taken."""


class DuplicateId(Exception):
    """A prediction of this id is running."""


@dataclass(frozen=True)
class Request:
    """A validated request: `input` is JSON data whose files are URLs; `deadline_s` counts from its admission.

    `arrival` are the files that came with it; they are the service's once the prediction is admitted.
    """

    input: dict[str, Any]
    id: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    hook: Hook | None = None
    arrival: Arrival = field(default_factory=Arrival)
    output_path: OutputPath | None = None


class PredictionService(Protocol):
    """All of it belongs to the event loop. What asks the store may raise StoreError.

    `files` is where files that come with a request are put, and says which `output_path` may be named in one.
    """

    files: FileRoom

    @property
    def spec(self) -> PredictorSpec | None:
        """The model's signature; None as long as it is not known."""

    @property
    def reason(self) -> str:
        """Why no prediction is taken; empty if they are."""

    @property
    def is_ready(self) -> bool:
        """Whether a prediction that comes now is run without waiting for the model to start."""

    @property
    def is_defunct(self) -> bool:
        """Whether the model was given up after it had been ready: only a new process helps."""

    @property
    def is_draining(self) -> bool:
        """Whether nothing is taken any more, for the server ends."""

    def submit_now(self, given: dict[str, Any]) -> Prediction | None:
        """Take a prediction with this validated input if nothing stands between it and the worker but its turn.

        None if there is more to wait for: then it is for `submit`. Raises NotReady or AtCapacity.
        """

    async def submit(self, request: Request, *, is_detached: bool = False) -> Prediction:
        """Take a prediction; it runs by itself from here on, and is stored before this returns.

        A detached one goes on when nobody watches it. Raises NotReady, AtCapacity or DuplicateId.
        """

    def cancel(self, prediction_id: str) -> bool:
        """Ask a prediction to stop; True if it was running or waiting."""

    def watching(self, prediction: Prediction, *, grace_s: float = 0.0) -> AbstractContextManager[None]:
        """Somebody waits for the prediction. When the last one leaves early, it is canceled after `grace_s`."""

    def watch(self, prediction: Prediction) -> None:
        """The beginning of `watching`."""

    def unwatch(self, prediction: Prediction, *, grace_s: float = 0.0) -> None:
        """The end of `watching`."""

    def live(self, prediction_id: str) -> Prediction | None:
        """The prediction of this id if it runs, waits, or has ended only recently: one whose events can be read."""

    async def find(self, prediction_id: str) -> bytes | None:
        """The prediction of this id as JSON, as long as it is kept."""

    async def page(self, *, status: str | None, before: tuple[str, str] | None, limit: int) -> list[Record]:
        """Up to `limit` predictions, newest first, of one status, from the one that follows the cursor `before`."""

    async def delete(self, prediction_id: str) -> bool:
        """Forget a finished prediction; False if there is none. Raises DuplicateId while it runs."""

    async def health(self) -> dict[str, Any]:
        """How model and machine are, as JSON data; waits for the model's own `healthcheck()`, for a time."""

    def figures(self) -> list[Family]:
        """What is counted and measured, for those who scrape it. It waits for nothing."""

    def count_rejection(self, status: int) -> None:
        """A front has refused a request for predictions, with this HTTP status or what is nearest to it."""
