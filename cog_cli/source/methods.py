"""Methods of texts, lists, dicts, sets and paths: which are called, and what is checked before."""

from __future__ import annotations

import pathlib
import string
from collections import OrderedDict
from typing import Any

from cog_cli.source.budget import TooMuch
from cog_cli.source.operations import check_format, iterate, need_comparable, need_known, need_plain
from cog_cli.source.reading import ORDERED_VIEWS, VIEWS, Reading
from cog_cli.source.values import Blocked, Place, Unknown, Unsure


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT = _words(
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper encode"
)
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_PURE: dict[type, frozenset[str]] = {
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"copy", "get", "keys", "values", "items"}),
    set: _words("copy union intersection difference symmetric_difference issubset issuperset isdisjoint"),
    int: frozenset({"bit_length"}),
    float: frozenset({"is_integer"}),
}
_PURE[OrderedDict] = _PURE[dict]
_PURE[frozenset] = _PURE[set]
_PURE[bool] = _PURE[int]
_CHANGING: dict[type, frozenset[str]] = {
    list: frozenset({"append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort"}),
    dict: frozenset({"update", "setdefault", "pop", "popitem", "clear"}),
    set: frozenset({"add", "discard", "remove", "update", "clear"}),
}
_CHANGING[OrderedDict] = _CHANGING[dict]
_PATH = frozenset({"joinpath", "with_suffix", "with_name", "as_posix", "is_absolute"})
_PATH_ATTRIBUTES = frozenset({"name", "stem", "suffix", "parent", "parts"})


def has_methods(value: Any) -> bool:
    """Whether `call_method` is for values of this type."""
    kinds = (str, *_PURE, *VIEWS, *ORDERED_VIEWS)
    return type(value) in kinds or isinstance(value, pathlib.PurePath)


def path_attribute(value: pathlib.PurePath, name: str) -> Any:
    """An attribute of a path that its text alone decides. Raises Unsure."""
    if name not in _PATH_ATTRIBUTES:
        raise Unsure(f"`{name}` of a path is not evaluated")
    return getattr(value, name)


def call_method(reading: Reading, value: Any, name: str, args: list[Any], kwargs: dict[str, Any], place: Place) -> Any:
    """`value.name(...)`, written at `place`. Raises Blocked, Unsure, TooMuch, or what Python raises.

    A change of a list, dict or set is made, unless a condition of unknown outcome is around it: then the value is
    given up.
    """
    if type(value) is str:
        return _text_method(reading, value, name, args, kwargs)
    if isinstance(value, pathlib.PurePath):
        need_known(reading, [args, kwargs])
        if name not in _PATH:
            raise Unsure(f"{name}() of a path is not evaluated")
        return getattr(value, name)(*args, **kwargs)
    if name in _CHANGING.get(type(value), ()):
        try:
            return _change(reading, value, name, args, kwargs, place)
        except (Blocked, Unsure, TooMuch):
            reading.taint([value], Unknown(f"{name}() of a {type(value).__name__} with something unknown", place))
            raise
    if name not in _PURE.get(type(value), ()):
        if type(value) in _CHANGING:
            reading.taint([value, *args], Unknown(f"{name}() of a {type(value).__name__} is not followed", place))
        raise Unsure(f"{name}() of a {type(value).__name__} is not evaluated")
    if name in ("count", "index"):
        need_known(reading, [value, args])
    if name in ("count", "index", "get"):
        for item in [*args[:1], *(value if name != "get" else ())]:
            need_comparable(reading, item)
    if type(value) in (set, frozenset):
        args = [_items(reading, item, any_order=True) for item in args]
    return getattr(value, name)(*args, **kwargs)


def _change(reading: Reading, value: Any, name: str, args: list[Any], kwargs: dict[str, Any], place: Place) -> Any:
    if reading.uncertain:
        cause = Unknown(f"{name}() under a condition that is not known", place)
        reading.taint([value, *args], cause)
        return cause
    reading.changing(value, place)
    if name == "update" and type(value) is not set:
        return _update(reading, value, args, kwargs)
    if name in ("extend", "update"):
        args = [_items(reading, item, any_order=type(value) is set) for item in args]
    if name == "sort" and "key" in kwargs:
        reading.taint([value], Unknown("sort() with a key is not followed", place))
        return None
    if name == "sort":
        need_comparable(reading, value)
    if name in ("remove", "setdefault", "add", "discard") or (name == "pop" and type(value) is not list):
        for item in [*args[:1], *(value if name == "remove" else ())]:
            need_known(reading, item)
            need_comparable(reading, item)
    reading.budget.check_size(len(value) + sum(len(item) for item in args if isinstance(item, list)))
    return getattr(value, name)(*args, **kwargs)


def _update(reading: Reading, value: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    for item in args:
        pairs = item if isinstance(item, dict) else dict(_items(reading, item))
        for key in pairs:
            need_known(reading, key)
            need_comparable(reading, key)
        value.update(pairs)
    value.update(kwargs)
    reading.budget.check_size(len(value))


def _text_method(reading: Reading, value: str, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if name == "join":
        items = _items(reading, args[0])
        need_known(reading, items)
        reading.budget.check_size(sum(len(item) + len(value) for item in items if type(item) is str))
        return value.join(items)
    need_known(reading, [args, kwargs])
    if name == "format":
        return _format(reading, value, args, kwargs)
    if name == "replace" and len(args) >= 2:
        reading.budget.check_size((value.count(args[0]) if args[0] else len(value) + 1) * len(args[1]) + len(value))
    elif name in _PADDING:
        if any(type(item) is int and item > 10_000 for item in [*args, *kwargs.values()]):
            raise TooMuch("it is too large to evaluate")
    elif name not in _TEXT:
        raise Unsure(f"{name}() of a text is not evaluated")
    result = getattr(value, name)(*args, **kwargs)
    if isinstance(result, (str, list)):
        reading.budget.check_size(len(result))
    return result


def _format(reading: Reading, template: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    for _, field, spec, _ in string.Formatter().parse(template):
        check_format(spec or "")
        if field is not None and ("." in field or "[" in field):
            raise Unsure("attributes and indexes in a format text are not evaluated")
    for item in [*args, *kwargs.values()]:
        need_plain(reading, item)
    result = template.format(*args, **kwargs)
    reading.budget.check_size(len(result))
    return result


def _items(reading: Reading, value: Any, *, any_order: bool = False) -> list[Any]:
    return list(value) if any_order and type(value) in (set, frozenset) else iterate(reading, value)
