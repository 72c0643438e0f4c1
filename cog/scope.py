"""The prediction that is running here: its id, context and metrics. One per task, also with concurrent predictions."""

import contextvars
from typing import Any, Callable, Dict, Mapping, Optional


class Scope:
    """What the running `predict` may ask and say about itself."""

    def __init__(self, prediction_id: str, context: Mapping[str, str], on_metric: Callable[[str, Any], None]) -> None:
        self.prediction_id = prediction_id
        self.context: Dict[str, str] = dict(context)
        self._on_metric = on_metric

    def record_metric(self, name: str, value: Any) -> None:
        """Put `value` (JSON) in the prediction's `metrics` under `name`; the last value stands."""
        if not isinstance(name, str) or not name.replace("_", "a").replace(".", "a").isalnum() or len(name) > 128:
            raise ValueError(f"{name!r} is not a metric name: letters, digits, `_` and `.`, at most 128")
        if name == "predict_time" or name.startswith("cog."):
            raise ValueError(f"the metric name {name!r} is reserved")
        self._on_metric(name, value)


_current: "contextvars.ContextVar[Optional[Scope]]" = contextvars.ContextVar("cog_scope", default=None)


def current_scope() -> Scope:
    """The scope of the running prediction. Raises RuntimeError outside of predict()."""
    scope = _current.get()
    if scope is None:
        raise RuntimeError("current_scope() is known only inside predict()")
    return scope


def emit_metric(name: str, value: Any) -> None:
    """`current_scope().record_metric(...)`, as older models call it."""
    current_scope().record_metric(name, value)
