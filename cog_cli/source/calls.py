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
import pathlib
import typing
from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any

import cog.input
import cog.types
from cog.input import MISSING, FieldInfo
from cog.predictor import batch, concurrent, streaming
from cog_cli.source.operations import check_size, hashable_key, iterate, need_known, need_plain
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.values import Native, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticField


def call(reading: Reading, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
    """The result of a call written at `node`. Raises Blocked, Unsure, or what Python raises."""
    if isinstance(function, Unknown):
        made = dataclasses.replace(function, path=f"{function.path}()", place=scope.module.place(node))
        return made if function.path else function
    if isinstance(function, Native):
        return function.function(*args, **kwargs)
    rule = _RULES.get(id(function))
    if rule is not None:
        return rule(_Call(reading, args, kwargs, node, scope))
    # Python's own constructors; one that the project wrote is a stand-in, which raises.
    is_made = dataclasses.is_dataclass(function) or any(hasattr(function, name) for name in ("_fields", "__total__"))
    is_enum = isinstance(function, enum.EnumMeta) and function not in _PURE
    if not (is_made or is_enum or function in _PURE):
        raise Unsure(f"calling {getattr(function, '__name__', type(function).__name__)} is not followed")
    need_known([hashable_key(args) if is_enum else args, [*kwargs.values()]])
    return function(*args, **kwargs)


_TEXT = ("lower", "upper", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "startswith", "endswith")


def call_method(value: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """`value.name(...)` of a text, list, tuple or dict. Raises Blocked, Unsure, or what Python raises."""
    if name == "copy" or (isinstance(value, dict) and name in ("keys", "values", "items")):
        return getattr(value, name)(*args, **kwargs)
    if isinstance(value, dict) and name == "get":
        hashable_key(args[0])
    elif type(value) is str and name == "join":
        args = [need_plain(iterate(args[0]))]
        check_size(sum(len(str(item)) + len(value) for item in args[0]))
    elif type(value) is not str or name not in _TEXT:
        raise Unsure(f"{name}() of a {type(value).__name__} is not followed")
    return getattr(value, name)(*need_known(args), **need_known(kwargs))


@dataclasses.dataclass
class _Call:
    reading: Reading
    args: list[Any]
    kwargs: dict[str, Any]
    node: ast.AST
    scope: Scope

    def known(self) -> dict[str, Any]:
        """The keywords, where all that is given is known. Raises Blocked."""
        need_known([*self.args, *self.kwargs.values()])
        return self.kwargs


def _plain(function: Callable[..., Any], call: _Call) -> Any:
    """A function of numbers and texts."""
    for item in call.args if function is range else ():
        check_size(abs(item))
    return function(*need_plain(call.args), **need_plain(call.kwargs))


def _of_items(function: Callable[..., Any], call: _Call) -> Any:
    """A function of the items of one iterable."""
    return function(iterate(call.args[0]) if len(call.args) == 1 else call.args, **call.kwargs)


def _compared(function: Callable[..., Any], call: _Call) -> Any:
    """A function of the items of one iterable, which it compares: so a set may be one, too."""
    if "key" in call.kwargs:
        raise Unsure(f"{function.__name__}() with a key is not followed")
    source = call.args[0] if len(call.args) == 1 else call.args
    items = list(source) if isinstance(source, (set, frozenset)) else iterate(source)
    return function(hashable_key(items), **call.known())


def _dict(make: Callable[..., Any], call: _Call) -> Any:
    source = call.args[0] if call.args else {}
    if not isinstance(source, dict):
        source = {hashable_key(key): value for key, value in map(iterate, iterate(source))}
    return make({**source, **call.kwargs})


def _input(call: _Call) -> Any:
    # What these words say decides no type: where it is not known, the rest of the signature still is.
    words = {**dict(zip(("default",), call.args, strict=False)), **call.kwargs}
    for name, value in words.items():
        if name not in ("default", "title", "description", "examples") or getattr(value, "is_error", True):
            need_known(value)
    try:
        return cog.input.Input(*call.args, **call.kwargs)
    except TypeError as error:
        return call.reading.unknown(str(error), call.node, call.scope, is_error=True)


_FIELD_WORDS = frozenset(item.name for item in dataclasses.fields(FieldInfo)) - {"default", "deprecated", "order"}


def _pydantic_field(call: _Call) -> Any:
    words = call.known()
    known = {name: value for name, value in words.items() if name in _FIELD_WORDS}
    if "pattern" in words:
        known["regex"] = words["pattern"]
    if words.get("deprecated"):
        known["deprecated"] = True
    default = call.args[0] if call.args else words.get("default", ...)
    if "default_factory" in words:
        default = need_known(_factory(words["default_factory"])())
    return FieldInfo(default=MISSING if default is ... else default, **known)


def _factory(factory: Any) -> Any:
    if not isinstance(need_known(factory), partial) and factory not in (list, dict, set):
        raise Unsure("this default_factory is not followed")
    return factory


def _dataclass_field(call: _Call) -> Any:
    _factory(call.kwargs.get("default_factory", list))
    return dataclasses.field(**call.kwargs)


def _dataclass(call: _Call) -> Any:
    def decorate(cls: Any) -> Any:
        record = call.reading.class_record(cls)
        if record is None:
            raise Unsure("this class is not known")
        made = dataclasses.dataclass(**call.known())(cls)
        call.reading.records[id(made)] = (made, record)  # slots=True makes another class
        return made

    return decorate(call.args[0]) if call.args else Native(decorate)


def _same(call: _Call) -> Any:
    """A decorator that keeps the signature; with arguments, what it gives does."""
    is_decorator = len(call.args) == 1 and not call.kwargs and call.reading.place_of(call.args[0]) is not None
    return call.args[0] if is_decorator else Native(lambda function: function)


def _mark(make: Callable[..., Any], call: _Call) -> Any:
    """A function of ours that gives a decorator, which only marks."""
    try:
        made = make(*call.args, **call.known())
    except (TypeError, ValueError) as error:
        return call.reading.unknown(str(error), call.node, call.scope, is_error=True)
    return made if call.args else Native(made)


_RULES: dict[int, Callable[[_Call], Any]] = {
    **{id(function): partial(_plain, function) for function in (str, repr, int, float, bool, abs, round, range)},
    **{id(function): partial(_compared, function) for function in (sorted, min, max, set, frozenset)},
    **{id(function): partial(_of_items, function) for function in (list, tuple, len)},
    **{id(function): partial(_dict, function) for function in (dict, collections.OrderedDict)},
    **{id(function): partial(_mark, function) for function in (concurrent, batch, streaming)},
    **{id(function): _same for function in (lru_cache, cache, typing.final, enum.unique)},
    id(cog.input.Input): _input,
    id(PydanticField): _pydantic_field,
    id(dataclasses.field): _dataclass_field,
    id(dataclasses.dataclass): _dataclass,
}
# Those that only look at known values.
_PURE: tuple[Any, ...] = (
    *(abc.abstractmethod, staticmethod, classmethod, property, typing.NewType, typing.TypeVar, enum.auto),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *(pathlib.Path, pathlib.PurePath, cog.types.Path, cog.types.Secret, enum.Enum, enum.IntEnum),
    collections.namedtuple,
)
