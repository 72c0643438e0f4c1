"""`JobRunner`: takes a prediction from its admission to its end, whatever happens to the worker on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from cog import wire
from cog.spec import PredictorSpec
from cog_server.archive import Archive
from cog_server.files.destination import OutputPath
from cog_server.files.fetch import FetchError
from cog_server.files.inputs import InputShape, redact
from cog_server.files.outputs import OutputError, StoredOutput
from cog_server.files.room import Arrival, FileRoom, PredictionFiles
from cog_server.logs import PREDICTION
from cog_server.metrics import Metrics
from cog_server.predictions import Prediction, Status
from cog_server.settings import Settings
from cog_server.steps import UNFOLLOWED, Steps
from cog_server.store.base import StoreError
from cog_server.webhooks.feed import Feed
from cog_server.webhooks.hook import Hook
from cog_server.webhooks.sender import WebhookSender
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import Job, Supervisor, WorkerLost, WorkerUnavailable

log = logging.getLogger("cog.server")

# Ids are base32 without look-alikes, as existing clients expect them: 26 characters, 130 bits. By table: a random byte
# has each of the 32 equally often, and one call for all of them takes a microsecond instead of thirty.
_ALPHABET = bytes(b"abcdefghjkmnpqrstvwxyz0123456789"[number % 32] for number in range(256))
_LAST_LINES = 20
_INTERRUPT_EVERY_S = 0.5


class NotReady(Exception):
    """No prediction can be taken now; says why."""


class AtCapacity(Exception):
    """All slots and the whole queue are taken."""


@dataclass(frozen=True)
class Request:
    """A validated request: `input` is JSON data whose files are URLs; `deadline_s` counts from its admission.

    `arrival` are the files that came with it; they are the runner's once the prediction is admitted.
    """

    input: dict[str, Any]
    id: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    hook: Hook | None = None
    arrival: Arrival = field(default_factory=Arrival)
    output_path: OutputPath | None = None


@dataclass(frozen=True)
class _Outcome:
    status: Status
    error: str | None = None
    predict_time_s: float | None = None


@dataclass
class _Entry:
    """A prediction that runs or waits.

    `worker` is the one that it has, or had last. `failure` is why it is being stopped, None for a plain cancel.
    `watchers` are clients that wait for it; when the last one leaves, it is canceled, unless it is detached.
    """

    prediction: Prediction
    is_detached: bool
    steps: Steps
    feed: Feed | None = None
    task: asyncio.Task[None] | None = None
    worker: Supervisor | None = None
    watchers: int = 0
    is_started: bool = False
    is_stopping: bool = False
    failure: str | None = None
    is_running: bool = False
    is_ending: bool = False
    storing: asyncio.Task[StoredOutput] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class JobRunner:
    """As many predictions at a time as the workers have slots, at most `max_queue` behind them, in the order they came.

    `on_end` is told the id of one that has ended; `steps_of` gives whoever follows one, in the task that submits it.
    """

    def __init__(
        self,
        settings: Settings,
        pool: WorkerPool,
        files: FileRoom,
        archive: Archive,
        webhooks: WebhookSender,
        *,
        on_end: Callable[[str], None],
        steps_of: Callable[[Prediction], Steps] | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._files = files
        self._archive = archive
        self._webhooks = webhooks
        self._on_end = on_end
        self._steps_of = steps_of
        self.metrics = Metrics()
        self._entries: dict[str, _Entry] = {}
        self._shape: InputShape | None = None
        self._shaped: PredictorSpec | None = None
        self._failures_in_a_row: Counter[Supervisor] = Counter()
        self._removals: set[asyncio.Task[None]] = set()
        self.is_draining = False

    @property
    def in_flight(self) -> int:
        """Predictions that run or wait."""
        return self._archive.in_flight

    @property
    def queued(self) -> int:
        """Those of them that wait: for a slot, for a worker, or for their files."""
        return sum(entry.prediction.status is Status.STARTING for entry in self._entries.values())

    @property
    def is_busy(self) -> bool:
        """Whether a new prediction would have to wait."""
        return self.in_flight >= self._pool.ready_slots

    async def submit(self, request: Request, *, is_detached: bool = False) -> Prediction:
        """Take a prediction; it runs by itself from here on, and is stored before this returns.

        A detached one goes on when nobody watches it. Raises NotReady, AtCapacity or DuplicateId.
        """
        prediction = self._admit(request)
        PREDICTION.set(prediction.id)
        steps = UNFOLLOWED if self._steps_of is None else self._steps_of(prediction)
        entry = self._entries[prediction.id] = _Entry(prediction, is_detached, steps)
        try:
            await self._archive.store(prediction, request.hook)
        except BaseException as error:
            del self._entries[prediction.id]
            if isinstance(error, StoreError):
                log.error("%s", error)
                raise NotReady("the prediction cannot be stored") from error
            raise
        entry.steps.admit()
        if request.hook is not None:
            entry.feed = self._webhooks.follow(prediction, request.hook)
        if request.deadline_s is not None:
            self._stop_later(entry, request.deadline_s, "the deadline of the request passed")
        entry.task = asyncio.create_task(self._run(entry, request), name=f"prediction-{prediction.id}")
        return prediction

    def cancel(self, prediction_id: str) -> bool:
        """Ask a prediction to stop; True if it was running or waiting. A worker that does not obey is killed."""
        entry = self._entries.get(prediction_id)
        if entry is None:
            return False
        self._stop(entry)
        return True

    @contextlib.contextmanager
    def watching(self, prediction: Prediction, *, grace_s: float = 0.0) -> Iterator[None]:
        """Somebody waits for the prediction. When the last one leaves early, it is canceled after `grace_s`."""
        entry = self._entries.get(prediction.id)
        if entry is None:
            yield
            return
        entry.watchers += 1
        try:
            yield
        finally:
            entry.watchers -= 1
            self._abandon(entry, grace_s)

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new and let what runs end; cancel what is left after `timeout_s`. False if there was any."""
        self.is_draining = True
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for identifier in list(self._entries):
            self.cancel(identifier)
        if late:
            await asyncio.wait(late, timeout=self._settings.cancel_grace_s + 1)
        return not late

    def _admit(self, request: Request) -> Prediction:
        spec = self._pool.spec
        if self.is_draining:
            raise NotReady("the server is shutting down")
        if spec is None or not self._pool.is_open:
            raise NotReady(self._pool.reason)
        prediction = Prediction(
            request.id or secrets.token_bytes(26).translate(_ALPHABET).decode(),
            redact(self._shape_of(spec), request.input),
            is_iterator=spec.output.is_iterator,
            history=self._settings.stream_history or 1,
            output_info=[] if self._settings.output_info else None,
        )
        # Its id first: a client that asks twice for one that runs is not turned away for want of room.
        self._archive.reserve(prediction)
        if self.in_flight > self._pool.slots + self._settings.max_queue:
            self._archive.release(prediction)
            raise AtCapacity("all prediction slots and the queue are full")
        return prediction

    def _shape_of(self, spec: PredictorSpec) -> InputShape:
        # A new worker brings a new one, which says the same.
        if self._shape is None or self._shaped is not spec:
            self._shape, self._shaped = InputShape.of(spec), spec
        return self._shape

    def _abandon(self, entry: _Entry, grace_s: float) -> None:
        if entry.watchers or entry.is_detached or entry.prediction.status.is_terminal:
            return
        if grace_s:
            entry.timers.append(asyncio.get_running_loop().call_later(grace_s, self._abandon, entry, 0.0))
        else:
            self._stop(entry)

    def _stop_later(self, entry: _Entry, delay_s: float, failure: str) -> None:
        entry.timers.append(asyncio.get_running_loop().call_later(delay_s, self._stop, entry, failure))

    def _stop(self, entry: _Entry, failure: str | None = None) -> None:
        """End it early: as canceled, or as failed if there is a `failure`."""
        if entry.is_stopping or entry.is_ending:
            return
        entry.is_stopping, entry.failure = True, failure
        if entry.is_running and entry.worker is not None:
            entry.worker.cancel(entry.prediction.id)
            grace_s = self._settings.cancel_grace_s
            entry.timers.append(asyncio.get_running_loop().call_later(grace_s, self._escalate, entry))
            self._interrupt_storing(entry)
        elif entry.is_started:
            self._interrupt(entry)

    def _interrupt(self, entry: _Entry) -> None:
        """Cancel what happens in this process, again and again: a single cancel may be lost in anyio, below httpx."""
        if entry.task is not None and not entry.is_ending:
            entry.task.cancel()
            entry.timers.append(asyncio.get_running_loop().call_later(_INTERRUPT_EVERY_S, self._interrupt, entry))

    def _interrupt_storing(self, entry: _Entry) -> None:
        """The same for an output that is on its way: what is stopped needs none."""
        if entry.storing is not None:
            entry.storing.cancel()
            entry.timers.append(
                asyncio.get_running_loop().call_later(_INTERRUPT_EVERY_S, self._interrupt_storing, entry)
            )

    def _escalate(self, entry: _Entry) -> None:
        if entry.is_running and entry.worker is not None and not entry.worker.abandon(entry.prediction.id):
            entry.worker.kill(f"the prediction {entry.prediction.id} did not stop when it was canceled")

    async def _run(self, entry: _Entry, request: Request) -> None:
        entry.is_started = True
        files = self._files.files_of(entry.prediction.id, request.arrival, request.output_path)
        try:
            outcome = _stopped(entry) if entry.is_stopping else await self._outcome(entry, request, files)
        except Exception:
            log.exception("the prediction %s", entry.prediction.id)
            outcome = _Outcome(Status.FAILED, "the server could not finish the prediction")
        entry.is_ending = True
        if entry.is_stopping and entry.worker is not None and entry.worker.is_in_batch(entry.prediction.id):
            self._remove_later(files, entry.worker)
        else:
            await files.remove(is_sure=outcome.status is Status.SUCCEEDED)
        await self._end(entry, outcome)

    def _remove_later(self, files: PredictionFiles, worker: Supervisor) -> None:
        """Keep the files of what was stopped until its batch has ended: predict has them among the others'."""

        async def remove() -> None:
            await worker.wait_batch()
            await files.remove(is_sure=False)

        task = asyncio.create_task(remove(), name="cog-remove")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _outcome(self, entry: _Entry, request: Request, files: PredictionFiles) -> _Outcome:
        try:
            entry.worker = await self._pool.wait_lease()
            entry.steps.leave_queue()
            return await self._process(entry, request, files)
        except asyncio.CancelledError:
            return _stopped(entry)
        except (FetchError, OutputError, WorkerUnavailable) as error:
            return _Outcome(Status.FAILED, str(error))
        except OSError as error:
            return _Outcome(Status.FAILED, f"its files cannot be stored: {error.strerror}")
        finally:
            entry.is_ending = True
            if entry.worker is not None:
                self._pool.give_back(entry.worker)

    async def _process(self, entry: _Entry, request: Request, files: PredictionFiles) -> _Outcome:
        prediction = entry.prediction
        spec = self._pool.spec
        assert spec is not None, "no prediction is admitted before the spec is known"
        local, places = await entry.steps.download(files.localize(self._shape_of(spec), request.input))
        body = to_json(local)
        # A file in it may have been many megabytes of text, which lie on the disk by now.
        local.clear()
        request.input.clear()
        worker = entry.worker = await self._keep_worker(entry)
        job = Job(prediction.id, prediction.append_log)
        entry.is_running = True
        prediction.start()
        self.metrics.count_start(prediction)
        if self._settings.predict_timeout_s is not None:
            seconds = self._settings.predict_timeout_s
            self._stop_later(entry, seconds, f"the prediction took longer than {seconds:g} seconds")
        head: dict[str, object] = {"folder": files.folder, "context": request.context, "files": places}
        head["max_output"] = self._settings.max_output_bytes
        entry.steps.predict(head)
        worker.begin(job, head, body)
        try:
            return await self._follow(entry, worker, job, files)
        finally:
            entry.is_running = False
            worker.end(job)

    async def _keep_worker(self, entry: _Entry) -> Supervisor:
        """Its worker, or another one if that has ended since: without going to the end of the line."""
        worker, entry.worker = entry.worker, None
        assert worker is not None, "it was given one"
        if worker.is_ready:
            return worker
        self._pool.give_back(worker)
        return await self._pool.wait_lease(is_first=True)

    async def _follow(self, entry: _Entry, worker: Supervisor, job: Job, files: PredictionFiles) -> _Outcome:
        """Apply the worker's events until the prediction has ended."""
        prediction = entry.prediction
        failure: str | None = None
        while True:
            event = await worker.next_event(job)
            if isinstance(event, WorkerLost):
                if entry.is_stopping:
                    return _stopped(entry)
                return _Outcome(Status.FAILED, event.reason + _last_lines(prediction.logs))
            if event.kind == wire.OUTPUT:
                failure = failure or await self._take_output(entry, event, files)
            elif event.kind == wire.METRIC:
                name, value = event.head["name"], json.loads(event.body)
                prediction.set_metric(name, value)
                self.metrics.record(name, value)
            elif event.kind == wire.BATCH:
                self.metrics.count_batch(len(event.head["ids"]))
            else:
                status, seconds = Status(event.head["status"]), event.head["predict_time"]
                if status is Status.CANCELED or (failure is not None and entry.is_stopping):
                    return _Outcome(*_stopped_as(entry), predict_time_s=seconds)
                if failure is not None:
                    return _Outcome(Status.FAILED, failure, seconds)
                self._count_failure(worker, status)
                return _Outcome(status, event.head["error"], seconds)

    async def _take_output(self, entry: _Entry, event: wire.Message, files: PredictionFiles) -> str | None:
        """Add one output; gives what is wrong with it, if anything."""
        stored = StoredOutput(event.body, [])
        if event.head["files"]:
            if entry.is_stopping:
                return "its output is not stored, since it was stopped"
            entry.storing = asyncio.ensure_future(entry.steps.upload(files.store(event.body, event.head["files"])))
            try:
                stored = await entry.storing
            except OutputError as error:
                return str(error)
            except asyncio.CancelledError:
                if not entry.is_stopping:
                    raise
                return "its output was not stored, since it was stopped"
            finally:
                entry.storing = None
        limit = self._settings.max_output_bytes
        if entry.prediction.output_bytes + len(stored.body) > limit:
            failure = f"the output is larger than {limit} bytes (COG_MAX_OUTPUT_BYTES)"
            self._stop(entry, failure)
            return failure
        entry.prediction.append_output(stored.body, stored.info)
        return None

    def _count_failure(self, worker: Supervisor, status: Status) -> None:
        """A model that only fails may have broken itself: a fresh worker is worth a try, if the operator says so."""
        limit = self._settings.restart_after_failures
        self._failures_in_a_row[worker] = self._failures_in_a_row[worker] + 1 if status is Status.FAILED else 0
        if limit and self._failures_in_a_row[worker] >= limit:
            self._failures_in_a_row[worker] = 0
            worker.kill(f"{limit} predictions in a row failed")

    async def _end(self, entry: _Entry, outcome: _Outcome) -> None:
        """The one terminal transition: stored first, then told to everybody."""
        prediction = entry.prediction
        for timer in entry.timers:
            timer.cancel()
        prediction.finish(outcome.status, error=outcome.error, predict_time_s=outcome.predict_time_s)
        owed = entry.feed.last_message() if entry.feed else None
        del self._entries[prediction.id]
        try:
            await self._archive.end(prediction, owed)
        except StoreError as error:
            log.error("the prediction %s is not stored: %s", prediction.id, error)
        self.metrics.count_end(prediction, outcome.predict_time_s)
        prediction.announce()
        self._on_end(prediction.id)
        entry.steps.end(prediction, outcome.predict_time_s)


def _stopped(entry: _Entry) -> _Outcome:
    return _Outcome(*_stopped_as(entry))


def _stopped_as(entry: _Entry) -> tuple[Status, str | None]:
    return (Status.CANCELED, None) if entry.failure is None else (Status.FAILED, entry.failure)


def _last_lines(logs: str) -> str:
    lines = [line for line in logs.splitlines() if line.strip()][-_LAST_LINES:]
    return "; its last lines were:\n" + "\n".join(lines) if lines else ""
