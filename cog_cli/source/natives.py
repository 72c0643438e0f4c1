"""`call_native`: the functions of Python, `cog`, `typing` and pydantic that a reading may call, and their rules."""

from __future__ import annotations

import abc
import ast
import builtins
import collections
import dataclasses
import datetime
import enum
import functools
import pathlib
import posixpath
import typing
from collections.abc import Callable
from typing import Any

import cog.input
import cog.predictor
import cog.types
from cog.input import MISSING, FieldInfo
from cog_cli.source.attributes import attribute
from cog_cli.source.operations import hashable_key, iterate, need_itself_known, need_known, need_plain
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, Blocked, Native, Stream, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticConfig, PydanticField


@dataclasses.dataclass
class _Call:
    reading: Reading
    args: list[Any]
    kwargs: dict[str, Any]
    node: ast.AST
    scope: Scope

    def known(self) -> _Call:
        need_known(self.reading, [*self.args, *self.kwargs.values()])
        return self

    def items(self, position: int = 0) -> list[Any]:
        return iterate(self.reading, self.args[position])

    def failure(self, reason: str) -> Unknown:
        return self.reading.failure(reason, self.node, self.scope)


def call_native(
    reading: Reading, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST, scope: Scope
) -> Any:
    """The result of calling `function`, ABSENT if it is none of those. Raises Blocked, Unsure, or what it raises."""
    rule = _RULES.get(id(function))
    return ABSENT if rule is None else rule(_Call(reading, args, kwargs, node, scope))


def _pure(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    """A function that only looks at known values."""

    def rule(call: _Call) -> Any:
        call.known()
        args = [value.items if isinstance(value, Stream) else value for value in call.args]
        return function(*args, **call.kwargs)

    return rule


def _text(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    """A function that writes its argument as text."""

    def rule(call: _Call) -> Any:
        call.known()
        if len(call.args) == 1 and isinstance(call.args[0], (pathlib.PurePath,)) and function is str:
            return str(call.args[0])
        for value in call.args:
            need_plain(call.reading, value)
        return function(*call.args, **call.kwargs)

    return rule


def _number(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        for value in call.known().args:
            if type(value) not in (int, float, bool, str):
                raise Unsure("this number is not evaluated")
        return function(*call.args, **call.kwargs)

    return rule


def _length(call: _Call) -> int:
    (value,) = call.args
    need_itself_known(call.reading, value)
    if isinstance(value, (str, list, tuple, dict, set, frozenset, range, enum.EnumMeta)) or hasattr(value, "mapping"):
        return len(value)
    raise Unsure("this length is not known")


def _collect(make: Callable[[Any], Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        return make(call.items()) if call.args else make([])

    return rule


def _collect_set(make: Callable[[Any], Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        if call.args and isinstance(call.args[0], (set, frozenset)):
            return make(call.known().args[0])
        return make([hashable_key(call.reading, item) for item in (call.items() if call.args else [])])

    return rule


def _make_dict(call: _Call) -> dict[Any, Any]:
    if not call.args:
        return dict(call.kwargs)
    source = need_itself_known(call.reading, call.args[0])
    if isinstance(source, dict):
        return {**source, **call.kwargs}
    pairs = [iterate(call.reading, item) for item in call.items()]
    return {**{hashable_key(call.reading, key): value for key, value in pairs}, **call.kwargs}


def _ordered(call: _Call) -> Any:
    return collections.OrderedDict(_make_dict(call))


def _range(call: _Call) -> range:
    result = range(*call.known().args)
    call.reading.budget.check_size(len(result) if abs(len(result)) < 2**62 else 2**62)
    return result


def _ranked(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    """`sorted`, `min`, `max`, with their `key`."""

    def rule(call: _Call) -> Any:
        options = dict(call.kwargs)
        key = options.pop("key", None)
        source = call.args[0] if len(call.args) == 1 else call.args
        items = list(source) if isinstance(source, (set, frozenset)) else iterate(call.reading, source)
        ranks = items if key is None else [call.reading.call(key, [item], {}, call.node, call.scope) for item in items]
        need_known(call.reading, [ranks, list(options.values())])
        hashable_key(call.reading, list(ranks))
        if function is not sorted and not items:
            return options["default"]
        if isinstance(source, (set, frozenset)) and key is not None:
            raise Unsure("the order of a set is not the same in every run")
        order = sorted(range(len(items)), key=ranks.__getitem__, reverse=bool(options.get("reverse", False)))
        if function is sorted:
            return [items[position] for position in order]
        if function is min:
            return items[min(range(len(items)), key=ranks.__getitem__)]
        return items[max(range(len(items)), key=ranks.__getitem__)]

    return rule


def _enumerate(call: _Call) -> Stream:
    start = call.args[1] if len(call.args) > 1 else call.kwargs.get("start", 0)
    return Stream(list(enumerate(call.items(), need_known(call.reading, start))))


def _zip(call: _Call) -> Stream:
    strict = need_known(call.reading, call.kwargs.get("strict", False))
    return Stream(list(zip(*[call.items(position) for position in range(len(call.args))], strict=strict)))


def _reversed(call: _Call) -> Stream:
    return Stream(call.items()[::-1])


def _map(call: _Call) -> Stream:
    rows = zip(*[call.items(position) for position in range(1, len(call.args))], strict=False)
    return Stream([call.reading.call(call.args[0], list(row), {}, call.node, call.scope) for row in rows])


def _sum(call: _Call) -> Any:
    items = call.items()
    if any(type(item) not in (int, float, bool) for item in need_known(call.reading, items)):
        raise Unsure("this sum is not evaluated")
    return sum(items, *call.args[1:], **call.kwargs)


def _any_all(function: Callable[..., Any]) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        items = need_known(call.reading, call.items())
        if any(type(item) not in (int, float, bool, str, type(None)) for item in items):
            raise Unsure("this is not evaluated")
        return function(items)

    return rule


def _getattr(call: _Call) -> Any:
    value, name, *default = call.args
    if type(name) is not str:
        raise Unsure("the name of this attribute is not known")
    if default and isinstance(value, type) and call.reading.class_record(value) is not None:
        return getattr(value, name, default[0])
    if default:
        raise Unsure("getattr() with a default is not evaluated here")
    return attribute(call.reading, value, name, call.node, call.scope)


def _change_attribute(call: _Call) -> None:
    cause = call.reading.unknown("setattr() is not followed", call.node, call.scope)
    call.reading.taint(call.args, cause)


def _nothing(call: _Call) -> None:
    return None


def _input(call: _Call) -> Any:
    call.known()
    try:
        return cog.input.Input(*call.args, **call.kwargs)
    except TypeError as error:
        return call.failure(str(error))


_FIELD_WORDS = frozenset(item.name for item in dataclasses.fields(FieldInfo)) - {"default", "deprecated", "order"}


def _pydantic_field(call: _Call) -> Any:
    known = {name: value for name, value in call.kwargs.items() if name in _FIELD_WORDS}
    if "pattern" in call.kwargs:
        known["regex"] = call.kwargs["pattern"]
    if call.kwargs.get("deprecated"):
        known["deprecated"] = True
    default = call.args[0] if call.args else call.kwargs.get("default", ...)
    factory = call.kwargs.get("default_factory")
    if factory is not None:
        default = call.reading.call(factory, [], {}, call.node, call.scope)
    need_known(call.reading, [default, *known.values()])
    return FieldInfo(default=MISSING if default is ... else default, **known)


def _dataclass_field(call: _Call) -> Any:
    options = dict(call.kwargs)
    factory = options.pop("default_factory", None)
    if factory is not None:
        made = call.reading.call(factory, [], {}, call.node, call.scope)
        options["default_factory"] = lambda: made
    return dataclasses.field(**options)


def _dataclass(call: _Call) -> Any:
    need_known(call.reading, list(call.kwargs.values()))

    def decorate(cls: Any) -> Any:
        record = call.reading.class_record(cls)
        if record is None:
            raise Unsure("this class is not known")
        made = dataclasses.dataclass(**call.kwargs)(cls)
        call.reading.classes[id(made)] = (made, record)  # slots=True makes another class
        return made

    return decorate(call.args[0]) if call.args else Native(decorate)


def _wraps(call: _Call) -> Native:
    wrapped = call.args[0]
    if call.reading.function_record(wrapped) is None or len(call.args) > 1 or call.kwargs:
        raise Blocked(wrapped) if isinstance(wrapped, Unknown) else Unsure("functools.wraps of this is not followed")

    def decorate(wrapper: Any) -> Any:
        if call.reading.function_record(wrapper) is None:
            raise Unsure("functools.wraps around this is not followed")
        vars(wrapper).update({name: value for name, value in vars(wrapped).items() if name != "__signature__"})
        del wrapper.__signature__  # inspect then follows __wrapped__, as it does for real functions
        wrapper.__wrapped__ = wrapped
        record = call.reading.function_record(wrapper)
        assert record is not None
        record.can_run = False
        return wrapper

    return Native(decorate)


def _same_function(call: _Call) -> Any:
    """A decorator that keeps the signature; with arguments, what it gives does."""
    if len(call.args) == 1 and not call.kwargs and call.reading.function_record(call.args[0]) is not None:
        return call.args[0]
    return Native(lambda function: function)


def _mark(make: Callable[..., Any]) -> Callable[[_Call], Any]:
    """A function of ours that gives a decorator, which only marks."""

    def rule(call: _Call) -> Any:
        call.known()
        try:
            return Native(make(*call.args, **call.kwargs))
        except (TypeError, ValueError) as error:
            return call.failure(str(error))

    return rule


def _streaming(call: _Call) -> Any:
    return cog.predictor.streaming(*call.args) if call.args else Native(cog.predictor.streaming)


def _enumeration(cls: Any) -> Callable[[_Call], Any]:
    def rule(call: _Call) -> Any:
        call.known()
        return cls(*call.args, **call.kwargs)

    return rule


def _typed(function: Any) -> Callable[[_Call], Any]:
    """`TypedDict("X", {...})` and the like; forward references in them are not followed."""

    def rule(call: _Call) -> Any:
        call.known()
        fields = call.args[1] if len(call.args) > 1 else {}
        values = list(fields.values()) if isinstance(fields, dict) else [item for pair in fields for item in pair[1:]]
        if any(isinstance(value, str) or "ForwardRef" in repr(value) for value in values):
            raise Unsure("types given as text are not followed here")
        return function(*call.args, **call.kwargs)

    return rule


_RULES: dict[int, Callable[[_Call], Any]] = {
    **{id(function): _pure(function) for function in (chr, ord, divmod)},
    **{id(function): _text(function) for function in (str, repr)},
    **{id(function): _number(function) for function in (int, float, bool, abs, round)},
    **{id(function): _ranked(function) for function in (sorted, min, max)},
    **{id(function): _any_all(function) for function in (any, all)},
    **{id(function): _collect(function) for function in (list, tuple)},
    **{id(function): _collect_set(function) for function in (set, frozenset)},
    **{id(function): _change_attribute for function in (setattr, delattr)},
    id(len): _length,
    id(dict): _make_dict,
    id(collections.OrderedDict): _ordered,
    id(range): _range,
    id(enumerate): _enumerate,
    id(zip): _zip,
    id(reversed): _reversed,
    id(map): _map,
    id(sum): _sum,
    id(getattr): _getattr,
    id(print): _nothing,
    id(cog.input.Input): _input,
    id(cog.predictor.concurrent): _mark(cog.predictor.concurrent),
    id(cog.predictor.batch): _mark(cog.predictor.batch),
    id(cog.predictor.streaming): _streaming,
    id(PydanticField): _pydantic_field,
    id(PydanticConfig): _nothing,
    id(dataclasses.field): _dataclass_field,
    id(dataclasses.dataclass): _dataclass,
    id(functools.wraps): _wraps,
    **{
        id(function): _same_function
        for function in (functools.lru_cache, functools.cache, typing.final, enum.unique, typing.runtime_checkable)
    },
    **{id(function): _pure(function) for function in (abc.abstractmethod, staticmethod, classmethod, property)},
    **{
        id(cls): _pure(cls)
        for cls in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)
    },
    **{id(cls): _pure(cls) for cls in (pathlib.Path, pathlib.PurePath, cog.types.Path, cog.types.Secret, enum.auto)},
    **{id(getattr(posixpath, name)): _pure(getattr(posixpath, name)) for name in ("join", "basename", "dirname")},
    **{id(getattr(posixpath, name)): _pure(getattr(posixpath, name)) for name in ("splitext", "normpath")},
    **{id(function): _pure(function) for function in (typing.NewType, typing.TypeVar)},
    id(typing.cast): lambda call: call.args[1],
    id(collections.namedtuple): _pure(collections.namedtuple),
    **{id(function): _typed(function) for function in (typing.TypedDict, typing.NamedTuple)},
    **{id(cls): _enumeration(cls) for cls in (enum.Enum, enum.IntEnum)},
}
assert builtins.range is range  # ids above are of the builtins themselves
