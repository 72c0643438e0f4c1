"""`JobRunner`: takes a prediction from its admission to its end, whatever happens to the worker on the way."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cog import wire
from cog_server.files.fetch import FetchError, FileFetcher
from cog_server.files.inputs import localize, redact
from cog_server.files.outputs import OutputError, with_data_urls
from cog_server.predictions import Prediction, Status
from cog_server.settings import Settings
from cog_server.worker.supervisor import Job, State, Supervisor, WorkerLost, WorkerUnavailable

# Ids are base32 without look-alikes, as existing clients expect them: 26 characters, 130 bits.
_ALPHABET = "abcdefghjkmnpqrstvwxyz0123456789"
KEPT_FINISHED = 100
_LAST_LINES = 10


class NotReady(Exception):
    """No prediction can be taken now; says why."""


class AtCapacity(Exception):
    """All slots and the whole queue are taken."""


class DuplicateId(Exception):
    """A prediction of this id is already running."""


@dataclass(frozen=True)
class Request:
    """A validated request: `input` is JSON data whose files are URLs."""

    input: dict[str, Any]
    id: str | None = None
    context: dict[str, str] = field(default_factory=dict)


@dataclass
class _Entry:
    prediction: Prediction
    task: asyncio.Task[None] | None = None
    is_cancel_asked: bool = False
    is_running: bool = False


class JobRunner:
    """At most `slots` predictions at a time, at most `max_queue` waiting behind them, in the order they came."""

    def __init__(self, settings: Settings, supervisor: Supervisor, fetcher: FileFetcher) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._fetcher = fetcher
        self._entries: dict[str, _Entry] = {}
        self._finished: OrderedDict[str, Prediction] = OrderedDict()
        self._slots: asyncio.Semaphore | None = None
        self.is_draining = False

    @property
    def slots(self) -> int:
        """How many predictions may run at once: more than one only with an async predictor."""
        spec = self._supervisor.spec
        if spec is None or not spec.is_async:
            return 1
        return self._settings.max_concurrency or spec.max_concurrency

    @property
    def in_flight(self) -> int:
        """Predictions that run or wait."""
        return len(self._entries)

    @property
    def is_busy(self) -> bool:
        """Whether a new prediction would have to wait."""
        return self.in_flight >= self.slots

    def submit(self, request: Request) -> Prediction:
        """Take a prediction; it runs by itself from here on. Raises NotReady, AtCapacity or DuplicateId."""
        spec = self._supervisor.spec
        if self.is_draining:
            raise NotReady("the server is shutting down")
        if spec is None or self._supervisor.state in (State.SETUP_FAILED, State.DEFUNCT, State.STOPPED):
            raise NotReady(self._supervisor.reason)
        if self._supervisor.state is State.STARTING and self._supervisor.restarts == 0:
            raise NotReady(self._supervisor.reason)
        if request.id is not None and request.id in self._entries:
            raise DuplicateId(request.id)
        if self.in_flight >= self.slots + self._settings.max_queue:
            raise AtCapacity("all prediction slots and the queue are full")
        shown = redact(spec, request.input)
        identifier = request.id or "".join(secrets.choice(_ALPHABET) for _ in range(26))
        prediction = Prediction(identifier, shown, is_iterator=spec.output.is_iterator)
        entry = _Entry(prediction)
        self._entries[identifier] = entry
        entry.task = asyncio.create_task(self._run(entry, request), name=f"prediction-{identifier}")
        return prediction

    def find(self, prediction_id: str) -> Prediction | None:
        """The prediction of this id, if it runs, waits, or was among the last to finish."""
        entry = self._entries.get(prediction_id)
        return entry.prediction if entry else self._finished.get(prediction_id)

    def cancel(self, prediction_id: str) -> bool:
        """Ask a prediction to stop; True if it was running or waiting. A worker that does not obey is killed."""
        entry = self._entries.get(prediction_id)
        if entry is None:
            return False
        if entry.is_cancel_asked:
            return True
        entry.is_cancel_asked = True
        if entry.is_running:
            self._supervisor.cancel(prediction_id)
            asyncio.get_running_loop().call_later(self._settings.cancel_grace_s, self._escalate, entry)
        elif entry.task is not None:
            entry.task.cancel()
        return True

    async def drain(self, timeout_s: float) -> None:
        """Take nothing new, let what runs end, and cancel what is left after `timeout_s`."""
        self.is_draining = True
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for identifier in list(self._entries):
            self.cancel(identifier)
        if late:
            await asyncio.wait(late, timeout=self._settings.cancel_grace_s + 1)

    def _escalate(self, entry: _Entry) -> None:
        if self._entries.get(entry.prediction.id) is entry and entry.is_running:
            self._supervisor.kill()

    async def _run(self, entry: _Entry, request: Request) -> None:
        prediction = entry.prediction
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.slots)
        folder = ""
        try:
            async with self._slots:
                await self._supervisor.wait_ready()
                folder = tempfile.mkdtemp(prefix="cog-prediction-")
                await self._process(entry, request, folder)
        except asyncio.CancelledError:
            prediction.finish(Status.CANCELED)
        except (FetchError, OutputError, WorkerUnavailable) as error:
            prediction.finish(Status.FAILED, error=str(error))
        except OSError as error:
            prediction.finish(Status.FAILED, error=f"its files cannot be stored: {error.strerror}")
        finally:
            self._entries.pop(prediction.id, None)
            prediction.finish(Status.FAILED, error="the server could not finish the prediction")
            self._remember(prediction)
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    async def _process(self, entry: _Entry, request: Request, folder: str) -> None:
        prediction = entry.prediction
        spec = self._supervisor.spec
        assert spec is not None, "no prediction is admitted before the spec is known"
        local = await localize(spec, request.input, fetcher=self._fetcher, folder=folder)
        await self._supervisor.wait_ready()
        job = Job(prediction.id, prediction.append_log, asyncio.Queue())
        entry.is_running = True
        prediction.start()
        self._supervisor.begin(job, {"folder": folder, "context": request.context}, json.dumps(local).encode())
        try:
            await self._follow(prediction, job, is_canceled=lambda: entry.is_cancel_asked)
        finally:
            entry.is_running = False
            self._supervisor.end(job)

    async def _follow(self, prediction: Prediction, job: Job, *, is_canceled: Callable[[], bool]) -> None:
        """Apply the worker's events until the prediction has ended."""
        failure: str | None = None
        while True:
            event = await job.events.get()
            if isinstance(event, WorkerLost):
                if is_canceled():
                    prediction.finish(Status.CANCELED)
                else:
                    prediction.finish(Status.FAILED, error=event.reason + _last_lines(prediction.logs))
                return
            if event.kind == wire.OUTPUT:
                try:
                    prediction.append_output(await with_data_urls(event.body, event.head["files"]))
                except OutputError as error:
                    failure = failure or str(error)
            elif event.kind == wire.METRIC:
                prediction.set_metric(event.head["name"], json.loads(event.body))
            else:
                status = Status(event.head["status"])
                if status is Status.SUCCEEDED and failure is not None:
                    status = Status.FAILED
                error_text = failure if failure is not None else event.head["error"]
                prediction.finish(status, error=error_text, predict_time_s=event.head["predict_time"])
                return

    def _remember(self, prediction: Prediction) -> None:
        self._finished[prediction.id] = prediction
        while len(self._finished) > KEPT_FINISHED:
            self._finished.popitem(last=False)


def _last_lines(logs: str) -> str:
    lines = [line for line in logs.splitlines() if line.strip()][-_LAST_LINES:]
    return "; its last lines were:\n" + "\n".join(lines) if lines else ""
