"""`Supervisor`: keeps the worker alive, knows its state, and carries messages between it and the jobs."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cog.schema.spec import PredictorSpec
from cog.worker import wire
from cog_server.settings import Settings, worker_environment
from cog_server.worker.devices import Place
from cog_server.worker.oom import OomKills
from cog_server.worker.process import Callbacks, WorkerProcess, describe_exit
from cog_server.worker.restarts import WINDOW_S, Restarts

log = logging.getLogger("cog.server")

# Takes text of the model: whose prediction it is of, if of one, and which of several workers it is from.
OnText = Callable[[str, str | None, int | None], None]
MakeWorker = Callable[[Callbacks, OomKills], WorkerProcess]

_POKE_AGAIN_S = 0.05
HEALTHCHECK_TIMEOUT_S = 5.0
MAX_SETUP_LOG_CHARS = 1024 * 1024
# So many small predictions lie in the worker's socket behind the one that runs: it need not sleep between two of them.
# docs/decisions/012-line-in-the-socket.md
MAX_LINE = 8
MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 * 1024 * 1024
# After so many events in a row, others get their turn: readers see a fast model's items as they come.
_TURN = 64


class State(str, enum.Enum):
    """Where the worker is. SETUP_FAILED and DEFUNCT are final."""

    STARTING = "STARTING"
    READY = "READY"
    SETUP_FAILED = "SETUP_FAILED"
    DEFUNCT = "DEFUNCT"
    STOPPED = "STOPPED"


@dataclass
class SetupReport:
    """What is known about the setup: `status` is starting, succeeded or failed."""

    status: str = "starting"
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    completed_at: datetime | None = None
    logs: str = ""


@dataclass(eq=False, slots=True)
class Job:
    """What the supervisor must know of a prediction: whom to tell.

    `on_start` is called when it is its turn in the worker. Its events go to `on_event`; where that is None, they wait
    for `next_event`.
    """

    id: str
    on_log: Callable[[str], None]
    on_start: Callable[[], None]
    on_event: Callable[[wire.Message | WorkerLost], None] | None = None
    is_canceled: bool = False
    events: deque[wire.Message | WorkerLost] = field(default_factory=deque)
    waiting_bytes: int = 0
    taken: int = 0
    reader: asyncio.Future[None] | None = None
    # Made by who waits for it, which few do.
    ended: asyncio.Event | None = None

    def put(self, event: wire.Message | WorkerLost) -> None:
        """Tell of an event, now or when it is asked for."""
        if self.on_event is not None:
            self.on_event(event)
            return
        self.events.append(event)
        if isinstance(event, wire.Message):
            self.waiting_bytes += len(event.body)
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that the worker must not send more."""
        return len(self.events) > MAX_WAITING or self.waiting_bytes > MAX_WAITING_BYTES


@dataclass(frozen=True)
class WorkerLost:
    """The worker ended while the prediction ran: it crashed, unless it was killed on purpose."""

    reason: str
    is_crash: bool = False


class WorkerUnavailable(Exception):
    """No worker is ready and none ever will be; says why."""


class Supervisor:
    """Owns at most one worker at a time. All methods belong to the event loop.

    `setup_s` is what the last worker took that got ready; one that replaces another, from when it was to start.
    `restart_delay_s` is how long after the last one's end the next is started, 0 once it is.
    """

    def __init__(
        self,
        settings: Settings,
        place: Place,
        oom: OomKills,
        *,
        on_text: OnText,
        make_worker: MakeWorker = WorkerProcess,
    ) -> None:
        self.place = place
        self.state = State.STARTING
        self.setup = SetupReport()
        self.setup_s: float | None = None
        self.spec: PredictorSpec | None = None
        self.restarts = 0
        self.restart_delay_s = 0.0
        self.reason = "the model is starting"
        self._settings = settings
        self._oom = oom
        self._on_text = on_text
        self._make_worker = make_worker
        self._worker: WorkerProcess | None = None
        self._jobs: dict[str, Job] = {}
        # What a worker that runs one at a time has and has not ended, in its order, forgotten ones too.
        self._line: deque[Job] = deque()
        self._began_s = time.monotonic()
        self._deaths = Restarts(settings.max_restarts, max_delay_s=settings.max_restart_delay_s)
        self._health: asyncio.Future[tuple[bool, str | None]] | None = None
        self._health_number = 0
        self._has_healthcheck = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._setup_deadline: asyncio.TimerHandle | None = None
        self._behind: set[Job] = set()
        self._batch: tuple[str, ...] = ()
        self._kill_reason: str | None = None
        self._prefix = "" if place.is_alone else f"worker {place.index}: "
        self.listeners: list[Callable[[State], None]] = []
        # Called when there is room again for what waits in the worker.
        self.on_room: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Start the first worker; its setup goes on after this returns."""
        await self._spawn()

    async def stop(self, grace_s: float) -> None:
        """End the worker: at once while it sets up, after `grace_s` at most otherwise."""
        was_ready = self.state is State.READY
        self._enter(State.STOPPED, "the server is shutting down")
        for task in list(self._tasks):
            task.cancel()
        if self._worker is not None:
            await self._worker.stop(grace_s if was_ready else 0.0)

    @property
    def is_ready(self) -> bool:
        """Whether there is a worker that takes predictions now, and that nobody has begun to kill."""
        return self.state is State.READY and self._kill_reason is None

    @property
    def pid(self) -> int | None:
        """The process id of the worker, None while there is none."""
        return self._worker.pid if self._worker is not None else None

    @property
    def is_full(self) -> bool:
        """Whether more must not wait in the worker, what was forgotten there counted too."""
        return len(self._line) > MAX_LINE

    @property
    def has_line(self) -> bool:
        """Whether the worker, if it runs one at a time, has any that has not ended, forgotten ones too."""
        return bool(self._line)

    def begin(self, job: Job, head: dict[str, object], body: bytes) -> None:
        """Give a prediction to the worker, which must be ready; its events go to the job until `end`.

        `head` is the whole one of a PREDICT. A worker that runs one at a time has it wait behind those that came
        before. If it dies meanwhile, jobs that were not started can be begun anew.
        """
        assert self._worker is not None and self.is_ready, (self.state, self._kill_reason)
        self._jobs[job.id] = job
        if self._is_sequential:
            self._line.append(job)
        if len(self._line) < 2:
            self._tell(job, job.on_start)
        self._worker.send(wire.PREDICT, head, body)

    async def next_event(self, job: Job) -> wire.Message | WorkerLost:
        """The next of the job's events: BATCH, OUTPUT, METRIC, or its end, DONE or WorkerLost.

        Text that came before it is told of first.
        """
        event = await self._next_event(job)
        while isinstance(event, wire.Message) and event.kind == wire.LOG:
            job.on_log(event.body.decode())
            event = await self._next_event(job)
        return event

    async def _next_event(self, job: Job) -> wire.Message | WorkerLost:
        job.taken += 1
        if job.taken % _TURN == 0:
            await asyncio.sleep(0)
        while not job.events:
            job.reader = asyncio.get_running_loop().create_future()
            await job.reader
        event = job.events.popleft()
        if isinstance(event, wire.Message):
            job.waiting_bytes -= len(event.body)
        if self._behind:
            self._catch_up(job)
        return event

    def end(self, job: Job) -> None:
        """Forget a job. One that has not ended in the worker is canceled there."""
        if self._jobs.pop(job.id, None) is not None and job in self._line and self._worker is not None:
            self._worker.send(wire.CANCEL, {"id": job.id})
        job.events.clear()
        if job.ended is not None:
            job.ended.set()
        job.waiting_bytes = 0
        if self._behind:
            self._catch_up(job)

    @property
    def _is_sequential(self) -> bool:
        return self.spec is not None and not (self.spec.is_async or self.spec.batch_size)

    def _leave_line(self, prediction_id: str) -> Job | None:
        """One has ended in the worker; gives the one that has begun there."""
        for position, job in enumerate(self._line):
            if job.id == prediction_id:
                del self._line[position]
                return self._line[0] if position == 0 and self._line else None
        return None

    def _begin_turn(self, job: Job) -> None:
        if job.id in self._jobs:
            self._tell(job, job.on_start)
            return
        # Forgotten while it waited. Mostly the worker passes over it; it may have come to it just before.
        self._send_now(wire.CANCEL, {"id": job.id})
        asyncio.get_running_loop().call_later(self._settings.cancel_grace_s, self._kill_for, job)

    def _kill_for(self, job: Job) -> None:
        if self._line and self._line[0] is job:
            self.kill(f"the prediction {job.id} did not stop when it was canceled")

    def _catch_up(self, job: Job) -> None:
        if not job.is_behind:
            self._behind.discard(job)
        if not self._behind and self._worker is not None:
            self._worker.resume()

    def cancel(self, prediction_id: str) -> None:
        """Ask the worker to stop a running prediction."""
        if self._worker is not None and prediction_id in self._jobs:
            self._jobs[prediction_id].is_canceled = True
            self._send_now(wire.CANCEL, {"id": prediction_id})

    def is_in_batch(self, prediction_id: str) -> bool:
        """Whether the worker is in a batch of this prediction, which may have ended, and of others that have not."""
        return prediction_id in self._batch and any(each in self._jobs for each in self._batch if each != prediction_id)

    async def wait_batch(self) -> None:
        """Return when all predictions of the batch that the worker is in have ended."""
        for job in [self._jobs[each] for each in self._batch if each in self._jobs]:
            if job.ended is None:
                job.ended = asyncio.Event()
            if job.id in self._jobs:
                await job.ended.wait()

    def abandon(self, prediction_id: str) -> bool:
        """End a canceled prediction without its worker, if that is in a batch of others: they need not die for it.

        False if the batch has nobody else.
        """
        running = [self._jobs[each] for each in self._batch if each in self._jobs]
        needs_kill = prediction_id in self._batch and all(job.is_canceled for job in running)
        if not running or needs_kill:
            return False
        head = {"id": prediction_id, "status": "canceled", "error": None, "predict_time": None, "text": False}
        self._put(self._jobs[prediction_id], wire.Message(wire.DONE, head, b""))
        return True

    def _send_now(self, kind: bytes, head: dict[str, object]) -> None:
        """Send what cannot wait for the end of a prediction."""
        if self._worker is not None and self.spec is not None:
            self._worker.send(kind, head)
            if not self.spec.is_async:
                self._worker.poke()
                # A signal that comes right before a blocking call does not break it off: Python sees it behind that.
                asyncio.get_running_loop().call_later(_POKE_AGAIN_S, self._poke_again, kind, head["id"])

    def _poke_again(self, kind: bytes, identifier: object) -> None:
        if kind == wire.HEALTH:
            is_pending = self._health is not None and identifier == str(self._health_number)
        else:
            is_pending = identifier in self._jobs or any(job.id == identifier for job in self._line)
        if is_pending and self._worker is not None:
            self._worker.poke()

    def kill(self, reason: str) -> None:
        """Kill the worker; a new one is started. `reason` is for the predictions that die with it."""
        if self._worker is not None:
            self._kill_reason = reason
            self._worker.kill()

    async def healthcheck(self) -> tuple[bool, str | None]:
        """Ask the user's `healthcheck()`: (is healthy, what went wrong). Callers at the same time share one answer."""
        if self._worker is None or self.state is not State.READY or not self._has_healthcheck:
            return True, None
        if self._health is None:
            self._health_number += 1
            self._health = asyncio.get_running_loop().create_future()
            self._send_now(wire.HEALTH, {"id": str(self._health_number)})
        pending = self._health
        try:
            return await asyncio.wait_for(asyncio.shield(pending), HEALTHCHECK_TIMEOUT_S)
        except asyncio.TimeoutError:
            self._answer_health(False, f"healthcheck() gave no answer within {HEALTHCHECK_TIMEOUT_S:.0f} seconds")
            return pending.result()

    def _answer_health(self, ok: bool, error: str | None) -> None:
        if self._health is not None and not self._health.done():
            self._health.set_result((ok, error))
        self._health = None

    async def _spawn(self) -> None:
        settings = self._settings
        worker = self._make_worker(Callbacks(self._on_message, self._on_raw_text, self._on_exit), self._oom)
        # Before it is spawned: what it says first may be read before this goes on.
        self._worker = worker
        command = [settings.python, "-m", "cog.worker", "--target", settings.target, "--mode", settings.mode]
        try:
            environment = {**worker_environment(settings), **self.place.variables}
            await worker.spawn(command, folder=settings.folder, environment=environment)
        except OSError as error:
            self._worker, self._kill_reason = None, None
            how = f"cannot be started with {settings.python}: {error.strerror or error}"
            if self.restarts:
                self._restart(how)
            else:
                self._fail_setup(f"the worker {how}")
            return
        if settings.setup_timeout_s is not None and self.state is State.STARTING:
            loop = asyncio.get_running_loop()
            self._setup_deadline = loop.call_later(settings.setup_timeout_s, self._on_setup_timeout)

    def _on_setup_timeout(self) -> None:
        if self.state is State.STARTING:
            self._fail_setup(f"setup() took longer than {self._settings.setup_timeout_s:g} seconds")
            self.kill("its setup took too long")

    def _on_message(self, message: wire.Message) -> None:
        kind = message.kind
        if kind == wire.LOG:
            self._on_log(message.body.decode("utf-8", "replace"), message.head["id"])
        elif kind in (wire.OUTPUT, wire.METRIC, wire.DONE):
            job = self._jobs.get(message.head["id"])
            if kind == wire.DONE and message.head["text"] and self._worker is not None:
                self._worker.read_text()
                if self._is_sequential:
                    self._worker.send(wire.READ, {})
            following = self._leave_line(message.head["id"]) if kind == wire.DONE else None
            if kind == wire.DONE and message.head["status"] == "succeeded":
                self._deaths.succeed()
            if job is not None:
                self._put(job, message)
            elif kind == wire.DONE:
                self.on_room()
            if following is not None:
                self._begin_turn(following)
        elif kind == wire.BATCH:
            self._on_batch(message)
        elif kind == wire.SPEC:
            self.spec = PredictorSpec.from_json(json.loads(message.body))
        elif kind == wire.READY:
            self._on_ready(has_healthcheck=message.head["has_healthcheck"])
        elif kind == wire.SETUP_FAILED:
            self._fail_setup(message.head["error"])
        elif kind == wire.HEALTHY and message.head["id"] == str(self._health_number):
            self._answer_health(message.head["ok"], message.head["error"])

    # docs/decisions/020-worker-not-read-while-behind.md
    def _put(self, job: Job, event: wire.Message | WorkerLost) -> None:
        self._tell(job, job.put, event)
        if job.is_behind and self._worker is not None:
            self._behind.add(job)
            self._worker.pause()

    def _tell(self, job: Job, listener: Callable[..., None], *what: object) -> None:
        """Tell whom a job is of. They answer for what that raises: the worker and its other jobs go on."""
        try:
            listener(*what)
        except Exception:
            log.exception("%sthe prediction %s", self._prefix, job.id)

    def _on_batch(self, message: wire.Message) -> None:
        self._batch = tuple(message.head["ids"])
        # One of them counts it.
        for job in [self._jobs[each] for each in self._batch if each in self._jobs][:1]:
            self._put(job, message)

    def _on_ready(self, *, has_healthcheck: bool) -> None:
        self._has_healthcheck = has_healthcheck
        if self._worker is not None:
            self._worker.read_text()
        if self._setup_deadline is not None:
            self._setup_deadline.cancel()
        if self.state is not State.STARTING or self._kill_reason is not None:
            return
        self.setup.status = "succeeded"
        self.setup.completed_at = datetime.now(timezone.utc)
        self.setup_s = time.monotonic() - self._began_s
        self._enter(State.READY, "")
        log.info("%sthe model is ready", self._prefix)

    def _on_raw_text(self, text: str) -> None:
        """Text from the pipe: of C code, child processes and threads, and everything that setup prints."""
        is_batched = self.spec is not None and self.spec.batch_size is not None
        # What is left of a batch does not own what is printed in it.
        running = self._batch if is_batched else [job.id for job in self._line][:1] or tuple(self._jobs)
        self._on_log(text, running[0] if len(running) == 1 else None)

    def _on_log(self, text: str, prediction_id: str | None) -> None:
        if self.state is State.STARTING and self.restarts == 0:
            self.setup.logs = (self.setup.logs + text)[-MAX_SETUP_LOG_CHARS:]
        job = self._jobs.get(prediction_id) if prediction_id is not None else None
        if job is not None and job.events:
            # In its place among outputs that were not taken yet.
            self._put(job, wire.Message(wire.LOG, {"id": job.id}, text.encode()))
        elif job is not None:
            self._tell(job, job.on_log, text)
        self._on_text(text, job.id if job else None, None if self.place.is_alone else self.place.index)

    def _on_exit(self, code: int, was_oom: bool) -> None:
        self._worker = None
        if self._setup_deadline is not None:
            self._setup_deadline.cancel()
        self._answer_health(False, "the worker ended")
        how = f"was killed: {self._kill_reason}" if self._kill_reason else describe_exit(code, was_oom=was_oom)
        is_crash = self._kill_reason is None
        self._kill_reason = None
        self._behind.clear()
        self._batch = ()
        jobs, self._jobs = self._jobs, {}
        self._line.clear()
        if self.state is State.STARTING and self.restarts == 0:
            self._fail_setup(f"the worker process {how} during setup")
        elif self.state in (State.READY, State.STARTING):
            self._restart(how)
        # Last, since whoever hears of it may ask for a worker at once; backwards, since who asks first then is first.
        for job in reversed(jobs.values()):
            self._put(job, WorkerLost(f"the worker process {how}", is_crash))

    def _restart(self, how: str) -> None:
        now = time.monotonic()
        was_ready = self.state is State.READY
        delay_s = self._deaths.die(now, was_ready=was_ready)
        if delay_s is None:
            times = f"{self._deaths.recent} times in {WINDOW_S:.0f} s"
            self._enter(State.DEFUNCT, f"the worker ended {times}; the last {how}")
            log.error("%sgiving up: %s", self._prefix, self.reason)
            return
        self.restarts += 1
        self.restart_delay_s = delay_s
        self._began_s = now + delay_s
        after = f", in {delay_s:.1f} s" if delay_s else ""
        self._enter(State.STARTING, f"the worker {how} and is being restarted{after}")
        log.warning("%sthe worker %s; starting a new one%s", self._prefix, how, after)
        task = asyncio.create_task(self._spawn_after(delay_s), name="cog-respawn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawn_after(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.restart_delay_s = 0.0
        await self._spawn()

    def _fail_setup(self, error: str) -> None:
        if self._worker is not None:
            self._worker.read_text()
        if self.state is not State.STARTING:
            return
        self.setup.completed_at = datetime.now(timezone.utc)
        if self.restarts == 0:
            self.setup.status = "failed"
            self._enter(State.SETUP_FAILED, error)
            log.error("%ssetup failed: %s", self._prefix, error)

    def _enter(self, state: State, reason: str) -> None:
        self.state = state
        self.reason = reason
        tell(self.listeners, state)


def tell(listeners: Sequence[Callable[[State], None]], state: State) -> None:
    """Tell each of a new state, whatever the others do with it."""
    for listener in listeners:
        try:
            listener(state)
        except Exception:
            log.exception("a listener, of the state %s", state.value)
