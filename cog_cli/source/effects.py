"""`taint_effects`: what code that is not followed may change."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.slicing import STAR, collect_names
from cog_cli.source.usage import usage
from cog_cli.source.values import Unknown


def taint_effects(reading: Reading, node: ast.AST, scope: Scope, cause: Unknown) -> Unknown:
    """Give up what the calls inside `node` mention, for it is not known which of them run; gives `cause` back."""
    if any(isinstance(item, (ast.Call, ast.NamedExpr)) for item in _walk(reading, node)):
        reading.taint_usage(usage(node), scope, cause)
    return cause


def _walk(reading: Reading, node: ast.AST) -> Iterator[ast.AST]:
    for item in ast.walk(node):
        reading.budget.spend()
        yield item


def abandon(reading: Reading, node: ast.stmt, scope: Scope, cause: Unknown) -> None:
    """Treat a statement as one that may bind and change anything that it mentions."""
    names = collect_names(node, spend=reading.budget.spend)
    reading.taint_usage(usage(node), scope, cause)
    for name in names.stores - {STAR}:
        scope.owner(name).names[name] = cause
