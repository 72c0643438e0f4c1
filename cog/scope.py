"""The prediction that is running here: its id, context and metrics. One per task, also with concurrent predictions."""

import contextvars
import json
import re
from typing import Any, Callable, Dict, Iterator, Mapping, MutableMapping, Optional

_SEGMENT = r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*"
_NAME = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT}){{0,3}}")
_MAX_NAME_CHARS = 128
_MODES = ("replace", "incr", "increment", "append")

OnMetric = Callable[[str, Any], None]


class Metrics(MutableMapping[str, Any]):
    """What the running prediction measured, as a dictionary: `scope.metrics["tokens"] = 7` or `del`."""

    def __init__(self, on_change: OnMetric) -> None:
        self._values: Dict[str, Any] = {}
        self._on_change = on_change

    def record(self, name: str, value: Any, mode: str = "replace") -> None:
        """Set (`replace`), add to a number (`incr`) or to a list (`append`). None deletes.

        A metric keeps its type until it is deleted. Raises ValueError for a bad name or mode, TypeError for a value
        that is not JSON or of another type.
        """
        _check_name(name)
        self._check_group(name)
        if mode not in _MODES:
            raise ValueError(f"the mode {mode!r} of the metric {name} is none of replace, incr, append")
        if value is None:
            if self._values.pop(name, None) is not None:
                self._on_change(name, None)
            return
        old = self._values.get(name)
        if mode == "append":
            value = [*old, value] if isinstance(old, list) else [value]
        elif mode != "replace":
            if not _is_number(value):
                raise TypeError(f"the metric {name} can be incremented by a number only, not by {value!r}")
            value = value if old is None else (old + value if _is_number(old) else value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the metric {name} is not JSON: {error}") from None
        if old is not None and _kind(old) != _kind(value):
            raise TypeError(f"the metric {name} holds {_kind(old)}, not {_kind(value)}; delete it first")
        self._values[name] = value
        self._on_change(name, value)

    def _check_group(self, name: str) -> None:
        """Dots make groups, and what is a value is no group. Raises ValueError."""
        parts = name.split(".")
        for count in range(1, len(parts)):
            outer = ".".join(parts[:count])
            if outer in self._values:
                raise ValueError(f"the metric {name} would be inside {outer}, which is a value")
        inner = next((other for other in self._values if other.startswith(f"{name}.")), None)
        if inner is not None:
            raise ValueError(f"the metric {name} would be a value, but there is {inner} inside it")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.record(name, value)

    def __delitem__(self, name: str) -> None:
        del self._values[name]
        self._on_change(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Scope:
    """What the running `predict` may ask and say about itself.

    `traceparent` is the W3C trace context to continue, None where the server makes no traces.
    """

    def __init__(
        self, prediction_id: str, context: Mapping[str, str], on_metric: OnMetric, traceparent: Optional[str] = None
    ) -> None:
        self.prediction_id = prediction_id
        self.traceparent = traceparent
        self.context: Dict[str, str] = dict(context)
        self.metrics = Metrics(on_metric)

    def record_metric(self, name: str, value: Any, mode: str = "replace") -> None:
        """Put `value` in the prediction's `metrics`; see `Metrics.record`."""
        self.metrics.record(name, value, mode)


_current: "contextvars.ContextVar[Optional[Scope]]" = contextvars.ContextVar("cog_scope", default=None)


def current_scope() -> Scope:
    """The scope of the running prediction. Outside of one, in a test of your own, a scope that nobody reads."""
    return _current.get() or Scope("", {}, lambda name, value: None)


def record_metric(name: str, value: Any, mode: str = "replace") -> None:
    """`current_scope().record_metric(...)`."""
    current_scope().record_metric(name, value, mode)


emit_metric = record_metric


def _check_name(name: str) -> None:
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a metric name: up to 4 words with dots between, each of letters, digits and single `_`, "
            f"first a letter; {_MAX_NAME_CHARS} characters in all"
        )
    if name.split(".")[0] in ("predict_time", "cog"):
        raise ValueError(f"the metric name {name!r} is reserved")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """A metric's type in JSON's words; int and float are one."""
    if isinstance(value, bool):
        return "a boolean"
    if _is_number(value):
        return "a number"
    for kind, name in ((str, "a text"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return type(value).__name__
