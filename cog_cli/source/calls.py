"""`call`: what calling a value gives: functions of the project by running them, natives, classes, or Unknown."""

from __future__ import annotations

import ast
import types
from dataclasses import is_dataclass
from enum import EnumMeta
from typing import Any

from cog.input import FieldInfo
from cog_cli.source.attributes import is_named_tuple
from cog_cli.source.budget import OutOfSteps, TooMuch
from cog_cli.source.natives import call_native
from cog_cli.source.operations import need_comparable
from cog_cli.source.packages import is_read_only
from cog_cli.source.reading import FunctionRecord, Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, Blocked, GiveUp, Native, StandInCalled, Stream, Unknown, Unsure

MAX_CALLS = 12


def call(reading: Reading, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
    """The result of a call written at `node`; Unknown, with its arguments given up, where it cannot be followed."""
    if isinstance(function, Unknown):
        if not is_read_only(function):
            reading.taint([function, *args, *kwargs.values()], function)
        path = f"{function.path}()" if function.path else ""
        return Unknown(function.reason, scope.module.place(node), path=path, is_error=function.is_error)
    try:
        return _call(reading, function, args, kwargs, node, scope)
    except Blocked as error:
        cause = error.unknown
    except (Unsure, TooMuch) as error:
        cause = reading.unknown(str(error), node, scope)
    except GiveUp as error:
        cause = error.unknown
    except StandInCalled:
        cause = reading.unknown("it runs code of the project", node, scope)
    except (OutOfSteps, RecursionError):
        raise
    except Exception as error:
        cause = reading.unknown(f"it raises {type(error).__name__}: {error}", node, scope)
    reading.taint([function, *args, *kwargs.values()], cause)
    return cause


def _call(reading: Reading, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
    if isinstance(function, types.MethodType):
        function, args = function.__func__, [function.__self__, *args]
    record = reading.function_record(function)
    if record is not None:
        return _run(reading, function, record, args, kwargs, node, scope)
    if isinstance(function, Native):
        return function.function(*args, **kwargs)
    if isinstance(function, FieldInfo):
        raise Unsure("Input(...) is not a function")
    is_made = isinstance(function, type) and (
        is_named_tuple(function) or (isinstance(function, EnumMeta) and len(function))
    )
    if is_made or reading.class_record(function) is not None:
        return _instantiate(reading, function, args, kwargs)
    result = call_native(reading, function, args, kwargs, node, scope)
    if result is not ABSENT:
        return result
    name = getattr(function, "__name__", type(function).__name__)
    if function is open:
        return reading.unknown("files are not read", node, scope, path="open()")
    raise Unsure(f"calling {name} is not followed")


def _run(
    reading: Reading,
    function: Any,
    record: FunctionRecord,
    args: list[Any],
    kwargs: dict[str, Any],
    node: ast.AST,
    scope: Scope,
) -> Any:
    if not record.can_run or reading.calls >= MAX_CALLS:
        raise Unsure(f"{getattr(function, '__name__', 'the function')}() is not followed")
    signature = function.__signature__
    bound = signature.bind(*args, **kwargs)
    inner = Scope(record.scope.module, record.scope)
    inner.names.update(record.defaults)
    for name, value in bound.arguments.items():
        inner.names[name] = value
    for name, parameter in signature.parameters.items():
        if name not in inner.names:
            inner.names[name] = () if parameter.kind is parameter.VAR_POSITIONAL else {}
    for name, value in inner.names.items():
        if isinstance(value, Stream):
            inner.names[name] = reading.unknown("an iterator as an argument is not followed", node, scope)
    reading.calls += 1
    try:
        if isinstance(record.node, ast.Lambda):
            return reading.evaluate(record.node.body, inner)
        after = reading.execute(record.node.body, inner)
        if after.value == "raise":
            raise Unsure(f"{function.__name__}() raises an exception")
        return inner.returned
    finally:
        reading.calls -= 1


def _instantiate(reading: Reading, cls: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    unknown = reading.find_unknown([*args, *kwargs.values()])
    if unknown is not None:
        raise Blocked(unknown)
    if isinstance(cls, EnumMeta):
        if len(args) != 1 or kwargs:
            raise Unsure(f"this call of {cls.__name__} is not followed")
        need_comparable(reading, args[0])
        return cls(*args)
    if is_dataclass(cls) or is_named_tuple(cls) or (issubclass(cls, dict) and hasattr(cls, "__total__")):
        # Their constructors are Python's own; one written by the project is a stand-in, which raises.
        return cls(*args, **kwargs)
    raise Unsure(f"making a {cls.__name__} is not followed")
