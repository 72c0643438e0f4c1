"""`WorkerPool`: which worker a prediction gets, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cog.spec import PredictorSpec
from cog_server.settings import Settings
from cog_server.worker.supervisor import State, Supervisor, WorkerUnavailable

Taker = Callable[[Supervisor | WorkerUnavailable], None]


class WorkerPool:
    """Leases the slots of a worker, in the order in which they are asked for. All methods belong to the event loop."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._line: deque[Taker] = deque()
        self._taken = 0
        supervisor.listeners.append(lambda state: self._serve())

    @property
    def spec(self) -> PredictorSpec | None:
        """The predictor's, once it is known."""
        return self._supervisor.spec

    @property
    def state(self) -> State:
        """Whether predictions can be taken."""
        return self._supervisor.state

    @property
    def reason(self) -> str:
        """Why not, if they cannot."""
        return self._supervisor.reason

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return self._supervisor.restarts

    @property
    def slots(self) -> int:
        """How many predictions the worker may have at once: more than one only with an async or a batched predictor."""
        spec = self._supervisor.spec
        if spec is None or not (spec.is_async or spec.batch_size):
            return 1
        return self._settings.max_concurrency or spec.batch_size or spec.max_concurrency

    def lease(self, taker: Taker) -> None:
        """Call `taker` with a ready worker that has a free slot: at once, or when its turn has come.

        It is called with WorkerUnavailable once no worker will ever be ready.
        """
        self._line.append(taker)
        self._serve()

    def withdraw(self, taker: Taker) -> None:
        """It wants no worker any more; nothing happens if it has one."""
        if taker in self._line:
            self._line.remove(taker)

    def give_back(self, worker: Supervisor) -> None:
        """A slot is free again: the next in line gets it."""
        self._taken -= 1
        self._serve()

    async def wait_lease(self) -> Supervisor:
        """The same for who can wait. Raises WorkerUnavailable."""
        found: asyncio.Future[Supervisor | WorkerUnavailable] = asyncio.get_running_loop().create_future()
        self.lease(found.set_result)
        try:
            worker = await found
        except asyncio.CancelledError:
            if found.done() and not found.cancelled() and isinstance(found.result(), Supervisor):
                self.give_back(self._supervisor)
            raise
        finally:
            self.withdraw(found.set_result)
        if isinstance(worker, WorkerUnavailable):
            raise worker
        return worker

    def _serve(self) -> None:
        worker = self._supervisor
        while self._line:
            if worker.is_ready:
                if self._taken >= self.slots:
                    return
                self._taken += 1
                self._line.popleft()(worker)
            elif worker.state in (State.STARTING, State.READY):
                return
            else:
                self._line.popleft()(WorkerUnavailable(worker.reason))
