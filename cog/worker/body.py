"""What a worker process does from its first line to its last."""

import asyncio
import inspect
import json
import signal
import sys
import threading
import time
import traceback
from typing import Any, Dict, List, Optional

from cog.scope import _current
from cog.types import CancelationException
from cog.worker import wire
from cog.worker.answers import Answers, describe_error, print_user_traceback
from cog.worker.batches import Batches
from cog.worker.channel import Channel
from cog.worker.logs import Logs
from cog.worker.lookout import Lookout
from cog.worker.model import Model


def run(channel: Channel, reference: str, folder: str, mode: str) -> int:
    """Import the predictor, set it up, and answer predictions until told to stop. Gives the exit code."""
    worker = Worker(channel)
    worker.listen()
    return worker.run(reference, folder, mode)


# docs/decisions/010-main-thread-reads.md
class Worker:
    """The main thread runs the model, and reads the channel: between predictions, and in a signal's handler.

    No thread stands between the socket and the model: handing a message from one to the other takes longer than a
    small prediction does. While a synchronous `predict` runs, the server sends SIGUSR1 behind what cannot wait.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._logs = Logs(channel, self._only_running)
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._tasks: Dict[str, Any] = {}
        self._stop: "asyncio.Future[None]"
        self._lookout = Lookout(channel, self._begin_health_check)
        self._model: Model
        self._answers: Answers

    def listen(self) -> None:
        """Be ready for signals; one also wakes the main thread from a blocking call."""
        signal.signal(signal.SIGUSR1, self._lookout.on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self, reference: str, folder: str, mode: str) -> int:
        """Set up, then serve. Gives the exit code."""
        try:
            self._model = Model(reference, folder, mode)
            spec = self._model.spec
            self._answers = Answers(self._channel, self._logs.finish, spec.output.type)
            self._channel.send(wire.SPEC, {}, json.dumps(spec.to_json()).encode())
            setup = self._model.make()
            if spec.is_async:
                return asyncio.run(self._serve_async(setup))
            if setup is not None:
                result = setup()
                if inspect.isawaitable(result):
                    asyncio.run(_wait_for(result))
        except BaseException as error:
            return self._fail_setup(error)
        return self._serve()

    def _fail_setup(self, error: BaseException) -> int:
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self._channel.send(wire.SETUP_FAILED, {"error": describe_error(error)})
        return 1

    async def _teardown(self) -> int:
        """The last thing the model may do; what goes wrong in it is only told."""
        try:
            await self._model.teardown()
        except BaseException as error:
            print_user_traceback(error)
            return 1
        return 0

    # Synchronous predictors: one at a time, on the main thread, where setup() ran too.

    def _serve(self) -> int:
        self._logs.expect_one_at_a_time()
        self._channel.send(wire.READY, {"has_healthcheck": self._model.has_healthcheck})
        if self._model.spec.batch_size is not None:
            Batches(self._model, self._channel, self._lookout, self._answers).serve()
            return asyncio.run(self._teardown())
        self._lookout.on_canceled = self._tell_withdrawn
        while True:
            message = self._channel.receive()
            if message.kind == wire.PREDICT:
                self._predict(message)
            elif message.kind == wire.HEALTH:
                self._begin_health_check(message.head["id"])
            elif message.kind == wire.STOP:
                return asyncio.run(self._teardown())
            # A cancel that comes here is for a prediction that has ended.

    def _tell_withdrawn(self, prediction_ids: List[str]) -> None:
        for prediction_id in prediction_ids:
            self._answers.end(prediction_id, "canceled", None, 0.0, looks=False)

    def _predict(self, message: wire.Message) -> None:
        prediction_id = message.head["id"]
        token = _current.set(self._answers.scope(message.head))
        status, error = "succeeded", None
        started = time.perf_counter()
        try:
            try:
                self._lookout.begin([prediction_id])
                self._lookout.look()
                self._answer(message)
            finally:
                self._lookout.end()
        except CancelationException:
            status = "canceled"
        except BaseException as problem:
            self._lookout.end()
            status, error = "failed", describe_error(problem)
            print_user_traceback(problem)
        if self._answers.end(prediction_id, status, error, time.perf_counter() - started):
            # The next one's must not be mixed with it.
            self._channel.receive_only(wire.READ)
        _current.reset(token)

    def _answer(self, message: wire.Message) -> None:
        result = self._model.predict(**self._model.decode(message.body, message.head.get("files", ())))
        if self._model.spec.output.is_iterator:
            try:
                for item in result:
                    self._answers.send_output(item, message.head, item=True)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        else:
            self._answers.send_output(result, message.head, item=False)

    # Asynchronous predictors: any number of tasks on one event loop.

    async def _serve_async(self, setup: Any) -> int:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        try:
            result = setup() if setup is not None else None
            if inspect.isawaitable(result):
                await result
        except BaseException as error:
            return self._fail_setup(error)
        self._channel.send(wire.READY, {"has_healthcheck": self._model.has_healthcheck})
        self._loop.add_reader(self._channel.fileno(), self._take_arrived)
        await self._stop
        self._loop.remove_reader(self._channel.fileno())
        return await self._teardown()

    def _take_arrived(self) -> None:
        for message in self._channel.arrived():
            if message.kind == wire.PREDICT:
                self._tasks[message.head["id"]] = asyncio.ensure_future(self._predict_async(message))
            elif message.kind == wire.CANCEL:
                self._cancel_task(message.head["id"])
            elif message.kind == wire.HEALTH:
                self._begin_health_check(message.head["id"])
            elif message.kind == wire.STOP and not self._stop.done():
                self._stop.set_result(None)

    def _cancel_task(self, prediction_id: str) -> None:
        task = self._tasks.get(prediction_id)
        if task is not None and self._loop is not None:
            # After its first step: a task that is canceled before it never runs, so nobody would say how it ended.
            self._loop.call_soon(task.cancel)

    async def _predict_async(self, message: wire.Message) -> None:
        prediction_id = message.head["id"]
        _current.set(self._answers.scope(message.head))
        status, error = "succeeded", None
        started = time.perf_counter()
        try:
            await self._answer_async(message)
        except (asyncio.CancelledError, CancelationException):
            status = "canceled"
        except BaseException as problem:
            status, error = "failed", describe_error(problem)
            print_user_traceback(problem)
        self._tasks.pop(prediction_id, None)
        self._answers.end(prediction_id, status, error, time.perf_counter() - started)

    async def _answer_async(self, message: wire.Message) -> None:
        result = self._model.predict(**self._model.decode(message.body, message.head.get("files", ())))
        if not self._model.spec.output.is_iterator:
            self._answers.send_output(await result, message.head, item=False)
            return
        if inspect.isawaitable(result):
            result = await result
        try:
            async for item in result:
                self._answers.send_output(item, message.head, item=True)
        finally:
            close = getattr(result, "aclose", None)
            if close is not None:
                await close()

    # Both.

    def _only_running(self) -> Optional[str]:
        if self._loop is None:
            return self._lookout.only_running
        return next(iter(self._tasks)) if len(self._tasks) == 1 else None

    def _begin_health_check(self, check_id: str) -> None:
        threading.Thread(target=self._check_health, args=(check_id,), daemon=True).start()

    def _check_health(self, check_id: str) -> None:
        head: Dict[str, Any] = {"id": check_id, "ok": True, "error": None}
        try:
            if self._loop is not None:
                future = asyncio.run_coroutine_threadsafe(self._model.healthcheck(), self._loop)
                head["ok"] = future.result()
            else:
                head["ok"] = asyncio.run(self._model.healthcheck())
        except BaseException as error:
            head.update(ok=False, error=describe_error(error))
        self._channel.send(wire.HEALTHY, head)


async def _wait_for(awaitable: Any) -> None:
    await awaitable
