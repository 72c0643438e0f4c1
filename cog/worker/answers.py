"""`Answers`: what a worker says about its predictions: their metrics, outputs and ends."""

import fcntl
import json
import os
import sys
import termios
import traceback
from typing import Any, Callable, Dict, Optional

from cog.schema.spec import SignatureError, TypeSpec
from cog.scope import Scope
from cog.worker import wire
from cog.worker.channel import Channel
from cog.worker.convert import encode_output

MAX_ERROR_CHARS = 64 * 1024


class Answers:
    """Says it on the channel. `finish_logs` sends what is left of a prediction's text."""

    def __init__(self, channel: Channel, finish_logs: Callable[[str], None], output: TypeSpec) -> None:
        self._channel = channel
        self.finish_logs = finish_logs
        self._output = output
        # Of our own: the model may close its stdout, or send it elsewhere.
        self._pipe = os.dup(2)
        # Other systems say how much there is to read to the reader only.
        self._can_look = sys.platform == "linux"
        self._waiting = bytearray(4)

    def scope(self, head: Dict[str, Any]) -> Scope:
        """The scope of the prediction whose request has this head."""
        prediction_id = head["id"]

        def on_metric(name: str, value: Any) -> None:
            self.send_metric(prediction_id, name, value)

        return Scope(prediction_id, head.get("context") or {}, on_metric, head.get("traceparent"))

    def send_metric(self, prediction_id: str, name: str, value: Any, *, is_held: bool = False) -> None:
        """Say what a metric is now; held: with the next message."""
        body = json.dumps(value, allow_nan=False).encode()
        self._channel.send(wire.METRIC, {"id": prediction_id, "name": name}, body, is_held=is_held)

    def send_output(self, value: Any, request: Dict[str, Any], *, item: bool) -> None:
        """Send the output, or one item of it, of the prediction whose request has this head.

        Raises TypeError or ValueError if it has no JSON form, is not as annotated, or is too large.
        """
        encoded = encode_output(value, request["folder"], spec=self._output, is_final=not item)
        if len(encoded.body) > request["max_output"]:
            raise ValueError(f"the output is larger than {request['max_output']} bytes (COG_MAX_OUTPUT_BYTES)")
        # Mostly there is nothing in it that needs an encoder: ids are plain.
        files = json.dumps(encoded.files) if encoded.files else "[]"
        line = '{"id":"%s","files":%s,"item":%s}' % (request["id"], files, "true" if item else "false")
        # Behind the only output comes the end: they go together.
        self._channel.send_frame(wire.frame(wire.OUTPUT, line.encode(), encoded.body), is_held=not item)

    def end(
        self,
        prediction_id: str,
        status: str,
        error: Optional[str],
        seconds: float,
        *,
        is_held: bool = False,
        looks: bool = True,
    ) -> bool:
        """Say that a prediction has ended, behind the last of its text; held: with the next message.

        Gives whether text of C code or children may lie in the pipe still, if it `looks`.
        """
        self.finish_logs(prediction_id)
        has_text = looks and self._has_text()
        line = '{"id":"%s","status":"%s","error":%s,"predict_time":%r,"text":%s}' % (
            prediction_id,
            status,
            "null" if error is None else json.dumps(error),
            seconds,
            "true" if has_text else "false",
        )
        self._channel.send_frame(wire.frame(wire.DONE, line.encode()), is_held=is_held)
        return has_text

    def _has_text(self) -> bool:
        """Whether text of C code or children may lie in the pipe: only then the server has to look."""
        if not self._can_look:
            return True
        try:
            fcntl.ioctl(self._pipe, termios.FIONREAD, self._waiting)
        except OSError:
            return True
        return self._waiting != _NOTHING


_NOTHING = bytearray(4)


def describe_error(error: BaseException) -> str:
    """One exception as the text of `error`; never raises itself."""
    try:
        text = error.text() if isinstance(error, SignatureError) else str(error)
    except BaseException:
        text = ""
    if isinstance(error, SystemExit):
        text = f"SystemExit: the model called sys.exit({text})"
    return (text or type(error).__name__)[:MAX_ERROR_CHARS]


def print_user_traceback(error: BaseException) -> None:
    """Write the traceback to the prediction's logs, from the user's first frame on."""
    trace = error.__traceback__
    own = os.path.dirname(os.path.abspath(__file__))
    while trace is not None and os.path.abspath(trace.tb_frame.f_code.co_filename).startswith(own):
        trace = trace.tb_next
    try:
        traceback.print_exception(type(error), error, trace, file=sys.stderr)
    except BaseException:
        print(f"{type(error).__name__} (its text cannot be shown)", file=sys.stderr)
