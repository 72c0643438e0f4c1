"""`WorkerPool`: several workers behind one server, seen as one; and who gets which of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from cog.schema.spec import PredictorSpec
from cog_server.observe.nvidia_smi import list_gpus
from cog_server.settings import Settings
from cog_server.worker.devices import Place, devices_of, read_visible
from cog_server.worker.oom import OomKills
from cog_server.worker.process import WorkerProcess
from cog_server.worker.supervisor import (
    MAX_SETUP_LOG_CHARS,
    MakeWorker,
    OnText,
    SetupReport,
    State,
    Supervisor,
    WorkerUnavailable,
    tell,
)

log = logging.getLogger("cog.server")

# Called once, with the worker that is its own until it is given back, or with why there will be none. One that raises
# has given nothing back and keeps nothing; it is called once more, with why there will be none.
Taker = Callable[[Supervisor | WorkerUnavailable], None]

_STARTING = "the model is starting"
_FINAL = (State.SETUP_FAILED, State.DEFUNCT, State.STOPPED)


# docs/decisions/022-supervisor-for-each-worker.md
class WorkerPool:
    """Owns a supervisor for each worker. All methods belong to the event loop.

    `listeners` are told of each new state of the whole. `setup_s` is what the last worker took to get ready. `slots`
    are the predictions that all workers may have at once, `ready_slots` those of the workers that are ready.
    """

    def __init__(self, settings: Settings, *, on_text: OnText, make_worker: MakeWorker = WorkerProcess) -> None:
        self.state = State.STARTING
        self.reason = _STARTING
        self.supervisors: tuple[Supervisor, ...] = ()
        self.listeners: list[Callable[[State], None]] = []
        self.setup_s: float | None = None
        self.slots = self.ready_slots = 0
        self._slots_each = 1
        self._was_ready = False
        self._settings = settings
        self._on_text = on_text
        self._make_worker = make_worker
        self._created = SetupReport()
        self._looking: asyncio.Task[None] | None = None
        # Leases that are out, and those of them whose prediction must have the worker for itself.
        self._taken: dict[Supervisor, int] = {}
        self._for_one: dict[Supervisor, int] = {}
        # Who waits, and whether it may queue.
        self._line: OrderedDict[Taker, bool] = OrderedDict()
        self._is_serving = False

    # What it is, as one.

    @property
    def spec(self) -> PredictorSpec | None:
        """The model's signature, once a worker has told it; all tell the same."""
        for supervisor in self.supervisors:
            if supervisor.spec is not None:
                return supervisor.spec
        return None

    @property
    def restarts(self) -> int:
        """How many workers were started in place of another."""
        return sum(supervisor.restarts for supervisor in self.supervisors)

    @property
    def is_open(self) -> bool:
        """Whether predictions are taken: a worker is ready, or one that was is being replaced."""
        return self._was_ready and self.state not in _FINAL

    @property
    def setup(self) -> SetupReport:
        """The setup of all workers, as one; the logs of each below a line that names it if there are several."""
        if not self.supervisors:
            return self._created
        if len(self.supervisors) == 1:
            return self.supervisors[0].setup
        reports = [supervisor.setup for supervisor in self.supervisors]
        ends = [report.completed_at for report in reports if report.completed_at is not None]
        status = "succeeded" if self._was_ready else "failed" if self.state is State.SETUP_FAILED else "starting"
        size = MAX_SETUP_LOG_CHARS // len(reports)
        logs = [f"--- worker {index}\n{report.logs[-size:]}" for index, report in enumerate(reports)]
        return SetupReport(
            status=status,
            started_at=min(report.started_at for report in reports),
            completed_at=None if status == "starting" else max(ends),
            logs="".join(text if text.endswith("\n") else f"{text}\n" for text in logs),
        )

    async def healthcheck(self) -> tuple[bool, str | None]:
        """Ask the user's `healthcheck()` in all workers that are ready: (are all healthy, what went wrong)."""
        ready = [supervisor for supervisor in self.supervisors if supervisor.is_ready]
        answers = await asyncio.gather(*(supervisor.healthcheck() for supervisor in ready))
        if len(self.supervisors) == 1 and answers:
            return answers[0]
        sick = [(supervisor, error) for supervisor, (ok, error) in zip(ready, answers, strict=True) if not ok]
        told = [f"worker {supervisor.place.index}: {error or 'is unhealthy'}" for supervisor, error in sick]
        return not sick, "; ".join(told) or None

    # Its life.

    async def start(self) -> None:
        """Start the workers, once; their setups go on after this returns."""
        if self.supervisors or self._looking is not None:
            return
        visible = self._settings.visible_devices
        if self._settings.workers == 1 or visible is not None:
            await self._spawn(read_visible(visible or ""))
        else:
            # nvidia-smi takes seconds where no other process keeps the driver awake: the server answers meanwhile.
            self._looking = asyncio.create_task(self._look_and_spawn(), name="cog-devices")

    async def stop(self, grace_s: float) -> None:
        """End all workers: at once those that set up, the others after `grace_s` at most."""
        self._enter(State.STOPPED, "the server is shutting down")
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await asyncio.gather(*(supervisor.stop(grace_s) for supervisor in self.supervisors))

    def kill(self, reason: str) -> None:
        """Kill all workers; new ones are started."""
        for supervisor in self.supervisors:
            supervisor.kill(reason)

    async def _look_and_spawn(self) -> None:
        await self._spawn(await list_gpus())

    async def _spawn(self, visible: Sequence[str]) -> None:
        workers = self._settings.workers
        groups = devices_of(workers, visible)
        if workers == "per_gpu" and not visible:
            log.warning("workers: per_gpu, but no GPU is visible here; there is one worker")
        places = [Place(index, len(groups), devices) for index, devices in enumerate(groups)]
        oom = OomKills()
        self.supervisors = tuple(
            Supervisor(self._settings, place, oom, on_text=self._on_text, make_worker=self._make_worker)
            for place in places
        )
        self._taken = dict.fromkeys(self.supervisors, 0)
        self._for_one = dict.fromkeys(self.supervisors, 0)
        for supervisor in self.supervisors:
            supervisor.listeners.append(functools.partial(self._on_change, supervisor))
            supervisor.on_room = self._serve
        await asyncio.gather(*(supervisor.start() for supervisor in self.supervisors))

    def _on_change(self, supervisor: Supervisor, state: State) -> None:
        if state is State.READY:
            self.setup_s = supervisor.setup_s
        if self.state is State.STOPPED:
            return
        self._slots_each = self._count_slots()
        states = [each.state for each in self.supervisors]
        self.ready_slots = self._slots_each * states.count(State.READY)
        self.slots = self.ready_slots + self._slots_each * states.count(State.STARTING)
        set_up = sum(each.setup.status == "succeeded" for each in self.supervisors)
        quorum = min(self._settings.workers_quorum or len(states), len(states))
        new = state_of(states, set_up=set_up, quorum=quorum)
        self._enter(new, self._reason_of(new))

    def _enter(self, state: State, reason: str) -> None:
        is_new = state is not self.state
        self.state, self.reason = state, reason
        self._was_ready = self._was_ready or state is State.READY
        if is_new:
            tell(self.listeners, state)
        self._serve()

    def _reason_of(self, state: State) -> str:
        if len(self.supervisors) == 1:
            return self.supervisors[0].reason
        if state is State.READY:
            return ""
        if state is State.STARTING and not self._was_ready:
            return _STARTING
        found = [each for each in self.supervisors if each.state is state] or list(self.supervisors)
        return f"worker {found[0].place.index}: {found[0].reason}"

    def _count_slots(self) -> int:
        """How many predictions one worker may have at once: more than one only if it is async or takes batches."""
        spec = self.spec
        if spec is None or not (spec.is_async or spec.batch_size):
            return 1
        return self._settings.max_concurrency or spec.batch_size or spec.max_concurrency

    # Who gets which worker.

    def lease(self, taker: Taker, *, is_first: bool = False, may_queue: bool = False) -> None:
        """Call `taker` with the least busy worker that is ready and has room: at once if there is one and nobody waits.

        Otherwise in the order of asking, or before all who wait if it `is_first`; with WorkerUnavailable if no worker
        will ever be ready again. One that `may_queue` may get a worker that is at work for others of that kind: what it
        sends has its turn behind theirs.
        """
        if not self._line and (offer := self._take(may_queue=may_queue)) is not None:
            self._offer(taker, offer, may_queue=may_queue)
            return
        self._line[taker] = may_queue
        if is_first:
            self._line.move_to_end(taker, last=False)

    def withdraw(self, taker: Taker) -> None:
        """It wants none any more. It keeps one that it was given."""
        self._line.pop(taker, None)

    def give_back(self, supervisor: Supervisor, *, may_queue: bool = False) -> None:
        """A worker has room again for the next in line."""
        self._taken[supervisor] -= 1
        if not may_queue:
            self._for_one[supervisor] -= 1
        if self._line:
            self._serve()

    async def wait_lease(self, *, is_first: bool = False) -> Supervisor:
        """Return with a worker, as `lease` gives it. Raises WorkerUnavailable. Who is canceled here has none."""
        given: asyncio.Future[Supervisor] = asyncio.get_running_loop().create_future()

        def take(offer: Supervisor | WorkerUnavailable) -> None:
            if isinstance(offer, WorkerUnavailable):
                if not given.done():
                    given.set_exception(offer)
            elif given.done():
                self.give_back(offer)
            else:
                given.set_result(offer)

        self.lease(take, is_first=is_first)
        try:
            return await given
        except asyncio.CancelledError:
            self.withdraw(take)
            # Given in the same turn of the loop as it was canceled.
            if given.done() and not given.cancelled() and given.exception() is None:
                self.give_back(given.result())
            raise

    def _take(self, *, may_queue: bool) -> Supervisor | WorkerUnavailable | None:
        """Take the least busy worker, if one has room; say so if none ever will."""
        if self.state in _FINAL:
            return WorkerUnavailable(self.reason)
        found, least = None, self._slots_each
        for supervisor, taken in self._taken.items():
            # What must not queue waits for forgotten ones too: it would be lost with one that has to be killed.
            has_room = not (supervisor.is_full if may_queue else supervisor.has_line)
            if taken < least and supervisor.is_ready and has_room:
                found, least = supervisor, taken
        if found is None and may_queue:
            found = self._queueing()
        if found is not None:
            self._taken[found] += 1
            if not may_queue:
                self._for_one[found] += 1
        return found

    def _queueing(self) -> Supervisor | None:
        """The worker that takes more than it has slots.

        Only the only one does: behind several, what waits for one could not go to another. And only one that is at
        work for one prediction after the other: all of an asynchronous one's run at once.
        """
        if len(self._taken) > 1 or self._slots_each > 1 or self._settings.restart_after_failures:
            return None
        (worker,) = self._taken
        has_room = worker.is_ready and not worker.is_full and not self._for_one[worker]
        return worker if has_room else None

    def _serve(self) -> None:
        """Serve the line as far as there is room, or to its end if there never will be."""
        if self._is_serving:  # A taker gave its worker back at once: the loop below goes on with it.
            return
        self._is_serving = True
        try:
            while self._line:
                taker, may_queue = next(iter(self._line.items()))
                offer = self._take(may_queue=may_queue)
                if offer is None:
                    return
                del self._line[taker]
                self._offer(taker, offer, may_queue=may_queue)
        finally:
            self._is_serving = False

    def _offer(self, taker: Taker, offer: Supervisor | WorkerUnavailable, *, may_queue: bool) -> None:
        """Make an offer. A taker that breaks has no worker, is told so, and holds up nobody."""
        try:
            taker(offer)
        except Exception:
            log.exception("who waited for a worker cannot go on with it")
            if isinstance(offer, Supervisor):
                self.give_back(offer, may_queue=may_queue)
                self._offer(taker, WorkerUnavailable("the server could not begin it"), may_queue=may_queue)


def state_of(states: Sequence[State], *, set_up: int, quorum: int) -> State:
    """What the workers are as one: ready when `quorum` of them were `set_up` once, for as long as any of them is."""
    if set_up < quorum:
        is_lost = states.count(State.SETUP_FAILED) > len(states) - quorum
        return State.SETUP_FAILED if is_lost else State.STARTING
    if State.READY in states:
        return State.READY
    return State.STARTING if State.STARTING in states else State.DEFUNCT
