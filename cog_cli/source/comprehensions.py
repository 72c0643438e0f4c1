"""Comprehensions and generator expressions over known iterables."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from cog_cli.source.binding import bind_target
from cog_cli.source.budget import TooMuch
from cog_cli.source.effects import taint_effects
from cog_cli.source.operations import hashable_key, iterate, need_itself_known, truth
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import Blocked, Stream, Unsure


def list_comprehension(reading: Reading, node: ast.ListComp, scope: Scope) -> list[Any]:
    return _comprehension(reading, node, scope, lambda inner: reading.evaluate(node.elt, inner))


def set_comprehension(reading: Reading, node: ast.SetComp, scope: Scope) -> set[Any]:
    return set(
        _comprehension(reading, node, scope, lambda inner: hashable_key(reading, reading.evaluate(node.elt, inner)))
    )


def dict_comprehension(reading: Reading, node: ast.DictComp, scope: Scope) -> dict[Any, Any]:
    def pair(inner: Scope) -> tuple[Any, Any]:
        return hashable_key(reading, reading.evaluate(node.key, inner)), reading.evaluate(node.value, inner)

    return dict(_comprehension(reading, node, scope, pair))


def generator(reading: Reading, node: ast.GeneratorExp, scope: Scope) -> Any:
    """The items of a generator expression that is an argument, where it is used up at once."""
    try:
        return Stream(_comprehension(reading, node, scope, lambda inner: reading.evaluate(node.elt, inner)))
    except Blocked as error:
        return error.unknown
    except (Unsure, TooMuch) as error:
        return reading.unknown(str(error), node, scope)


def _comprehension(reading: Reading, node: Any, scope: Scope, make: Callable[[Scope], Any]) -> list[Any]:
    results: list[Any] = []

    def loop(position: int, inner: Scope) -> None:
        if position == len(node.generators):
            results.append(make(inner))
            reading.budget.check_size(len(results))
            return
        part = node.generators[position]
        if part.is_async:
            raise Unsure("an asynchronous comprehension is not evaluated")
        for item in iterate(reading, reading.evaluate(part.iter, inner if position else scope)):
            reading.budget.spend()
            bind_target(reading, part.target, item, inner)
            if all(truth(need_itself_known(reading, reading.evaluate(test, inner))) for test in part.ifs):
                loop(position + 1, inner)

    try:
        loop(0, Scope(scope.module, scope))
    except (Blocked, Unsure, TooMuch) as error:
        cause = error.unknown if isinstance(error, Blocked) else reading.unknown(str(error), node, scope)
        taint_effects(reading, node, scope, cause)
        raise
    return results
