"""`give_defaults`: a predictor called directly gets values where the signature has `Input(...)`."""

import copy
import functools
import inspect
from typing import Any, Callable, Dict, Tuple

from cog.input import MISSING, FieldInfo, as_field_info


def give_defaults(cls: type, name: str) -> None:
    """Make `Predictor().predict(...)` work in a test of the user's own: what is left out gets its real default.

    Without this, the parameter's value would be the FieldInfo that `Input()` gives, or in a batch one item's default.
    """
    function = cls.__dict__.get(name)
    if not inspect.isfunction(function):
        return
    is_batched = hasattr(function, "__cog_batch__")
    fields = {}
    for item in inspect.signature(function).parameters.values():
        info = as_field_info(item.default)
        if info is None and is_batched and item.default is not inspect.Parameter.empty:
            info = FieldInfo(default=item.default)
        if info is not None:
            fields[item.name] = info
    if fields:
        setattr(cls, name, _with_defaults(function, fields, is_batched=is_batched))


def _with_defaults(
    function: Callable[..., Any], fields: Dict[str, FieldInfo], *, is_batched: bool
) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def default_of(name: str, bound: Dict[str, Any]) -> Any:
        default = fields[name].default
        if not is_batched:
            return copy.deepcopy(default)
        # As many as there are of what was given; it may come behind self.
        sizes = [len(value) for value in bound.values() if isinstance(value, (list, tuple))]
        return [copy.deepcopy(default) for _ in range(sizes[0] if sizes else 1)]

    def complete(args: Tuple[Any, ...], given: Dict[str, Any]) -> Dict[str, Any]:
        missing = [name for name in fields if name not in given]
        if missing:
            bound = signature.bind_partial(*args, **given).arguments
            for name in missing:
                if name not in bound and fields[name].default is MISSING:
                    raise TypeError(f"{function.__qualname__}() needs the input {name!r}")
                if name not in bound:
                    given[name] = default_of(name, bound)
        return given

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **given: Any) -> Any:
            return await function(*args, **complete(args, given))

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        return function(*args, **complete(args, given))

    return call
