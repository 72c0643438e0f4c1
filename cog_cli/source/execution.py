"""`execute`: what the statements of a module or class bind to names, in their order, without running any code.

Of branches, where the condition is not known, each is followed, and what they do not agree on is unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cog_cli.source.annotations import write_type
from cog_cli.source.operations import equal, truth, unpack
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.values import ABSENT, Blocked, Unknown, Unsure

_MAX_OPTIONS = 8


def execute(reading: Reading, body: Iterable[ast.stmt], scope: Scope) -> None:
    """Bind in `scope` what the statements of `body` bind."""
    for node in body:
        reading.spend()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            scope.names.update(reading.imported(node, scope))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            scope.names[node.name] = reading.define(node, scope)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            _assign(reading, node, scope)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
            made = ast.copy_location(ast.BinOp(name, node.op, node.value), node)
            scope.names[name.id] = reading.evaluate(made, scope)
        elif isinstance(node, ast.If) and not is_main_guard(node):
            _if(reading, node, scope)
        elif isinstance(node, ast.Try):
            _try(reading, node, scope)
        elif not is_main_guard(node):
            kind = type(node).__name__.removeprefix("Async").lower()
            _forget(reading, [node], f"`{{}}` is bound in a `{kind}` statement, which is not followed", node, scope)


def _forget(reading: Reading, nodes: Sequence[ast.AST], reason: str, at: ast.AST, scope: Scope) -> None:
    """Make what `nodes` bind unknown."""
    for name in bound_names(nodes):
        scope.names[name] = reading.unknown(reason.format(name), at, scope)


def _assign(reading: Reading, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and scope.annotations is not None:
        name = node.target.id
        scope.annotations[name] = reading.unknown(f"`{name}` is declared under a condition", node, scope)
        if not scope.is_branch:
            late = replace(scope, parent=scope.module.scope)  # texts see all names of the module
            scope.annotations[name] = write_type(reading, node.annotation, scope, late)
    if node.value is None:
        return
    value = reading.evaluate(node.value, scope)
    _forget(reading, [node.value], "`{}` is bound within an expression", node, scope)
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, (ast.Name, ast.Tuple, ast.List)):
            _forget(reading, [target], "how `{}` is unpacked is not followed", node, scope)
            with suppress(Blocked, Unsure):
                scope.names.update(unpack(target, value))


def decide(reading: Reading, test: ast.expr, scope: Scope) -> bool | Unknown:
    """Whether a condition holds."""
    value = reading.evaluate(test, scope)
    try:
        return value if isinstance(value, Unknown) else truth(value)
    except Unsure as error:
        return reading.unknown(str(error), test, scope)


def _if(reading: Reading, node: ast.If, scope: Scope) -> None:
    is_true = decide(reading, node.test, scope)
    if not isinstance(is_true, Unknown):
        execute(reading, node.body if is_true else node.orelse, scope)
        return
    # A body that always raises cannot be the one: the import succeeds.
    bodies = [body for body in (node.body, node.orelse) if not _always_raises(body)]
    _merge(reading, [_run(reading, body, scope) for body in bodies], node, scope)


def _try(reading: Reading, node: ast.Try, scope: Scope) -> None:
    handlers = [item for item in node.handlers if not _always_raises(item.body)]
    ways = [] if _always_raises(node.body) else [_run(reading, [*node.body, *node.orelse], scope)]
    # Nobody knows how much of the body has run.
    ways += [_run(reading, handler.body, scope, [*node.body, handler]) for handler in handlers]
    _merge(reading, ways, node, scope)
    execute(reading, node.finalbody, scope)


def _run(reading: Reading, body: Sequence[ast.stmt], scope: Scope, forgotten: Sequence[ast.AST] = ()) -> dict[str, Any]:
    """What is bound after `body`, before which nobody knows what `forgotten` has bound."""
    inner = replace(scope, names=dict(scope.names), is_branch=True)
    for node in forgotten:
        _forget(reading, [node], "`{}` depends on where an exception comes", node, inner)
    execute(reading, body, inner)
    return inner.names


def _merge(reading: Reading, ways: list[dict[str, Any]], node: ast.AST, scope: Scope) -> None:
    """Bind what all `ways` agree on. Where one does not bind a name, it counts as bound, for else reading it fails;
    only in a class nothing may read it."""
    for name in dict.fromkeys(name for way in ways for name in way):
        around = Scope(scope.module, scope.parent)
        values = [way[name] if name in way else around.find(name) for way in ways]
        known = [value for value in values if value is not ABSENT]
        scope.names[name] = either(reading, known, f"`{name}` depends on a condition", node, scope)
        if scope.annotations is not None and len(known) < len(values):
            scope.names[name] = reading.unknown(f"whether there is `{name}` depends on a condition", node, scope)


def either(reading: Reading, values: list[Any], reason: str, node: ast.AST, scope: Scope) -> Any:
    """The one value that all of `values` are, or Unknown for that reason, which keeps them as what it may be."""
    if all(equal(value, values[0]) for value in values):
        return values[0]
    options = [item for value in values for item in getattr(value, "options", ()) or (value,)]
    is_known = len(options) <= _MAX_OPTIONS and not any(isinstance(item, Unknown) for item in options)
    return Unknown(reason, scope.module.place(node), options=tuple(options) if is_known else ())


def bound_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that `nodes` bind where they stand, not those of functions, classes and comprehensions inside."""
    stack: list[ast.AST] = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
            stack += node.decorator_list
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            # `:=` inside binds outside.
            yield from (item.target.id for item in ast.walk(node) if isinstance(item, ast.NamedExpr))
        elif not isinstance(node, (ast.Lambda, ast.Constant, ast.alias)):
            for name in (getattr(node, "name", None), getattr(node, "rest", None)):
                if isinstance(name, str):  # `except ... as name`, `case name`
                    yield name
            if not (isinstance(node, ast.AnnAssign) and node.value is None):
                stack.extend(ast.iter_child_nodes(node))


def is_main_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` without else: never true where a predictor is imported."""
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    return ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _always_raises(body: Sequence[ast.stmt]) -> bool:
    """Whether a body cannot be left at its end: the import of the module would fail, or the process end."""
    last = body[-1] if body else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return ast.unparse(last.value.func) in ("sys.exit", "exit", "quit", "os._exit", "os.abort")
    return isinstance(last, ast.Raise)
