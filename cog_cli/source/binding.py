"""Binding values to targets, and telling what a value is that comes from either of two places."""

from __future__ import annotations

import ast
from typing import Any

from cog_cli.source.operations import iterate
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, Blocked, GiveUp, KnownModule, Stream, Unsure


def bind_target(reading: Reading, target: ast.expr, value: Any, scope: Scope) -> None:
    """Bind names, or tuples of names, as `for` and `=` do."""
    if isinstance(value, Stream):
        value = reading.unknown("an iterator that is kept is not followed", target, scope).with_aliases(value.items)
    if isinstance(target, ast.Name):
        scope.names[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part, item in zip(target.elts, unpack(reading, target, value, scope), strict=True):
            bind_target(reading, part.value if isinstance(part, ast.Starred) else part, item, scope)
    else:
        raise GiveUp(reading.unknown("this assignment is not followed", target, scope))


def unpack(reading: Reading, target: ast.Tuple | ast.List, value: Any, scope: Scope) -> list[Any]:
    """The values for the elements of `target`, all unknown if `value` is."""
    try:
        items = iterate(reading, value)
    except (Blocked, Unsure) as error:
        unknown = error.unknown if isinstance(error, Blocked) else reading.unknown(str(error), target, scope)
        return [unknown.with_aliases([value])] * len(target.elts)
    stars = [position for position, part in enumerate(target.elts) if isinstance(part, ast.Starred)]
    if stars and len(items) >= len(target.elts) - 1:
        after = len(target.elts) - stars[0] - 1
        end = len(items) - after
        return [*items[: stars[0]], items[stars[0] : end], *items[end:]]
    if len(items) != len(target.elts):
        failure = reading.failure(f"{len(items)} values cannot be unpacked into {len(target.elts)}", target, scope)
        return [failure] * len(target.elts)
    return items


def either(reading: Reading, values: list[Any]) -> Any:
    """The value that is one of `values`, ABSENT if they differ or are unknown."""
    first = values[0]
    if all(value is first for value in values[1:]):
        return first if first is not ABSENT else ABSENT
    if any(value is ABSENT for value in values) or not all(_equal(reading, first, value) for value in values[1:]):
        return ABSENT
    if isinstance(first, (list, dict)):
        copy = first.copy()
        reading.link(copy, values)
        return copy
    return first if not isinstance(first, tuple) or all(_is_atom(item) for item in first) else ABSENT


def _equal(reading: Reading, left: Any, right: Any) -> bool:
    """Whether two values are known to be equal and to stay so, down to the types of their items."""
    if type(left) is not type(right) or reading.find_unknown([left, right]) is not None:
        return False
    if type(left) in (list, tuple) and len(left) == len(right):
        return all(
            _is_atom(old) and type(old) is type(new) and old == new for old, new in zip(left, right, strict=True)
        )
    if type(left) is dict and list(left) == list(right):
        return _equal(reading, list(left.values()), list(right.values()))
    if _is_atom(left) or isinstance(left, KnownModule):
        return bool(left == right)
    # `Optional[int]` here and there; typing compares by structure.
    return left is right or (type(left).__module__ in ("typing", "types") and bool(left == right))


def _is_atom(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool)
