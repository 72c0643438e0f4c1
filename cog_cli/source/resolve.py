"""`resolve`: an annotation with the texts in it (forward references) evaluated, so that typing never evaluates them."""

from __future__ import annotations

import ast
import types
import typing
from typing import Any

from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import Unknown

_MAX_DEPTH = 30
# Subscribed with computed members, which is no type expression to type checkers.
_UNION: Any = typing.Union
_ANNOTATED: Any = typing.Annotated


def resolve(reading: Reading, value: Any, scope: Scope, node: ast.AST, depth: int = 0) -> Any:
    """`value` without texts; names in them are those of `scope`. Unknown if a part of it is."""
    if depth > _MAX_DEPTH:
        return reading.unknown("the type is nested too deeply", node, scope)
    if isinstance(value, typing.ForwardRef):
        value = value.__forward_arg__
    if isinstance(value, str):
        return _text(reading, value, scope, node, depth)
    if isinstance(value, Unknown):
        return value
    if type(value).__name__ == "TypeAliasType":
        return resolve(reading, value.__value__, scope, node, depth + 1)
    if hasattr(value, "__supertype__"):
        inner = resolve(reading, value.__supertype__, scope, node, depth + 1)
        return value if inner is value.__supertype__ else inner
    metadata = getattr(value, "__metadata__", None)
    if metadata is not None:
        inner = resolve(reading, value.__origin__, scope, node, depth + 1)
        if inner is value.__origin__ or isinstance(inner, Unknown):
            return value if inner is value.__origin__ else inner
        members = (inner, *metadata)
        return _ANNOTATED[members]
    origin = typing.get_origin(value)
    if origin is None or origin is typing.Literal:
        return value
    return _generic(reading, value, origin, scope, node, depth)


def _generic(reading: Reading, value: Any, origin: Any, scope: Scope, node: ast.AST, depth: int) -> Any:
    before = typing.get_args(value)
    after = []
    for item in before:
        is_list = isinstance(item, list)  # the parameters of a Callable
        after.append(item if is_list else resolve(reading, item, scope, node, depth + 1))
    unknown = next((item for item in after if isinstance(item, Unknown)), None)
    if unknown is not None:
        return unknown
    if all(new is old for new, old in zip(after, before, strict=True)):
        return value
    if origin in (typing.Union, types.UnionType):
        members = tuple(after)
        return _UNION[members]
    if isinstance(value, types.GenericAlias):
        return origin[tuple(after)]
    return value.copy_with(tuple(after))


def _text(reading: Reading, text: str, scope: Scope, node: ast.AST, depth: int) -> Any:
    if len(text) > 10_000:
        return reading.unknown("the annotation is too long", node, scope)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return reading.failure(f"the annotation {text!r} cannot be parsed: {error}", node, scope)
    for item in ast.walk(tree):
        if hasattr(item, "lineno"):
            ast.copy_location(item, node)
    return resolve(reading, reading.evaluate(tree.body, scope), scope, node, depth + 1)
