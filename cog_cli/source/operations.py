"""Operators, indexing, iteration and text formatting on known values, with their sizes checked beforehand.

Values are real Python objects of exact, known types; anything else gives `Unsure`, never a guess.
"""

from __future__ import annotations

import ast
import datetime
import operator
import pathlib
import re
import types
import typing
from collections import OrderedDict
from collections.abc import Callable
from enum import EnumMeta
from typing import Any

from cog_cli.source.budget import MAX_BITS, MAX_SIZE, TooMuch
from cog_cli.source.reading import ORDERED_VIEWS, VIEWS, Reading
from cog_cli.source.values import Blocked, Stream, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticBase

_NUMBERS = (int, float, bool)
_DICTS = (dict, OrderedDict, types.MappingProxyType)
_SETS = (set, frozenset)
_TIMES = (datetime.datetime, datetime.date, datetime.timedelta)

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def operate(reading: Reading, kind: ast.operator, left: Any, right: Any) -> Any:
    """`left <operator> right`. Raises Unsure, TooMuch, or what Python raises."""
    apply = _OPERATORS.get(type(kind))
    if apply is None:
        raise Unsure("this operator is not evaluated")
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        return _arithmetic(reading, kind, apply, left, right)
    if isinstance(kind, ast.Add) and type(left) is type(right) and type(left) in (str, list, tuple):
        reading.budget.check_size(len(left) + len(right))
        return left + right
    if isinstance(kind, ast.Mult):
        return _repeat(reading, left, right)
    if isinstance(kind, ast.Mod) and type(left) is str:
        return _percent(reading, left, right)
    if isinstance(kind, ast.BitOr) and isinstance(left, dict) and isinstance(right, dict):
        reading.budget.check_size(len(left) + len(right))
        return left | right
    if type(left) in _SETS and type(right) in _SETS and not isinstance(kind, ast.Add):
        return apply(left, right)
    if isinstance(kind, ast.BitOr) and is_type_form(left) and is_type_form(right):
        return left | right
    if isinstance(kind, ast.Div) and isinstance(left, pathlib.PurePath) and type(right) is str:
        return left / right
    if type(left) in _TIMES and type(right) in _TIMES:
        return apply(left, right)
    raise Unsure(f"this operation on {_kind(left)} and {_kind(right)} is not evaluated")


def _arithmetic(reading: Reading, kind: ast.operator, apply: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    if isinstance(kind, ast.Pow) and whole and right > 0 and left.bit_length() * right > MAX_BITS:
        raise TooMuch("the power is too large to evaluate")
    if isinstance(kind, ast.LShift) and right > MAX_BITS:
        raise TooMuch("the shift is too large to evaluate")
    result = apply(left, right)
    if type(result) is complex:
        raise Unsure("complex numbers are not evaluated")
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise TooMuch("the number is too large to evaluate")
    return result


def _repeat(reading: Reading, left: Any, right: Any) -> Any:
    if type(left) in (int, bool):
        left, right = right, left
    if type(left) not in (str, list, tuple) or type(right) not in (int, bool):
        raise Unsure(f"this operation on {_kind(left)} and {_kind(right)} is not evaluated")
    reading.budget.check_size(len(left) * max(int(right), 0))
    return left * right


def _percent(reading: Reading, template: str, values: Any) -> str:
    if "*" in template:
        raise Unsure("a width of `*` is not evaluated")
    if re.search(r"%[^%a-zA-Z]*[0-9]{5,}", template):
        raise TooMuch("its width is too large to evaluate")
    for value in values if type(values) is tuple else (values,):
        need_plain(reading, value)
    result: str = template % values
    reading.budget.check_size(len(result))
    return result


def check_format(spec: str) -> None:
    """Refuse widths and precisions that would make a huge text, and those that are themselves computed."""
    if re.search(r"[0-9]{5,}", spec):
        raise TooMuch("its width is too large to evaluate")
    if "{" in spec:
        raise Unsure("a computed width is not evaluated")


def need_plain(reading: Reading, value: Any) -> None:
    """Refuse values whose text is not the same everywhere (objects, enum members, sets) or is huge. Raises Unsure."""
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        count += 1
        if count > MAX_SIZE:
            raise TooMuch("it is too large to evaluate")
        if type(item) in (list, tuple):
            stack.extend(item)
        elif type(item) is dict:
            stack.extend([*item.keys(), *item.values()])
        elif type(item) is str:
            count += len(item)
        elif item is not None and type(item) not in _NUMBERS:
            raise Unsure(f"the text of {_kind(item)} is not evaluated")
    reading.budget.check_size(count)


def compare(reading: Reading, kind: ast.cmpop, left: Any, right: Any) -> Any:
    """`left <comparison> right`; both without anything unknown. Raises Unsure, or what Python raises."""
    if isinstance(kind, (ast.Is, ast.IsNot)):
        if (
            left is not None
            and right is not None
            and not (isinstance(left, (bool, type)) and isinstance(right, (bool, type)))
        ):
            raise Unsure("the identity of objects is not evaluated")
        return (left is right) == isinstance(kind, ast.Is)
    if isinstance(kind, (ast.In, ast.NotIn)):
        if type(right) is str and type(left) is str:
            return (left in right) == isinstance(kind, ast.In)
        need_comparable(reading, left)
        items = list(right) if type(right) in _SETS else iterate(reading, right)
        for item in items:
            need_comparable(reading, item)
        return (left in items) == isinstance(kind, ast.In)
    need_comparable(reading, left)
    need_comparable(reading, right)
    return _COMPARISONS[type(kind)](left, right)


def need_comparable(reading: Reading, value: Any) -> None:
    """Refuse values that may compare by code of the project or a package. Raises Unsure."""
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        count += 1
        if count > MAX_SIZE:
            raise TooMuch("it is too large to evaluate")
        if type(item) in (list, tuple, set, frozenset):
            stack.extend(item)
        elif type(item) in _DICTS:
            stack.extend([*item.keys(), *item.values()])
        elif not _compares_plainly(item):
            raise Unsure(f"the comparison of {_kind(item)} is not evaluated")
    reading.budget.spend(count // 8)


def _compares_plainly(value: Any) -> bool:
    if value is None or type(value) in (str, bytes, *_NUMBERS, *_TIMES, range) or isinstance(value, pathlib.PurePath):
        return True
    if isinstance(type(value), EnumMeta):
        plain: tuple[Any, ...] = (object.__eq__, str.__eq__, int.__eq__)
        return type(value).__eq__ in plain
    return isinstance(value, type) and type(value) is type


def iterate(reading: Reading, value: Any) -> list[Any]:
    """The items of an iterable. Raises Blocked or Unsure where they, or their order, are not known."""
    unknown = value if isinstance(value, Unknown) else reading.taint_of(value)
    if unknown is not None:
        raise Blocked(unknown)
    if isinstance(value, Stream):
        items, value.items = value.items, []
        return items
    if type(value) in _SETS:
        if len(value) > 1:
            raise Unsure("the order of a set is not the same in every run")
        return list(value)
    if type(value) in (list, tuple, str, range, *_DICTS, *VIEWS, *ORDERED_VIEWS) or isinstance(value, EnumMeta):
        reading.budget.check_size(len(value))
        reading.budget.spend(len(value) // 4)
        return list(value)
    raise Unsure(f"the items of {_kind(value)} are not known")


def index(reading: Reading, value: Any, key: Any) -> Any:
    """`value[key]`. Raises Unsure, or what Python raises."""
    if type(value) in (list, str, range) or isinstance(value, tuple):
        if not isinstance(key, (int, slice)):
            raise Unsure("this index is not evaluated")
        return value[key]
    if type(value) in _DICTS:
        need_comparable(reading, key)
        return value[key]
    if isinstance(value, type) and issubclass(value, PydanticBase):
        raise Unsure("generic pydantic models are not followed")
    if isinstance(value, EnumMeta) or is_type_form(value):
        return value[key]
    raise Unsure(f"an element of {_kind(value)} is not known")


def is_type_form(value: Any) -> bool:
    """Whether a value is a type, or what typing makes of types."""
    return (
        value is None
        or isinstance(value, (type, types.GenericAlias, types.UnionType, typing.TypeVar))
        or type(value).__module__ in ("typing", "typing_extensions")
    )


def need_known(reading: Reading, value: Any) -> Any:
    """Give `value` back if nothing in it is unknown. Raises Blocked."""
    unknown = reading.find_unknown(value)
    if unknown is not None:
        raise Blocked(unknown)
    return value


def need_itself_known(reading: Reading, value: Any) -> Any:
    """As `need_known`, but what a container holds may be unknown."""
    unknown = value if isinstance(value, Unknown) else reading.taint_of(value)
    if unknown is not None:
        raise Blocked(unknown)
    return value


def hashable_key(reading: Reading, value: Any) -> Any:
    """Give `value` back if it can be a key without code of the project. Raises Blocked or Unsure."""
    need_comparable(reading, need_known(reading, value))
    return value


def unary(kind: ast.unaryop, value: Any) -> Any:
    """`-value` and the like. Raises Unsure."""
    if isinstance(kind, ast.Not):
        return not truth(value)
    if type(value) not in _NUMBERS:
        raise Unsure(f"this operation on {_kind(value)} is not evaluated")
    if isinstance(kind, ast.USub):
        return -value
    return +value if isinstance(kind, ast.UAdd) else ~value


def truth(value: Any) -> bool:
    """`bool(value)`. Raises Unsure for objects, which may decide it by code."""
    plain = (str, bytes, list, tuple, set, frozenset, range, *_NUMBERS, *_DICTS, *VIEWS, *ORDERED_VIEWS)
    if value is None or type(value) in plain:
        return bool(value)
    if isinstance(value, (type, types.FunctionType)) and type(value) in (type, types.FunctionType):
        return True
    raise Unsure(f"whether {_kind(value)} is true is not evaluated")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
