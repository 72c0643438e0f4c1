"""`give_defaults`: a predictor called directly gets values where the signature has `Input(...)`."""

import copy
import functools
import inspect
from typing import Any, Callable, Dict, Tuple

from cog.fields import as_field_info
from cog.input import MISSING, FieldInfo


def give_defaults(cls: type, name: str) -> None:
    """Make `Predictor().predict(...)` work in a test of the user's own: what is left out gets its real default.

    Without this, the parameter's value would be the FieldInfo that `Input()` gives.
    """
    function = cls.__dict__.get(name)
    if not inspect.isfunction(function):
        return
    fields = {
        item.name: info
        for item in inspect.signature(function).parameters.values()
        if (info := as_field_info(item.default)) is not None
    }
    if fields:
        setattr(cls, name, _with_defaults(function, fields))


def _with_defaults(function: Callable[..., Any], fields: Dict[str, FieldInfo]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def complete(args: Tuple[Any, ...], given: Dict[str, Any]) -> Dict[str, Any]:
        missing = [name for name in fields if name not in given]
        if missing:
            bound = signature.bind_partial(*args, **given).arguments
            for name in missing:
                if name not in bound and fields[name].default is MISSING:
                    raise TypeError(f"{function.__qualname__}() needs the input {name!r}")
                if name not in bound:
                    given[name] = copy.deepcopy(fields[name].default)
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
