"""`JobRunner`: takes a prediction from its admission to its end, whatever happens to the worker on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic_core import to_json

from cog.schema.spec import PredictorSpec
from cog.worker import wire
from cog_server.files.fetch import FetchError
from cog_server.files.inputs import InputShape, Place, redact
from cog_server.files.outputs import OutputError, StoredOutput
from cog_server.files.room import FileRoom, PredictionFiles
from cog_server.jobs.archive import Archive
from cog_server.jobs.poison import Poison
from cog_server.jobs.port import AtCapacity, NotReady, Request
from cog_server.observe.logs import PREDICTION
from cog_server.observe.metrics import Metrics
from cog_server.predictions.ids import new_id
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.steps import UNFOLLOWED, Steps
from cog_server.predictions.store.base import StoreError
from cog_server.settings import Settings
from cog_server.webhooks.feed import Feed
from cog_server.webhooks.sender import WebhookSender
from cog_server.worker.pool import Taker, WorkerPool
from cog_server.worker.supervisor import Job, Supervisor, WorkerLost, WorkerUnavailable

log = logging.getLogger("cog.server")

_LAST_LINES = 20
_INTERRUPT_EVERY_S = 0.5


@dataclass(frozen=True)
class _Outcome:
    status: Status
    error: str | None = None
    predict_time_s: float | None = None


@dataclass(eq=False, slots=True)
class _Entry:
    """A prediction that runs or waits.

    It has a `task` only while something has to be waited for; otherwise the worker's messages carry it on. `failure`
    is why it is being stopped, None for a plain cancel; `bad_output` is what is wrong with an output that came.
    `watchers` are clients that wait for it; when the last one leaves, it is canceled, unless it is detached.
    """

    prediction: Prediction
    files: PredictionFiles
    is_detached: bool = False
    steps: Steps = UNFOLLOWED
    feed: Feed | None = None
    task: asyncio.Task[None] | None = None
    taker: Taker | None = None
    worker: Supervisor | None = None
    job: Job | None = None
    watchers: int = 0
    is_started: bool = False
    is_stopping: bool = False
    failure: str | None = None
    bad_output: str | None = None
    may_queue: bool = False
    is_running: bool = False
    is_ending: bool = False
    storing: asyncio.Task[StoredOutput] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class JobRunner:
    """As many predictions at a time as there are slots, at most `max_queue` waiting behind them, in their order.

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
        self._poison = Poison(settings.poison_limit)
        self._entries: dict[str, _Entry] = {}
        self._unfinished = 0
        self._all_finished: asyncio.Future[None] | None = None
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

    def submit_now(self, given: dict[str, Any]) -> Prediction | None:
        """Take a prediction with this validated input if nothing stands between it and the worker but its turn.

        None if there is more to wait for: a store, files; then it is for `submit`. Raises NotReady or AtCapacity.
        """
        if not self._archive.is_at_hand or self._steps_of is not None:
            return None
        shape = self._known_shape()
        if not shape.is_plain(given):
            return None
        prediction = self._admit(shape, given)
        entry = self._enter(_Entry(prediction, self._files.files_of(prediction.id)))
        refused = self._refusal(prediction)
        if refused is not None:
            self._conclude(entry, refused)
        else:
            self._queue(entry)
        return prediction

    async def submit(self, request: Request, *, is_detached: bool = False) -> Prediction:
        """Take a prediction; it runs by itself from here on, and is stored before this returns.

        A detached one goes on when nobody watches it. Raises NotReady, AtCapacity or DuplicateId.
        """
        prediction = self._admit(self._known_shape(), request.input, request.id)
        PREDICTION.set(prediction.id)
        steps = UNFOLLOWED if self._steps_of is None else self._steps_of(prediction)
        files = self._files.files_of(prediction.id, request.arrival, request.output_path)
        entry = self._enter(_Entry(prediction, files, is_detached, steps))
        try:
            await self._archive.store(prediction, request.hook)
        except BaseException as error:
            self._leave(entry)
            self._count_finished()
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

    # docs/decisions/019-who-waits-is-counted.md
    @contextlib.contextmanager
    def watching(self, prediction: Prediction, *, grace_s: float = 0.0) -> Iterator[None]:
        """Somebody waits for the prediction. When the last one leaves early, it is canceled after `grace_s`."""
        self.watch(prediction)
        try:
            yield
        finally:
            self.unwatch(prediction, grace_s=grace_s)

    def watch(self, prediction: Prediction) -> None:
        """The beginning of `watching`."""
        entry = self._entries.get(prediction.id)
        if entry is not None and entry.prediction is prediction:
            entry.watchers += 1

    def unwatch(self, prediction: Prediction, *, grace_s: float = 0.0) -> None:
        """The end of `watching`."""
        entry = self._entries.get(prediction.id)
        if entry is not None and entry.prediction is prediction:
            entry.watchers -= 1
            self._abandon(entry, grace_s)

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new and let what runs end; cancel what is left after `timeout_s`. False if there was any."""
        self.is_draining = True
        if await self._finished_within(timeout_s):
            return True
        for identifier in list(self._entries):
            self.cancel(identifier)
        await self._finished_within(self._settings.cancel_grace_s + 1)
        return False

    async def _finished_within(self, timeout_s: float) -> bool:
        if not self._unfinished:
            return True
        if self._all_finished is None:
            self._all_finished = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._all_finished}, timeout=timeout_s)
        return not self._unfinished

    def _enter(self, entry: _Entry) -> _Entry:
        self._unfinished += 1
        self._entries[entry.prediction.id] = entry
        return entry

    def _leave(self, entry: _Entry) -> None:
        del self._entries[entry.prediction.id]

    def _count_finished(self) -> None:
        self._unfinished -= 1
        if not self._unfinished and self._all_finished is not None:
            self._all_finished.set_result(None)
            self._all_finished = None

    def _known_shape(self) -> InputShape:
        """What the inputs look like. Raises NotReady while that is not known, and where nothing can be taken."""
        pool = self._pool
        if self.is_draining:
            raise NotReady("the server is shutting down")
        spec = pool.spec
        if spec is None or not pool.is_open:
            raise NotReady(pool.reason)
        return self._shape_of(spec)

    def _admit(self, shape: InputShape, given: dict[str, Any], wanted_id: str | None = None) -> Prediction:
        prediction = Prediction(
            wanted_id or new_id(),
            redact(shape, given),
            is_iterator=self._spec().output.is_iterator,
            history=self._settings.stream_history or 1,
            output_info=[] if self._settings.output_info else None,
        )
        # Its id first: a client that asks twice for one that runs is not turned away for want of room.
        self._archive.reserve(prediction)
        if self.in_flight > self._pool.slots + self._settings.max_queue:
            self._archive.release(prediction)
            raise AtCapacity("all prediction slots and the queue are full")
        return prediction

    def _spec(self) -> PredictorSpec:
        assert self._pool.spec is not None, "no prediction is admitted before it is known"
        return self._pool.spec

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
        if entry.is_running and entry.prediction.status is Status.STARTING:
            # The worker will pass over it.
            self._leave_worker(entry)
            self._conclude(entry, _stopped(entry))
        elif entry.is_running and entry.worker is not None:
            entry.worker.cancel(entry.prediction.id)
            grace_s = self._settings.cancel_grace_s
            entry.timers.append(asyncio.get_running_loop().call_later(grace_s, self._escalate, entry))
            self._interrupt_storing(entry)
        elif entry.taker is not None:
            self._pool.withdraw(entry.taker)
            self._conclude(entry, _stopped(entry))
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

    # With a task: what has files, is stored, or is followed.

    async def _run(self, entry: _Entry, request: Request) -> None:
        entry.is_started = True
        refused = _stopped(entry) if entry.is_stopping else self._refusal(entry.prediction)
        await self._finish(entry, refused or await self._outcome(entry, self._process(entry, request)))

    def _refusal(self, prediction: Prediction) -> _Outcome | None:
        """How a prediction ends that is not to be run: its input has crashed workers before."""
        verdict = None if self._poison.is_empty else self._poison.verdict(prediction.input_json())
        if verdict is None:
            return None
        self.metrics.count_poisoned()
        return _Outcome(Status.FAILED, verdict)

    async def _outcome(self, entry: _Entry, work: Coroutine[Any, Any, _Outcome]) -> _Outcome:
        """How the work ends, whatever goes wrong in it."""
        try:
            return await work
        except asyncio.CancelledError:
            return _stopped(entry)
        except (FetchError, OutputError, WorkerUnavailable) as error:
            return _Outcome(Status.FAILED, str(error))
        except OSError as error:
            return _no_room(error)
        except Exception:
            log.exception("the prediction %s", entry.prediction.id)
            return _BROKEN
        finally:
            entry.is_ending = True

    async def _process(self, entry: _Entry, request: Request) -> _Outcome:
        entry.worker = await self._pool.wait_lease()
        try:
            entry.steps.leave_queue()
            shape = self._shape_of(self._spec())
            local, places = await entry.steps.download(entry.files.localize(shape, request.input))
            body = to_json(local)
            # A file in it may have been many megabytes of text, which lie on the disk by now.
            local.clear()
            request.input.clear()
            worker = entry.worker
            while not worker.is_ready:
                # It has ended since: another one, without going to the end of the line.
                entry.worker = None
                self._pool.give_back(worker)
                worker = entry.worker = await self._pool.wait_lease(is_first=True)
            # Others with this input may have crashed workers since it was admitted.
            refused = self._refusal(entry.prediction)
            if refused is not None:
                self._pool.give_back(worker)
                return refused
            self._begin(entry, worker, body, places, request.context)
        except BaseException:
            if entry.worker is not None:
                if entry.job is not None:
                    entry.worker.end(entry.job)
                self._pool.give_back(entry.worker)
            raise
        return await self._follow(entry)

    async def _follow(self, entry: _Entry) -> _Outcome:
        """Apply the worker's messages until the prediction has ended."""
        assert entry.worker is not None and entry.job is not None, "it was begun"
        try:
            outcome = None
            while outcome is None:
                event = await entry.worker.next_event(entry.job)
                if isinstance(event, wire.Message) and event.kind == wire.OUTPUT and event.head["files"]:
                    await self._take_files(entry, event)
                else:
                    outcome = self._apply(entry, event)
            return outcome
        finally:
            self._leave_worker(entry)

    # Without one: docs/decisions/016-task-only-while-waiting.md

    def _queue(self, entry: _Entry, *, is_first: bool = False) -> None:
        entry.taker = partial(self._begin_now, entry)
        self._pool.lease(entry.taker, is_first=is_first, may_queue=True)

    def _begin_now(self, entry: _Entry, worker: Supervisor | WorkerUnavailable) -> None:
        entry.taker = None
        if isinstance(worker, WorkerUnavailable):
            self._conclude(entry, _Outcome(Status.FAILED, str(worker)))
            return
        refused = self._refusal(entry.prediction)
        if refused is not None:
            self._pool.give_back(worker, may_queue=True)
            self._conclude(entry, refused)
            return
        entry.worker, entry.may_queue = worker, True
        try:
            entry.files.open()
        except OSError as error:
            self._pool.give_back(worker, may_queue=True)
            self._conclude(entry, _no_room(error))
            return
        try:
            self._begin(entry, worker, entry.prediction.input_json(), [], {}, partial(self._take, entry))
        except Exception:
            self._break_off(entry)

    def _take(self, entry: _Entry, event: wire.Message | WorkerLost) -> None:
        try:
            self._take_event(entry, event)
        except Exception:
            self._break_off(entry)

    def _break_off(self, entry: _Entry) -> None:
        """End a prediction that something of ours has broken: whoever waits for it must not wait for ever."""
        log.exception("the prediction %s", entry.prediction.id)
        if entry.is_running:
            self._leave_worker(entry)
        if not entry.is_ending:
            self._conclude(entry, _BROKEN)

    def _take_event(self, entry: _Entry, event: wire.Message | WorkerLost) -> None:
        """Apply one of the worker's messages; from one with files on, a task does."""
        if isinstance(event, wire.Message) and event.kind == wire.OUTPUT and event.head["files"]:
            assert entry.job is not None, "it has sent this"
            entry.job.on_event = None
            entry.job.put(event)
            entry.task = asyncio.create_task(self._go_on(entry), name=f"prediction-{entry.prediction.id}")
            return
        if isinstance(event, WorkerLost) and entry.prediction.status is Status.STARTING:
            # It was not what the worker died of: it had not begun.
            self._leave_worker(entry)
            self._queue(entry, is_first=True)
            return
        outcome = self._apply(entry, event)
        if outcome is not None:
            self._leave_worker(entry)
            self._conclude(entry, outcome)

    async def _go_on(self, entry: _Entry) -> None:
        await self._finish(entry, await self._outcome(entry, self._follow(entry)))

    def _conclude(self, entry: _Entry, outcome: _Outcome) -> None:
        entry.is_ending = True
        if entry.files.is_clean(is_sure=outcome.status is Status.SUCCEEDED):
            self._end(entry, outcome)
            self._archive.end_now(entry.prediction)
            self._announce(entry, outcome)
        else:
            entry.task = asyncio.create_task(self._finish(entry, outcome), name=f"prediction-{entry.prediction.id}")

    # Both.

    def _begin(
        self,
        entry: _Entry,
        worker: Supervisor,
        body: bytes,
        places: list[Place],
        context: dict[str, str],
        on_event: Callable[[wire.Message | WorkerLost], None] | None = None,
    ) -> None:
        prediction = entry.prediction
        entry.job = Job(prediction.id, prediction.append_log, partial(self._start, entry), on_event)
        entry.is_running = True
        head: dict[str, object] = {
            "id": prediction.id,
            "folder": entry.files.folder,
            "max_output": self._settings.max_output_bytes,
        }
        if places:
            head["files"] = places
        if context:
            head["context"] = context
        entry.steps.predict(head)
        worker.begin(entry.job, head, body)

    def _start(self, entry: _Entry) -> None:
        entry.prediction.start()
        self.metrics.count_start(entry.prediction)
        if self._settings.predict_timeout_s is not None:
            seconds = self._settings.predict_timeout_s
            self._stop_later(entry, seconds, f"the prediction took longer than {seconds:g} seconds")

    def _apply(self, entry: _Entry, event: wire.Message | WorkerLost) -> _Outcome | None:
        """Take what the worker says; gives how the prediction has ended, once it has."""
        prediction = entry.prediction
        if isinstance(event, WorkerLost):
            if event.is_crash and prediction.status is Status.PROCESSING:
                self._poison.crash(prediction.input_json())
            return _stopped(entry) if entry.is_stopping else _lost(prediction, event)
        if event.kind == wire.OUTPUT:
            if entry.bad_output is None:
                self._take_output(entry, StoredOutput(event.body, []))
        elif event.kind == wire.METRIC:
            name, value = event.head["name"], json.loads(event.body)
            prediction.set_metric(name, value)
            self.metrics.record(name, value)
        elif event.kind == wire.BATCH:
            self.metrics.count_batch(len(event.head["ids"]))
        else:
            status, seconds = Status(event.head["status"]), event.head["predict_time"]
            if status is Status.CANCELED or (entry.bad_output is not None and entry.is_stopping):
                return _Outcome(*_stopped_as(entry), predict_time_s=seconds)
            if entry.bad_output is not None:
                return _Outcome(Status.FAILED, entry.bad_output, seconds)
            self._count_failure(entry, status)
            if status is Status.SUCCEEDED and not self._poison.is_empty:
                self._poison.succeed(prediction.input_json())
            return _Outcome(status, event.head["error"], seconds)
        return None

    def _leave_worker(self, entry: _Entry) -> None:
        assert entry.worker is not None and entry.job is not None, "it was begun"
        entry.is_running = False
        entry.worker.end(entry.job)
        self._pool.give_back(entry.worker, may_queue=entry.may_queue)

    def _take_output(self, entry: _Entry, stored: StoredOutput) -> None:
        limit = self._settings.max_output_bytes
        if entry.prediction.output_bytes + len(stored.body) > limit:
            entry.bad_output = f"the output is larger than {limit} bytes (COG_MAX_OUTPUT_BYTES)"
            self._stop(entry, entry.bad_output)
        else:
            entry.prediction.append_output(stored.body, stored.info)

    async def _take_files(self, entry: _Entry, event: wire.Message) -> None:
        """Take an output whose files have to be stored."""
        if entry.bad_output is not None:
            return
        if entry.is_stopping:
            entry.bad_output = "its output is not stored, since it was stopped"
            return
        entry.storing = asyncio.ensure_future(entry.steps.upload(entry.files.store(event.body, event.head["files"])))
        try:
            self._take_output(entry, await entry.storing)
        except OutputError as error:
            entry.bad_output = str(error)
        except asyncio.CancelledError:
            if not entry.is_stopping:
                raise
            entry.bad_output = "its output was not stored, since it was stopped"
        finally:
            entry.storing = None

    def _count_failure(self, entry: _Entry, status: Status) -> None:
        """A model that only fails may have broken itself: a fresh worker is worth a try, if the operator says so."""
        limit = self._settings.restart_after_failures
        worker = entry.worker
        if worker is None or not limit:
            return
        self._failures_in_a_row[worker] = self._failures_in_a_row[worker] + 1 if status is Status.FAILED else 0
        if self._failures_in_a_row[worker] >= limit:
            self._failures_in_a_row[worker] = 0
            worker.kill(f"{limit} predictions in a row failed")

    async def _finish(self, entry: _Entry, outcome: _Outcome) -> None:
        """The one terminal transition: stored first, then told to everybody."""
        entry.is_ending = True
        worker = entry.worker
        if entry.is_stopping and worker is not None and worker.is_in_batch(entry.prediction.id):
            self._remove_later(worker, entry.files)
        else:
            await entry.files.remove(is_sure=outcome.status is Status.SUCCEEDED)
        self._end(entry, outcome)
        try:
            await self._archive.end(entry.prediction, entry.feed.last_message() if entry.feed else None)
        except StoreError as error:
            log.error("the prediction %s is not stored: %s", entry.prediction.id, error)
        self._announce(entry, outcome)

    def _end(self, entry: _Entry, outcome: _Outcome) -> None:
        for timer in entry.timers:
            timer.cancel()
        # It holds the entry: without this both would wait for Python's collector of cycles.
        entry.job = None
        entry.prediction.finish(outcome.status, error=outcome.error, predict_time_s=outcome.predict_time_s)
        self._leave(entry)

    def _announce(self, entry: _Entry, outcome: _Outcome) -> None:
        prediction = entry.prediction
        self.metrics.count_end(prediction, outcome.predict_time_s)
        prediction.announce()
        self._on_end(prediction.id)
        entry.steps.end(prediction, outcome.predict_time_s)
        self._count_finished()

    def _remove_later(self, worker: Supervisor, files: PredictionFiles) -> None:
        """Keep the files of what was stopped until its batch has ended: predict has them among the others'."""

        async def remove() -> None:
            await worker.wait_batch()
            await files.remove(is_sure=False)

        task = asyncio.create_task(remove(), name="cog-remove")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


def _lost(prediction: Prediction, event: WorkerLost) -> _Outcome:
    return _Outcome(Status.FAILED, event.reason + _last_lines(prediction.logs))


def _no_room(error: OSError) -> _Outcome:
    return _Outcome(Status.FAILED, f"its files cannot be stored: {error.strerror}")


_BROKEN = _Outcome(Status.FAILED, "the server could not finish the prediction")


def _stopped(entry: _Entry) -> _Outcome:
    return _Outcome(*_stopped_as(entry))


def _stopped_as(entry: _Entry) -> tuple[Status, str | None]:
    return (Status.CANCELED, None) if entry.failure is None else (Status.FAILED, entry.failure)


def _last_lines(logs: str) -> str:
    lines = [line for line in logs.splitlines() if line.strip()][-_LAST_LINES:]
    return "; its last lines were:\n" + "\n".join(lines) if lines else ""
