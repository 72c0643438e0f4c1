"""`Steps`: a prediction's way through the server, told step by step to whoever follows it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from cog_server.files.inputs import Place
from cog_server.files.outputs import StoredOutput
from cog_server.predictions.prediction import Prediction

Localized = tuple[dict[str, Any], list[Place]]


class Steps:
    """One prediction's steps, in this order; here nobody follows. `TracedSteps` makes spans of them."""

    __slots__ = ()

    def admit(self) -> None:
        """It is accepted, and waits."""

    def leave_queue(self) -> None:
        """It has a slot, and there is a worker."""

    def download(self, fetching: Coroutine[Any, Any, Localized]) -> Coroutine[Any, Any, Localized]:
        """Give back what fetches its files, to be waited for."""
        return fetching

    def predict(self, head: dict[str, object]) -> None:
        """It goes to the worker with this head, to which something may be added."""

    def upload(self, storing: Coroutine[Any, Any, StoredOutput]) -> Coroutine[Any, Any, StoredOutput]:
        """Give back what stores some of its files, to be waited for."""
        return storing

    def end(self, prediction: Prediction, predict_time_s: float | None) -> None:
        """It has ended, and everybody knows. `predict_time_s` is the model's own time, where it is known."""


# For all predictions where there are no traces: nothing is made for each.
UNFOLLOWED = Steps()
