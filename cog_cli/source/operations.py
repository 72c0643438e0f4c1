"""What may be done with known values: which are plain, how large they may be, indexing, iteration, comparison.

Values are real Python objects of exact, known types; anything else gives `Unsure`, never a guess.
"""

from __future__ import annotations

import ast
import datetime
import operator
import pathlib
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import EnumMeta
from typing import Any

from cog.input import FieldInfo
from cog_cli.source.values import Blocked, KnownModule, Unknown, Unsure

# Characters of a text, items of a container with all that they hold.
MAX_SIZE = 200_000
_MAX_POWER = 64

_NUMBERS = (int, float, bool)
_DICTS = (dict, OrderedDict, types.MappingProxyType)
_SETS = (set, frozenset)
_VIEWS = tuple(type(getattr(kind(), name)()) for kind in (dict, OrderedDict) for name in ("keys", "values", "items"))
_ITERABLES: tuple[Any, ...] = (list, tuple, str, range, *_DICTS, *_VIEWS)
_ATOMS = (str, bytes, *_NUMBERS, datetime.datetime, datetime.date, datetime.timedelta, range, type(None))
_PLAIN = (str, *_NUMBERS, list, tuple, dict, type(None))

_SYMBOLS = (
    "Add:add Sub:sub Mult:mul Div:truediv FloorDiv:floordiv Mod:mod Pow:pow BitOr:or_ USub:neg UAdd:pos "
    "Eq:eq NotEq:ne Lt:lt LtE:le Gt:gt GtE:ge"
)
_OPERATORS: dict[type, Callable[..., Any]] = {
    getattr(ast, kind): getattr(operator, name) for kind, _, name in (item.partition(":") for item in _SYMBOLS.split())
}


def operate(kind: ast.AST, *values: Any) -> Any:
    """`left <operator> right`, or `<operator> value`. Raises Unsure, or what Python raises."""
    kinds, size = [type(value) for value in values], 0
    is_followed = type(kind) in _OPERATORS
    if all(each in _NUMBERS for each in kinds):
        is_followed = is_followed and not (isinstance(kind, ast.Pow) and abs(values[1]) > _MAX_POWER)
        size = sum(abs(value).bit_length() for value in values if type(value) is int)
    elif isinstance(kind, ast.Add):
        is_followed = kinds[0] is kinds[-1] and kinds[0] in (str, list, tuple)
        size = sum(map(len, values)) if is_followed else 0
    elif isinstance(kind, ast.Mult):
        is_followed = kinds[0] in (str, list, tuple) and kinds[1] is int
        size = len(values[0]) * values[1] if is_followed else 0
    elif isinstance(kind, ast.BitOr):
        is_followed = all(each in _DICTS for each in kinds) or all(map(is_type_form, values))
    else:
        is_followed = isinstance(kind, ast.Div) and isinstance(values[0], pathlib.PurePath) and kinds[1] is str
    if not is_followed:
        raise Unsure(f"this operation on {' and '.join(map(_kind, values))} is not evaluated")
    check_size(size)
    return _OPERATORS[type(kind)](*values)


def compare(kind: ast.cmpop, left: Any, right: Any) -> bool:
    """`left <comparison> right`. Raises Blocked, Unsure, or what Python raises."""
    if isinstance(kind, (ast.Is, ast.IsNot)):
        if left is not None and right is not None:
            raise Unsure("the identity of objects is not evaluated")
        return (left is right) == isinstance(kind, ast.Is)
    hashable_key([left, right])
    if isinstance(kind, (ast.In, ast.NotIn)):
        items = right if type(left) is type(right) is str or type(right) in _SETS else iterate(right)
        return (left in items) == isinstance(kind, ast.In)
    return bool(_OPERATORS[type(kind)](left, right))


def truth(value: Any) -> bool:
    """`bool(value)`. Raises Unsure for objects, which may decide it by code."""
    if type(value) in (*_ATOMS, *_ITERABLES, *_SETS):
        return bool(value)
    raise Unsure(f"whether {_kind(value)} is true is not evaluated")


def index(value: Any, key: Any) -> Any:
    """`value[key]`. Raises Blocked, Unsure, or what Python raises."""
    is_sequence = type(value) in (list, str, range) or isinstance(value, tuple)
    if not is_sequence and type(value) not in _DICTS and not isinstance(value, EnumMeta) and not is_type_form(value):
        raise Unsure(f"an element of {_kind(value)} is not known")
    return value[hashable_key(key) if type(value) in _DICTS else key]


def is_type_form(value: Any) -> bool:
    """Whether a value is a type, or what typing makes of types."""
    kinds = (type, types.GenericAlias, types.UnionType, typing.TypeVar, type(None))
    return isinstance(value, kinds) or type(value).__module__ in ("typing", "typing_extensions")


def iterate(value: Any) -> list[Any]:
    """The items of an iterable. Raises Blocked or Unsure where they, or their order, are not known."""
    if isinstance(value, Unknown):
        raise Blocked(value)
    if type(value) in _SETS and len(value) > 1:
        raise Unsure("the order of a set is not the same in every run")
    if type(value) not in (*_ITERABLES, *_SETS) and not isinstance(value, EnumMeta):
        raise Unsure(f"the items of {_kind(value)} are not known")
    check_size(len(value))
    items: list[Any] = list(value)
    return items


def unpack(target: ast.expr, value: Any) -> dict[str, Any]:
    """What `target = value` binds to names. Raises Blocked or Unsure."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    names, items = [getattr(part, "id", None) for part in getattr(target, "elts", ())], iterate(value)
    if len(items) != len(names) or None in names:
        raise Unsure("how the items are unpacked is not followed")
    return dict(zip(map(str, names), items, strict=True))


def check_size(size: float) -> None:
    """Refuse a text or container of `size` before it is made. Raises Unsure."""
    if size > MAX_SIZE:
        raise Unsure("it is too large to evaluate")


def need_plain(value: Any) -> Any:
    """Give `value` back if its text is the same everywhere: no objects, enum members, sets. Raises Blocked, Unsure."""
    return _check(value, lambda item: type(item) in _PLAIN, "text")


def hashable_key(value: Any) -> Any:
    """Give `value` back if it compares without code of the project or a package. Raises Blocked or Unsure."""
    return _check(value, _compares_plainly, "comparison")


def _check(value: Any, is_plain: Callable[[Any], bool], what: str) -> Any:
    stack, size = [need_known(value)], 0
    while stack:
        item = stack.pop()
        size += 1 + (len(item) if type(item) is str else 0)
        check_size(size)
        if not is_plain(item):
            raise Unsure(f"the {what} of {_kind(item)} is not evaluated")
        stack += parts(item)
    return value


def _compares_plainly(value: Any) -> bool:
    if isinstance(type(value), EnumMeta):
        plain: tuple[Any, ...] = (object.__eq__, str.__eq__, int.__eq__)
        return type(value).__eq__ in plain
    known = (*_ATOMS, *_DICTS, *_SETS, *_VIEWS, list, tuple, slice)
    return type(value) in known or isinstance(value, (pathlib.PurePath, type))


def parts(value: Any) -> list[Any]:
    """What a container, or `Input(...)`, holds."""
    if isinstance(value, FieldInfo):
        return [value.default, value.title, value.description, value.choices, value.examples]
    if isinstance(value, _DICTS):
        return [*value.keys(), *value.values()]
    is_container = isinstance(value, (list, tuple, *_SETS, *_VIEWS))
    return list(value) if is_container else []


def walk(value: Any) -> Iterator[Any]:
    """`value`, and all that it and its parts hold, each once."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if id(item) not in seen:
            yield item
            seen.add(id(item))
            stack += parts(item)


def find_unknown(value: Any) -> Unknown | None:
    """The first unknown thing in `value` or in the containers it holds."""
    return next((item for item in walk(value) if isinstance(item, Unknown)), None)


def need_known(value: Any) -> Any:
    """Give `value` back if nothing in it is unknown. Raises Blocked."""
    unknown = find_unknown(value)
    if unknown is not None:
        raise Blocked(unknown)
    return value


def is_too_large(value: Any) -> bool:
    """Whether `value`, written out, is larger than a default can sensibly be."""
    stack, size = [value], 0
    while stack and size <= MAX_SIZE:
        size += 1
        stack += parts(stack.pop())
    return size > MAX_SIZE


def equal(left: Any, right: Any) -> bool:
    """Whether two values are known to be equal, down to the types of their items."""
    if left is right or type(left) is not type(right) or is_too_large([left, right]):
        return left is right
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if type(left) is dict:
        return equal([*left, *left.values()], [*right, *right.values()])
    # `Optional[int]` here and there; typing compares by structure.
    is_plain = type(left) in (*_ATOMS, KnownModule) or type(left).__module__ in ("typing", "types")
    return is_plain and bool(left == right)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
