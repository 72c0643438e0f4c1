"""The pool, its supervisors and the runner's way of using them, in every order and with exceptions at every step.

Workers are stand-ins of our own port, `WorkerProcess`: what they say comes when the test wants it, which a real process
does about once in a thousand kills. tests/server/worker/test_worker_machine.py has the real ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cog.worker import wire
from cog_server.settings import Settings
from cog_server.worker.oom import OomKills
from cog_server.worker.pool import WorkerPool
from cog_server.worker.process import Callbacks, WorkerProcess
from cog_server.worker.supervisor import Job, State, Supervisor, WorkerLost, WorkerUnavailable
from tests.conftest import examples
from tests.fakes.virtual_time import VirtualLoop

SPEC = json.dumps({"inputs": [], "output": {"type": {"kind": "str"}}}).encode()


class ScriptedWorker(WorkerProcess):
    """A worker that exists when the test says so, and says what the test says."""

    def __init__(self, callbacks: Callbacks, oom: OomKills) -> None:
        self.callbacks = callbacks
        self.spawned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_killed = False
        self.is_gone = False
        self.got: list[str] = []

    async def spawn(self, command: list[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        await self.spawned

    @property
    def pid(self) -> int:
        return 1

    def send(self, kind: bytes, head: dict[str, object], body: bytes = b"") -> None:
        if kind == wire.PREDICT:
            self.got.append(str(head["id"]))

    def say(self, kind: bytes, body: bytes = b"", **head: object) -> None:
        self.callbacks.on_message(wire.Message(kind, head, body))

    def get_ready(self) -> None:
        self.say(wire.SPEC, SPEC)
        self.say(wire.READY, has_healthcheck=False)

    def end(self, code: int = -9) -> None:
        self.is_gone = True
        self.callbacks.on_exit(code, False)

    def kill(self) -> None:
        self.was_killed = True

    def poke(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def read_text(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class Scene:
    """A pool of scripted workers, on a loop that runs only when it is told to, by a clock of its own."""

    def __init__(self, count: int) -> None:
        self.loop = VirtualLoop()
        self.made: list[ScriptedWorker] = []
        self.pool = self.run(self._make(count))

    async def _make(self, count: int) -> WorkerPool:
        def make(callbacks: Callbacks, oom: OomKills) -> ScriptedWorker:
            worker = ScriptedWorker(callbacks, oom)
            self.made.append(worker)
            return worker

        settings = Settings("predict.py:Predictor", workers=count, visible_devices="")
        pool = WorkerPool(settings, on_text=lambda *text: None, make_worker=make)
        self.starting = asyncio.create_task(pool.start())
        await asyncio.sleep(0)
        return pool

    def run(self, work: object = None) -> object:
        async def turns() -> object:
            result = await work if work is not None else None  # type: ignore[misc]  # a coroutine
            for _ in range(10):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(turns())

    def call(self, function: Callable[[], object]) -> object:
        async def inside() -> object:
            return function()

        return self.run(inside())

    def pass_time(self) -> None:
        """More than any delay before a new worker."""
        self.run(asyncio.sleep(60))

    def living(self) -> list[ScriptedWorker]:
        return [worker for worker in self.made if not worker.is_gone]

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run()
        self.loop.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene(1)
    yield scene
    scene.close()


def test_a_worker_that_is_ready_before_its_spawn_returns_serves_who_waits(scene: Scene) -> None:
    offers: list[object] = []
    job = Job("a", lambda text: None, lambda: None, lambda event: None)

    def take(offer: Supervisor | WorkerUnavailable) -> None:
        offers.append(offer)
        assert isinstance(offer, Supervisor)
        offer.begin(job, {"id": "a"}, b"")

    scene.call(lambda: scene.pool.lease(take))
    [worker] = scene.made
    scene.call(worker.get_ready)
    scene.call(lambda: worker.spawned.set_result(None))

    assert len(offers) == 1
    assert worker.got == ["a"]


def test_a_worker_that_is_ready_after_its_kill_began_is_given_to_nobody(scene: Scene) -> None:
    offers: list[object] = []
    [worker] = scene.made
    scene.call(lambda: worker.spawned.set_result(None))
    scene.call(worker.get_ready)
    scene.call(worker.end)
    second = scene.made[-1]
    scene.call(lambda: second.spawned.set_result(None))
    scene.call(lambda: scene.pool.kill("it is time"))
    scene.call(lambda: scene.pool.lease(offers.append))
    scene.call(second.get_ready)
    before = list(offers)
    scene.call(second.end)
    scene.pass_time()
    third = scene.made[-1]
    scene.call(lambda: third.spawned.set_result(None))
    scene.call(third.get_ready)

    assert before == []
    assert [type(offer) for offer in offers] == [Supervisor]


def test_a_worker_that_is_killed_while_it_is_spawned_is_replaced(scene: Scene) -> None:
    [worker] = scene.made
    scene.call(lambda: worker.spawned.set_result(None))
    scene.call(worker.get_ready)
    scene.call(worker.end)
    second = scene.made[-1]
    scene.call(lambda: scene.pool.kill("it is time"))
    scene.call(lambda: second.spawned.set_result(None))

    assert second.was_killed


def test_a_taker_that_raises_holds_up_nobody_and_is_told(scene: Scene) -> None:
    offers: list[object] = []

    def break_(offer: Supervisor | WorkerUnavailable) -> None:
        offers.append(offer)
        raise RuntimeError("a bug")

    served: list[object] = []
    scene.call(lambda: scene.pool.lease(break_))
    scene.call(lambda: scene.pool.lease(served.append))
    [worker] = scene.made
    scene.call(lambda: worker.spawned.set_result(None))
    scene.call(worker.get_ready)

    assert [type(offer) for offer in offers] == [Supervisor, WorkerUnavailable]
    assert [type(offer) for offer in served] == [Supervisor]


def test_a_job_whose_event_raises_takes_no_other_with_it(scene: Scene) -> None:
    heard: dict[str, list[object]] = {"a": [], "b": [], "c": []}

    def job_of(name: str) -> Job:
        def on_event(event: wire.Message | WorkerLost) -> None:
            heard[name].append(event)
            if name != "b":
                raise RuntimeError("a bug")

        return Job(name, lambda text: None, lambda: None, on_event)

    [worker] = scene.made
    scene.call(lambda: worker.spawned.set_result(None))
    scene.call(worker.get_ready)
    [supervisor] = scene.pool.supervisors
    for name in heard:
        scene.call(lambda name=name: supervisor.begin(job_of(name), {"id": name}, b""))
    scene.call(worker.end)

    assert [[type(event) for event in events] for events in heard.values()] == [[WorkerLost]] * 3
    assert len(scene.made) == 2


class _Taker:
    """Somebody who asks for a worker: begins a job with it, gives it back at once, or breaks before or after."""

    def __init__(self, scene: Scene, name: str, kind: str, *, may_queue: bool) -> None:
        self.scene, self.name, self.kind, self.may_queue = scene, name, kind, may_queue
        self.is_withdrawn = False
        self.held: Supervisor | None = None
        self.job: Job | None = None
        self.offers: list[object] = []
        self.ends: list[object] = []

    def __call__(self, offer: Supervisor | WorkerUnavailable) -> None:
        self.offers.append(offer)
        if self.kind == "breaks":
            raise RuntimeError("a bug in the taker")
        if isinstance(offer, WorkerUnavailable):
            return
        if self.kind == "gives back":
            self.scene.pool.give_back(offer, may_queue=self.may_queue)
            return
        self.held = offer
        self.job = Job(self.name, lambda text: None, self._on_start, self._on_event)
        offer.begin(self.job, {"id": self.name}, b"")

    def _on_start(self) -> None:
        if self.kind == "breaks at its start":
            raise RuntimeError("a bug at the start")

    def _on_event(self, event: wire.Message | WorkerLost) -> None:
        self.ends.append(event)
        self.leave()
        if self.kind == "breaks at its end":
            raise RuntimeError("a bug at the end")

    def leave(self) -> None:
        if self.held is not None and self.job is not None:
            held, self.held = self.held, None
            held.end(self.job)
            self.scene.pool.give_back(held, may_queue=self.may_queue)


class PoolMachine(RuleBasedStateMachine):
    """Whatever comes in whatever order: who asks is served or told, once, and what was begun ends."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.scene = Scene(count)
        self.takers: list[_Taker] = []
        self.listener_breaks = False
        self.scene.pool.listeners.append(self._listen)

    def _listen(self, state: State) -> None:
        if self.listener_breaks:
            raise RuntimeError("a bug in a listener")

    def _worker(self, number: int) -> ScriptedWorker:
        living = self.scene.living()
        return living[number % len(living)]

    @rule(
        kind=st.sampled_from(["begins", "begins", "gives back", "breaks", "breaks at its start", "breaks at its end"]),
        is_first=st.booleans(),
        may_queue=st.booleans(),
    )
    def ask(self, kind: str, is_first: bool, may_queue: bool) -> None:
        taker = _Taker(self.scene, f"p{len(self.takers)}", kind, may_queue=may_queue)
        self.takers.append(taker)
        self.scene.call(lambda: self.scene.pool.lease(taker, is_first=is_first, may_queue=may_queue))

    @precondition(lambda self: self.takers)
    @rule(number=st.integers(0, 99))
    def withdraw(self, number: int) -> None:
        taker = self.takers[number % len(self.takers)]
        if not taker.offers:
            taker.is_withdrawn = True
            self.scene.call(lambda: self.scene.pool.withdraw(taker))

    @precondition(lambda self: self.scene.living())
    @rule(number=st.integers(0, 9))
    def spawn_returns(self, number: int) -> None:
        worker = self._worker(number)
        if not worker.spawned.done():
            self.scene.call(lambda: worker.spawned.set_result(None))

    @precondition(lambda self: self.scene.living())
    @rule(number=st.integers(0, 9))
    def worker_gets_ready(self, number: int) -> None:
        self.scene.call(self._worker(number).get_ready)

    @precondition(lambda self: self.scene.living())
    @rule(number=st.integers(0, 9))
    def worker_ends_a_job(self, number: int) -> None:
        self._end_a_job(self._worker(number))

    def _end_a_job(self, worker: ScriptedWorker) -> None:
        if worker.got:
            first = worker.got.pop(0)
            self.scene.call(
                lambda: worker.say(wire.DONE, id=first, status="succeeded", error=None, predict_time=0.1, text=False)
            )

    @rule()
    def all_are_killed(self) -> None:
        self.scene.call(lambda: self.scene.pool.kill("the test says so"))

    @precondition(lambda self: any(worker.spawned.done() for worker in self.scene.living()))
    @rule(number=st.integers(0, 9))
    def worker_dies(self, number: int) -> None:
        worker = self._worker(number)
        # One whose setup was never done ends the server's life: another story.
        if worker.spawned.done() and any(each.state is State.READY for each in self.scene.pool.supervisors):
            owner = next(each for each in self.scene.pool.supervisors if each._worker is worker)
            if owner.restarts or owner.setup.status == "succeeded":
                self.scene.call(worker.end)

    @rule()
    def time_passes(self) -> None:
        self.scene.pass_time()

    @rule(breaks=st.booleans())
    def the_listener_changes(self, breaks: bool) -> None:
        self.listener_breaks = breaks

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        try:
            self._settle()
        finally:
            self.scene.close()

    def _settle(self) -> None:
        """Let everything come to rest: every worker gets ready, those killed end, every job ends."""
        for _ in range(200):
            for worker in self.scene.living():
                if not worker.spawned.done():
                    self.scene.call(lambda worker=worker: worker.spawned.set_result(None))
                if worker.was_killed and worker.spawned.done():
                    self.scene.call(worker.end)
                else:
                    self.scene.call(worker.get_ready)
                    while worker.got:
                        self._end_a_job(worker)
            self.scene.pass_time()
            if all(taker.offers or taker.is_withdrawn for taker in self.takers) and all(
                taker.held is None for taker in self.takers
            ):
                break
        for taker in self.takers:
            assert taker.offers or taker.is_withdrawn, f"{taker.name} ({taker.kind}) waits for ever"
            assert taker.held is None, f"{taker.name} ({taker.kind}) was begun and never ended"
            begun = sum(isinstance(offer, Supervisor) for offer in taker.offers)
            assert begun <= 1, f"{taker.name} was served {begun} times"
            assert len(taker.ends) <= 1, f"{taker.name} ended {len(taker.ends)} times"
        assert not any(self.scene.pool._taken.values()), "a lease is out that nobody has"


PoolMachine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=30, deadline=None)
test_in_any_order_nobody_is_lost = PoolMachine.TestCase
