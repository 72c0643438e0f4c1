"""`find_binders`: which statements bind which names, and a few things that their form tells."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence

STAR = "*"


def bound_names(nodes: Iterable[ast.AST], spend: Callable[[int], None]) -> Iterator[str]:
    """The names that `nodes` bind where they stand, not those of functions, classes and comprehensions inside."""
    stack: list[ast.AST] = list(nodes)
    while stack:
        node = stack.pop()
        spend(1)
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
            inside = [item for item in ast.walk(node) if isinstance(item, ast.NamedExpr)]
            yield from (item.target.id for item in inside)
        elif not isinstance(node, (ast.Lambda, ast.Constant)):
            name = getattr(node, "name", None) if not isinstance(node, ast.alias) else None
            if isinstance(name, str):  # `except ... as name`, `case name`
                yield name
            if isinstance(node, ast.MatchMapping) and node.rest:
                yield node.rest
            if not (isinstance(node, ast.AnnAssign) and node.value is None):
                stack.extend(ast.iter_child_nodes(node))


def find_binders(body: Sequence[ast.stmt], spend: Callable[[int], None]) -> dict[str, list[int]]:
    """The statements of `body` that bind each name, by their numbers."""
    found: dict[str, list[int]] = {}
    for number, node in enumerate(body):
        for name in set(bound_names([node], spend)) if not is_main_guard(node) else ():
            found.setdefault(name, []).append(number)
    return found


def is_main_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` without else: never true where a predictor is imported."""
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.test, ast.Compare)
        and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")
    )


def always_raises(body: Sequence[ast.stmt]) -> bool:
    """Whether a body cannot be left at its end: the import of the module would fail, or the process end."""
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return bool(last.orelse) and always_raises(last.body) and always_raises(last.orelse)
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return ast.unparse(last.value.func) in ("sys.exit", "exit", "quit", "os._exit", "os.abort")
    return isinstance(last, ast.Raise)


def yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a generator."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        item = stack.pop()
        if isinstance(item, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(item))
    return False
