"""The base classes of a predictor, its decorators, and how one is found by its reference."""

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, Callable, Optional, TypeVar

from cog.defaults import give_defaults
from cog.scope import Scope, current_scope

F = TypeVar("F", bound=Callable[..., Any])

MAX_BATCH_SIZE = 10_000
MAX_BATCH_WAIT_MS = 60_000


class _RunningScope:
    """`self.scope`, unless the model sets an attribute of that name: a property would forbid that."""

    def __get__(self, instance: Any, owner: Any) -> Scope:
        return current_scope()


class _InPrediction:
    """What the methods of a predictor may use while a prediction runs. `scope` has its id, context and metrics."""

    scope = _RunningScope()

    def record_metric(self, name: str, value: Any, mode: str = "replace") -> None:
        """Put `value` in the prediction's `metrics`; see `cog.scope.Metrics.record`."""
        current_scope().record_metric(name, value, mode)


class BasePredictor(_InPrediction):
    """Subclass it, load the model in `setup`, answer in `predict`. Both may be `async`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        give_defaults(cls, "predict")

    def setup(self, weights: Any = None) -> Any:
        """Prepare the model; runs once, before the first prediction."""

    def predict(self, **kwargs: Any) -> Any:
        """Run one prediction; the parameters' types are the API."""
        raise NotImplementedError("predict() is not written yet")


class Predictor(BasePredictor):
    """The short name of `BasePredictor`."""


class BaseRunner(_InPrediction):
    """The newer spelling of `BasePredictor`: `setup` and `run`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        give_defaults(cls, "run")

    def setup(self, weights: Any = None) -> Any:
        """Prepare the model; runs once, before the first prediction."""

    def run(self, **kwargs: Any) -> Any:
        """Run one prediction; the parameters' types are the API."""
        raise NotImplementedError("run() is not written yet")


def streaming(function: Optional[F] = None) -> Any:
    """Mark a predict that yields as one whose items are worth sending as they come. Usable bare or with ()."""
    if function is None:
        return streaming
    function.__cog_streaming__ = True  # type: ignore[attr-defined]  # a mark on the user's function
    return function


def concurrent(*, max: int) -> Callable[[F], F]:
    """Let up to `max` predictions of an async predict run at once in one process."""
    if isinstance(max, bool) or not isinstance(max, int) or max < 1:
        raise ValueError(f"@cog.concurrent: max must be a whole number of at least 1, not {max!r}")

    def mark(function: F) -> F:
        function.__cog_max_concurrency__ = max  # type: ignore[attr-defined]  # a mark on the user's function
        return function

    return mark


def batch(*, max_size: int, max_wait_ms: float = 0) -> Callable[[F], F]:
    """Give up to `max_size` predictions to one call of predict, which takes lists and gives back a list.

    A batch begins when it is full, or `max_wait_ms` after its first prediction came; at once by default, with all that
    came while the one before ran.
    """
    if isinstance(max_size, bool) or not isinstance(max_size, int) or not 1 <= max_size <= MAX_BATCH_SIZE:
        raise ValueError(f"@cog.batch: max_size must be a whole number from 1 to {MAX_BATCH_SIZE}, not {max_size!r}")
    is_number = isinstance(max_wait_ms, (int, float)) and not isinstance(max_wait_ms, bool)
    if not is_number or not 0 <= max_wait_ms <= MAX_BATCH_WAIT_MS:
        raise ValueError(f"@cog.batch: max_wait_ms must be a number from 0 to {MAX_BATCH_WAIT_MS}, not {max_wait_ms!r}")

    def mark(function: F) -> F:
        function.__cog_batch__ = (max_size, max_wait_ms)  # type: ignore[attr-defined]  # a mark on the user's function
        return function

    return mark


def load_target(reference: str, folder: str) -> Any:
    """Import what `file.py:Name` or `package.module:Name` names, relative to `folder`, and give the class or function.

    Runs the user's module: only the worker process may call it. Raises ImportError or AttributeError with the reason,
    and whatever the module itself raises.
    """
    place, _, name = reference.partition(":")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _load_file(os.path.join(folder, place)) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, name):
        raise AttributeError(f"{place} has no class or function named {name!r}")
    return getattr(module, name)


def _load_file(path: str) -> ModuleType:
    module_name = os.path.splitext(os.path.basename(path))[0]
    if module_name.isidentifier() and module_name not in sys.modules:
        name = module_name
    else:
        # `predict-1.3b.py`, or a name that would replace a loaded module.
        name = "cog_predictor_" + "".join(char if char.isalnum() else "_" for char in module_name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    return module


def entry_method(target: Any) -> str:
    """The name of the method that predicts: `predict` or `run`; "" when `target` is a function.

    Raises TypeError if the class has none or both of its own.
    """
    if not isinstance(target, type):
        return ""
    own = [name for name in ("predict", "run") if _is_written(target, name)]
    if len(own) != 1:
        problem = "has neither a predict() nor a run() method" if not own else "has both predict() and run()"
        raise TypeError(f"{target.__name__} {problem}")
    return own[0]


def _is_written(cls: type, name: str) -> bool:
    method = getattr(cls, name, None)
    placeholders = (getattr(BasePredictor, name, None), getattr(BaseRunner, name, None))
    return callable(method) and method not in placeholders
