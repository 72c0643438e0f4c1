"""`Batches`: the predictions of a `predict` that takes lists, as many in one call as have come."""

import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

from cog.scope import Scope, _current
from cog.types import CancelationException
from cog.worker import wire
from cog.worker.answers import Answers, describe_error, print_user_traceback
from cog.worker.channel import Channel
from cog.worker.lookout import Lookout
from cog.worker.model import Model

# Whose text it is that a batch of several prints.
_NOBODY = ""


class _Item(NamedTuple):
    """One prediction of a batch, with the keyword arguments that it would be called with alone."""

    message: wire.Message
    arguments: Dict[str, Any]

    @property
    def id(self) -> str:
        prediction_id: str = self.message.head["id"]
        return prediction_id


# docs/decisions/013-batches-gathered-in-the-worker.md
class Batches:
    """Runs on the main thread. What waits for its batch waits in the socket, or, once it was read, in the channel."""

    def __init__(self, model: Model, channel: Channel, lookout: Lookout, answers: Answers) -> None:
        assert model.spec.batch_size is not None, "it takes no lists"
        self._model = model
        self._size = model.spec.batch_size
        self._wait_s = model.spec.batch_wait_ms / 1000
        self._channel = channel
        self._lookout = lookout
        self._answers = answers
        self._started = 0.0
        # Those of the running batch whose end was told already: they were canceled.
        self._told: Set[str] = set()
        lookout.on_canceled = self._tell_canceled

    def serve(self) -> None:
        """Answer predictions until told to stop."""
        while True:
            message = self._channel.receive()
            if message.kind == wire.PREDICT:
                self._run(self._collect(message))
            elif message.kind == wire.HEALTH:
                self._lookout.on_health(message.head["id"])
            elif message.kind == wire.STOP:
                return
            # A cancel that comes here is for a prediction that has ended.

    def _collect(self, first: wire.Message) -> List[wire.Message]:
        """The batch that begins with `first`: full, or what came until the wait was over, without what was canceled."""
        batch = {first.head["id"]: first}
        if "alone" in first.head:
            return [first]
        deadline = time.monotonic() + self._wait_s
        is_stopped = False
        while True:
            for message in self._channel.arrived():
                if message.kind == wire.PREDICT and len(batch) < self._size:
                    batch[message.head["id"]] = message
                elif message.kind == wire.CANCEL:
                    self._drop(message.head["id"], batch)
                elif message.kind == wire.HEALTH:
                    self._lookout.on_health(message.head["id"])
                else:
                    is_stopped = is_stopped or message.kind == wire.STOP
                    self._channel.put_back(message)
            is_complete = not batch or len(batch) == self._size or is_stopped
            left_s = deadline - time.monotonic()
            if is_complete or left_s <= 0 or not self._channel.wait(left_s):
                return list(batch.values())

    def _drop(self, prediction_id: str, batch: Dict[str, wire.Message]) -> None:
        """Take a canceled prediction out of the batch that is being collected, or from behind it."""
        if batch.pop(prediction_id, None) is not None or self._channel.withdraw(prediction_id):
            self._answers.end(prediction_id, "canceled", None, 0.0)

    def _run(self, batch: List[wire.Message]) -> None:
        self._started = time.perf_counter()
        self._told.clear()
        items = [item for item in map(self._decoded, batch) if item is not None]
        if not items:
            return
        token = _current.set(None)
        try:
            try:
                self._lookout.begin([item.id for item in items])
                self._lookout.look()
                items = [item for item in items if item.id not in self._told]
                results = self._call(items)
            finally:
                self._lookout.end()
        except BaseException as problem:
            self._lookout.end()
            _current.reset(token)
            if len(items) > 1 and not self._lookout.is_broken_off:
                self._run_alone(items, problem)
            else:
                self._end_all(items, [problem] * len(items))
        else:
            _current.reset(token)
            self._end_all(items, _each(results, len(items)))

    def _decoded(self, message: wire.Message) -> Optional[_Item]:
        """What predict is called with for one prediction; None if that cannot be made, which fails it alone."""
        try:
            return _Item(message, self._model.decode(message.body, message.head.get("files", ())))
        except BaseException as problem:
            self._end(message.head, problem, is_held=False)
            return None

    def _call(self, items: List[_Item]) -> Any:
        # Said before it begins: the server counts it, and knows whom it would kill with a worker that does not stop.
        self._channel.send(wire.BATCH, {"ids": [item.id for item in items]})
        arguments = {name: [item.arguments[name] for item in items] for name in items[0].arguments}
        _current.set(self._scope(items))
        return self._model.predict(**arguments)

    def _scope(self, items: List[_Item]) -> Scope:
        if len(items) == 1:
            return self._answers.scope(items[0].message.head)

        def on_metric(name: str, value: Any) -> None:
            running = self._lookout.running
            for prediction_id in running:
                self._answers.send_metric(prediction_id, name, value, is_held=prediction_id != running[-1])

        return Scope(_NOBODY, {}, on_metric)

    def _run_alone(self, items: List[_Item], problem: BaseException) -> None:
        """Have each prediction of a batch that failed run by itself, next: so only those fail that must."""
        self._answers.finish_logs(_NOBODY)
        text = describe_error(problem)
        print(f"a batch of {len(items)} failed, each of them runs alone now: {text}", file=sys.stderr)
        left = [item.message for item in items if item.id not in self._told]
        for message in left:
            message.head["alone"] = True
        self._channel.put_first(left)

    def _tell_canceled(self, prediction_ids: List[str]) -> None:
        """End what was canceled while the batch goes on; called by the signal's handler."""
        for prediction_id in prediction_ids:
            self._answers.end(prediction_id, "canceled", None, time.perf_counter() - self._started)
            # Not before: another signal may break off in between, and what is told twice does no harm.
            self._told.add(prediction_id)

    def _end_all(self, items: List[_Item], results: Sequence[Any]) -> None:
        self._answers.finish_logs(_NOBODY)
        left = [(item, result) for item, result in zip(items, results) if item.id not in self._told]
        for number, (item, result) in enumerate(left, 1):
            self._end(item.message.head, result, is_held=number < len(left))

    def _end(self, head: Dict[str, Any], result: Any, *, is_held: bool) -> None:
        """End one prediction with its output, or with the exception in the place of it."""
        token = _current.set(self._answers.scope(head))
        status, error = "succeeded", None
        try:
            if isinstance(result, BaseException):
                raise result
            self._answers.send_output(result, head, item=False)
        except CancelationException:
            status = "canceled"
        except BaseException as problem:
            status, error = "failed", describe_error(problem)
            print_user_traceback(problem)
        seconds = time.perf_counter() - self._started
        # The text is of all of them: the last one sees to it.
        self._answers.end(head["id"], status, error, seconds, is_held=is_held, looks=not is_held)
        _current.reset(token)


def _each(results: Any, size: int) -> Sequence[Any]:
    """The output of each item, or for each the same exception if there is not one output for each."""
    wanted = f"predict() with @cog.batch must give back a list of {size}, one output for each item"
    try:
        if isinstance(results, (str, bytes, dict, set)) or not hasattr(results, "__len__"):
            raise TypeError(f"{wanted}, not {type(results).__name__}")
        if len(results) != size:
            raise ValueError(f"{wanted}, not of {len(results)}")
        return list(results)
    except BaseException as problem:
        return [problem] * size
