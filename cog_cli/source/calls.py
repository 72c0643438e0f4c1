"""`call`, `call_method`: the functions of Python, `cog`, `typing` and pydantic that a reading calls, and their rules.

What is not here is not called: no function of the project, and nothing that could see that its values are stand-ins.
"""

from __future__ import annotations

import abc
import ast
import collections
import dataclasses
import datetime
import enum
import functools
import pathlib
import posixpath
import re
import string
import typing
from collections.abc import Callable
from typing import Any

import cog.input
import cog.predictor
import cog.types
from cog.input import MISSING, FieldInfo
from cog_cli.source.budget import Budget
from cog_cli.source.operations import check_format, hashable_key, iterate, need_known, need_plain
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.values import Blocked, Native, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticConfig, PydanticField


def call(reading: Reading, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
    """The result of a call written at `node`. Raises Blocked, Unsure, or what Python raises."""
    if isinstance(function, Unknown):
        path = f"{function.path}()" if function.path else ""
        place = scope.module.place(node) if function.path else function.place
        return Unknown(function.reason, place, path=path, is_error=function.is_error)
    if isinstance(function, Native):
        return function.function(*args, **kwargs)
    rule = _RULES.get(id(function))
    if rule is not None:
        return rule(_Call(reading, args, kwargs, node, scope))
    is_pure = id(function) in _PURE or hasattr(function, "_fields")
    if not is_pure and (not isinstance(function, type) or reading.class_record(function) is None):
        raise Unsure(f"calling {getattr(function, '__name__', type(function).__name__)} is not followed")
    need_known(reading.budget, [*args, *kwargs.values()])
    if isinstance(function, enum.EnumMeta) and not is_pure:
        hashable_key(reading.budget, args)
    elif not is_pure and not dataclasses.is_dataclass(function) and not hasattr(function, "__total__"):
        # The constructors of these are Python's own; one written by the project is a stand-in, which raises.
        raise Unsure(f"making a {function.__name__} is not followed")
    return function(*args, **kwargs)


_TEXT = frozenset(
    ["lower", "upper", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "startswith", "endswith"]
)


def call_method(budget: Budget, value: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """`value.name(...)` of a text, list, tuple or dict. Raises Blocked, Unsure, TooMuch, or what Python raises."""
    if name == "copy" or (isinstance(value, dict) and name in ("keys", "values", "items")):
        return getattr(value, name)(*args, **kwargs)
    need_known(budget, [args, list(kwargs.values())])
    if isinstance(value, dict) and name == "get":
        hashable_key(budget, args[0])
    elif type(value) is str and name == "join":
        items = iterate(budget, args[0])
        budget.check_size(sum(len(item) + len(value) for item in items if type(item) is str))
        return value.join(items)
    elif type(value) is str and name == "format":
        for _, field, spec, _ in string.Formatter().parse(value):
            check_format(spec or "")
            if field is not None and ("." in field or "[" in field):
                raise Unsure("attributes and indexes in a format text are not evaluated")
        need_plain(budget, [*args, *kwargs.values()])
    elif type(value) is str and name == "replace" and len(args) == 2:
        budget.check_size((value.count(args[0]) if args[0] else len(value) + 1) * len(args[1]) + len(value))
    elif type(value) is not str or name not in _TEXT:
        raise Unsure(f"{name}() of a {type(value).__name__} is not followed")
    return getattr(value, name)(*args, **kwargs)


@dataclasses.dataclass
class _Call:
    reading: Reading
    args: list[Any]
    kwargs: dict[str, Any]
    node: ast.AST
    scope: Scope

    def known(self) -> _Call:
        need_known(self.reading.budget, [*self.args, *self.kwargs.values()])
        return self

    def items(self) -> list[Any]:
        return iterate(self.reading.budget, self.args[0]) if self.args else []


def _plain(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    """A function of numbers and texts."""

    def rule(call: _Call) -> Any:
        need_plain(call.reading.budget, [*call.known().args, *call.kwargs.values()])
        return function(*call.args, **call.kwargs)

    return rule


def _length(call: _Call) -> int:
    if isinstance(call.args[0], (dict, set, frozenset)):
        return len(call.args[0])
    return len(call.items())


def _set(make: Callable[..., Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        is_set = call.args and isinstance(call.args[0], (set, frozenset))
        return make(hashable_key(call.reading.budget, call.known().args[0] if is_set else call.items()))

    return rule


def _dict(make: Callable[..., Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        source = call.args[0] if call.args else {}
        if not isinstance(source, dict):
            rows = [iterate(call.reading.budget, item) for item in call.items()]
            source = {hashable_key(call.reading.budget, key): value for key, value in rows}
        return make({**source, **call.kwargs})

    return rule


def _range(call: _Call) -> range:
    result = range(*call.known().args)
    call.reading.budget.check_size(abs(result.stop - result.start) // abs(result.step))
    return result


def _ranked(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    """`sorted`, `min`, `max`, without a `key`."""

    def rule(call: _Call) -> Any:
        source = call.args[0] if len(call.args) == 1 else call.args
        items = list(source) if isinstance(source, (set, frozenset)) else iterate(call.reading.budget, source)
        if "key" in call.kwargs:
            raise Unsure(f"{function.__name__}() with a key is not followed")
        return function(hashable_key(call.reading.budget, items), **call.known().kwargs)

    return rule


def _input(call: _Call) -> Any:
    # What these words say decides no type: where it is not known, the rest of the signature still is.
    words = {**dict(zip(("default",), call.args, strict=False)), **call.kwargs}
    decisive = [
        value
        for name, value in words.items()
        if name not in ("default", "title", "description", "examples") or getattr(value, "is_error", True)
    ]
    need_known(call.reading.budget, decisive)
    try:
        return cog.input.Input(*call.args, **call.kwargs)
    except TypeError as error:
        return call.reading.failure(str(error), call.node, call.scope)


_FIELD_WORDS = frozenset(item.name for item in dataclasses.fields(FieldInfo)) - {"default", "deprecated", "order"}


def _pydantic_field(call: _Call) -> Any:
    words = call.known().kwargs
    known = {name: value for name, value in words.items() if name in _FIELD_WORDS}
    if "pattern" in words:
        known["regex"] = words["pattern"]
    if words.get("deprecated"):
        known["deprecated"] = True
    default = call.args[0] if call.args else words.get("default", ...)
    if "default_factory" in words:
        default = need_known(call.reading.budget, _factory(words["default_factory"])())
    return FieldInfo(default=MISSING if default is ... else default, **known)


@dataclasses.dataclass(frozen=True)
class Thunk:
    """A lambda without parameters, as a default_factory: what it gives when the modules have been imported."""

    function: Callable[[], Any]


def _factory(factory: Any) -> Callable[[], Any]:
    if not isinstance(factory, Thunk) and factory not in (list, dict, set):
        raise Blocked(factory) if isinstance(factory, Unknown) else Unsure("this default_factory is not followed")
    made: Callable[[], Any] = factory.function if isinstance(factory, Thunk) else factory
    return made


def _dataclass_field(call: _Call) -> Any:
    factory = {name: _factory(value) for name, value in call.kwargs.items() if name == "default_factory"}
    return dataclasses.field(**{**call.kwargs, **factory})


def _dataclass(call: _Call) -> Any:
    def decorate(cls: Any) -> Any:
        record = call.reading.class_record(cls)
        if record is None:
            raise Unsure("this class is not known")
        made = dataclasses.dataclass(**call.known().kwargs)(cls)
        call.reading.classes[id(made)] = (made, record)  # slots=True makes another class
        return made

    return decorate(call.args[0]) if call.args else Native(decorate)


def _same(call: _Call) -> Any:
    """A decorator that keeps the signature; with arguments, what it gives does."""
    is_decorator = len(call.args) == 1 and not call.kwargs and call.reading.place_of(call.args[0]) is not None
    return call.args[0] if is_decorator else Native(lambda function: function)


def _mark(make: Callable[..., Any]) -> Callable[[_Call], Any]:
    """A function of ours that gives a decorator, which only marks."""

    def rule(call: _Call) -> Any:
        try:
            made = make(*call.known().args, **call.kwargs)
        except (TypeError, ValueError) as error:
            return call.reading.failure(str(error), call.node, call.scope)
        return made if call.args else Native(made)

    return rule


def _typed(function: Any) -> Callable[[_Call], Any]:
    """`TypedDict("X", {...})` and the like; forward references in them are not followed."""

    def rule(call: _Call) -> Any:
        given = repr(call.known().args[1:])
        if "ForwardRef" in given or re.search(r"[:,] ['\"]\w+['\"][,)}]", given):
            raise Unsure("types given as text are not followed here")
        return function(*call.args, **call.kwargs)

    return rule


_RULES: dict[int, Callable[[_Call], Any]] = {
    **{id(function): _plain(function) for function in (str, repr, int, float, bool, abs, round)},
    **{id(function): _ranked(function) for function in (sorted, min, max)},
    **{id(function): _set(function) for function in (set, frozenset)},
    **{id(function): _dict(function) for function in (dict, collections.OrderedDict)},
    **{id(function): _mark(function) for function in (cog.predictor.concurrent, cog.predictor.batch)},
    **{id(function): _typed(function) for function in (typing.TypedDict, typing.NamedTuple)},
    **{id(function): _same for function in (functools.lru_cache, functools.cache, typing.final)},
    **{id(function): _same for function in (enum.unique, typing.runtime_checkable)},
    id(list): lambda call: call.items(),
    id(tuple): lambda call: tuple(call.items()),
    id(len): _length,
    id(range): _range,
    id(cog.input.Input): _input,
    id(cog.predictor.streaming): _mark(cog.predictor.streaming),
    id(PydanticField): _pydantic_field,
    id(PydanticConfig): lambda call: None,
    id(dataclasses.field): _dataclass_field,
    id(dataclasses.dataclass): _dataclass,
}
# Those that only look at known values.
_PURE: dict[int, Any] = {
    id(function): function
    for function in (
        *(abc.abstractmethod, staticmethod, classmethod, property, typing.NewType, typing.TypeVar, enum.auto),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        *(pathlib.Path, pathlib.PurePath, cog.types.Path, cog.types.Secret, enum.Enum, enum.IntEnum),
        *(posixpath.join, posixpath.basename, posixpath.dirname, collections.namedtuple),
    )
}
