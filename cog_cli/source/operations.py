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

from cog.input import FieldInfo
from cog_cli.source.budget import MAX_BITS, MAX_SIZE, Budget, TooMuch
from cog_cli.source.values import Blocked, KnownModule, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticBase

_NUMBERS = (int, float, bool)
_DICTS = (dict, OrderedDict, types.MappingProxyType)
_SETS = (set, frozenset)
_VIEWS: tuple[Any, ...] = tuple(
    type(getattr(kind(), name)()) for kind in (dict, OrderedDict) for name in ("keys", "values", "items")
)
_ITERABLES: tuple[Any, ...] = (list, tuple, str, range, *_DICTS, *_VIEWS)
_ATOMS = (str, bytes, *_NUMBERS, datetime.datetime, datetime.date, datetime.timedelta, range, type(None))

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
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def operate(budget: Budget, kind: ast.operator, left: Any, right: Any) -> Any:
    """`left <operator> right`. Raises Unsure, TooMuch, or what Python raises."""
    apply = _OPERATORS.get(type(kind), operator.matmul)
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        bits = right if isinstance(kind, ast.LShift) else 0
        if isinstance(kind, ast.Pow) and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right
        if bits > MAX_BITS:
            raise TooMuch("the number is too large to evaluate")
        result = apply(left, right)
        if type(result) is complex or (isinstance(result, int) and result.bit_length() > MAX_BITS):
            raise TooMuch("the number is too large to evaluate")
        return result
    size, is_followed = 0, False
    if isinstance(kind, ast.Add) and type(left) is type(right) and type(left) in (str, list, tuple):
        size, is_followed = len(left) + len(right), True
    elif isinstance(kind, ast.Mult) and type(left) in (str, list, tuple) and type(right) in (int, bool):
        size, is_followed = len(left) * max(int(right), 0), True
    elif isinstance(kind, ast.Mod) and type(left) is str:
        if "*" in left or re.search(r"%[^%a-zA-Z]*[0-9]{5,}", left):
            raise TooMuch("its width is too large to evaluate")
        need_plain(budget, need_known(budget, right))
        is_followed = True
    elif isinstance(kind, ast.BitOr):
        both = (isinstance(left, dict) and isinstance(right, dict)) or (is_type_form(left) and is_type_form(right))
        is_followed = both or (type(left) in _SETS and type(right) in _SETS)
    elif type(left) in _SETS and type(right) in _SETS:
        is_followed = isinstance(kind, (ast.BitAnd, ast.Sub))
    elif isinstance(left, pathlib.PurePath) and type(right) is str:
        is_followed = isinstance(kind, ast.Div)
    if not is_followed:
        raise Unsure(f"this operation on {_kind(left)} and {_kind(right)} is not evaluated")
    budget.check_size(size)
    return apply(left, right)


def unary(kind: ast.unaryop, value: Any) -> Any:
    """`-value` and the like. Raises Unsure."""
    if isinstance(kind, ast.Not):
        return not truth(value)
    if type(value) not in _NUMBERS:
        raise Unsure(f"this operation on {_kind(value)} is not evaluated")
    if isinstance(kind, ast.USub):
        return -value
    return +value if isinstance(kind, ast.UAdd) else ~value


def compare(budget: Budget, kind: ast.cmpop, left: Any, right: Any) -> bool:
    """`left <comparison> right`. Raises Blocked, Unsure, or what Python raises."""
    if isinstance(kind, (ast.Is, ast.IsNot)):
        if left is not None and right is not None:
            raise Unsure("the identity of objects is not evaluated")
        return (left is right) == isinstance(kind, ast.Is)
    hashable_key(budget, [left, right])
    if isinstance(kind, (ast.In, ast.NotIn)):
        is_text = type(left) is str and type(right) is str
        items = right if is_text or type(right) in _SETS else iterate(budget, right)
        return (left in items) == isinstance(kind, ast.In)
    return bool(_OPERATORS[type(kind)](left, right))


def truth(value: Any) -> bool:
    """`bool(value)`. Raises Unsure for objects, which may decide it by code."""
    if type(value) in (*_ATOMS, *_ITERABLES, *_SETS):
        return bool(value)
    raise Unsure(f"whether {_kind(value)} is true is not evaluated")


def index(budget: Budget, value: Any, key: Any) -> Any:
    """`value[key]`. Raises Blocked, Unsure, or what Python raises."""
    if type(value) in (list, str, range) or isinstance(value, tuple):
        if not isinstance(key, (int, slice)):
            raise Unsure("this index is not evaluated")
    elif type(value) in _DICTS:
        hashable_key(budget, key)
    elif isinstance(value, type) and issubclass(value, PydanticBase):
        raise Unsure("generic pydantic models are not followed")
    elif not isinstance(value, EnumMeta) and not is_type_form(value):
        raise Unsure(f"an element of {_kind(value)} is not known")
    return value[key]


def is_type_form(value: Any) -> bool:
    """Whether a value is a type, or what typing makes of types."""
    kinds = (type, types.GenericAlias, types.UnionType, typing.TypeVar, type(None))
    return isinstance(value, kinds) or type(value).__module__ in ("typing", "typing_extensions")


def iterate(budget: Budget, value: Any) -> list[Any]:
    """The items of an iterable. Raises Blocked or Unsure where they, or their order, are not known."""
    if isinstance(value, Unknown):
        raise Blocked(value)
    if type(value) in _SETS and len(value) > 1:
        raise Unsure("the order of a set is not the same in every run")
    if type(value) not in (*_ITERABLES, *_SETS) and not isinstance(value, EnumMeta):
        raise Unsure(f"the items of {_kind(value)} are not known")
    budget.check_size(len(value))
    budget.spend(len(value) // 4)
    items: list[Any] = list(value)
    return items


def format_value(budget: Budget, value: Any, conversion: int, spec: str) -> str:
    """One `{value!conversion:spec}` of an f-string. Raises Blocked, Unsure or TooMuch."""
    check_format(spec)
    need_plain(budget, need_known(budget, value))
    convert: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
    return format(convert[conversion](value) if conversion in convert else value, spec)


def check_format(spec: str) -> None:
    """Refuse widths and precisions that would make a huge text, and those that are themselves computed."""
    if re.search(r"[0-9]{5,}", spec):
        raise TooMuch("its width is too large to evaluate")
    if "{" in spec:
        raise Unsure("a computed width is not evaluated")


def need_plain(budget: Budget, value: Any) -> None:
    """Refuse values whose text is not the same everywhere (objects, enum members, sets) or is huge. Raises Unsure."""
    _check(budget, value, lambda item: type(item) in (str, *_NUMBERS, list, tuple, dict, type(None)), "text")


def hashable_key(budget: Budget, value: Any) -> Any:
    """Give `value` back if it compares without code of the project or a package. Raises Blocked or Unsure."""
    _check(budget, need_known(budget, value), _compares_plainly, "comparison")
    return value


def _check(budget: Budget, value: Any, is_plain: Callable[[Any], bool], what: str) -> None:
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        count += 1 + (len(item) if type(item) is str else 0)
        if count > MAX_SIZE:
            raise TooMuch("it is too large to evaluate")
        if not is_plain(item):
            raise Unsure(f"the {what} of {_kind(item)} is not evaluated")
        stack += parts(item)
    budget.spend(count // 8)


def _compares_plainly(value: Any) -> bool:
    if type(value) in (*_ATOMS, *_DICTS, *_SETS, *_VIEWS, list, tuple) or isinstance(value, pathlib.PurePath):
        return True
    if isinstance(type(value), EnumMeta):
        plain: tuple[Any, ...] = (object.__eq__, str.__eq__, int.__eq__)
        return type(value).__eq__ in plain
    return isinstance(value, type)


def parts(value: Any) -> list[Any]:
    """What a container, or `Input(...)`, holds."""
    if isinstance(value, FieldInfo):
        return [value.default, value.title, value.description, value.choices, value.examples]
    if isinstance(value, _DICTS):
        return [*value.keys(), *value.values()]
    is_container = isinstance(value, (list, tuple, *_SETS, *_VIEWS))
    return list(value) if is_container else []


def find_unknown(budget: Budget, value: Any) -> Unknown | None:
    """The first unknown thing in `value` or in the containers it holds."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if isinstance(item, Unknown):
            return item
        if id(item) not in seen:
            seen.add(id(item))
            budget.spend()
            stack += parts(item)
    return None


def need_known(budget: Budget, value: Any) -> Any:
    """Give `value` back if nothing in it is unknown. Raises Blocked."""
    unknown = find_unknown(budget, value)
    if unknown is not None:
        raise Blocked(unknown)
    return value


def equal(budget: Budget, left: Any, right: Any) -> bool:
    """Whether two values are known to be equal, down to the types of their items."""
    try:
        _check(budget, [left, right], lambda item: True, "size")
    except TooMuch:
        return False
    return _is_equal(left, right)


def _is_equal(left: Any, right: Any) -> bool:
    if left is right or type(left) is not type(right):
        return left is right
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    if type(left) is dict:
        return _is_equal([*left, *left.values()], [*right, *right.values()])
    # `Optional[int]` here and there; typing compares by structure.
    is_plain = type(left) in (*_ATOMS, KnownModule) or type(left).__module__ in ("typing", "types")
    return is_plain and bool(left == right)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
