"""`execute`: statements in their order, with every condition that cannot be decided taken both ways."""

from __future__ import annotations

import ast
import collections
from collections.abc import Callable
from enum import Enum
from typing import Any

from cog_cli.source.assignments import assign, bind, delete
from cog_cli.source.binding import either
from cog_cli.source.budget import OutOfSteps, TooMuch
from cog_cli.source.effects import abandon
from cog_cli.source.functions import lazy_annotation
from cog_cli.source.operations import iterate, need_itself_known, need_known, operate, truth
from cog_cli.source.packages import is_plain_context
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, Blocked, GiveUp, LazyImport, Unknown, Unsure, force
from cog_cli.source.vocabulary import find_known, is_known_module


class Next(Enum):
    """Where execution goes after a statement."""

    ON = "on"
    RETURN = "return"
    BREAK = "break"
    CONTINUE = "continue"
    RAISE = "raise"


def execute(reading: Reading, body: list[ast.stmt], scope: Scope) -> Next:
    """Run statements in `scope`. Raises OutOfSteps, and GiveUp where what they do cannot be followed."""
    for node in body:
        after = _statement(reading, node, scope)
        if after is not Next.ON:
            return after
    return Next.ON


_COMPOUND = (ast.If, ast.For, ast.While, ast.Try, ast.With)


def _statement(reading: Reading, node: ast.stmt, scope: Scope) -> Next:
    reading.budget.spend()
    begin = len(reading.operands)
    rule = _RULES.get(type(node))
    names = dict(scope.names) if isinstance(node, _COMPOUND) else None
    try:
        reading.budget.enter()
        try:
            if rule is None:
                raise GiveUp(reading.unknown(f"`{type(node).__name__.lower()}` is not followed", node, scope))
            return rule(reading, node, scope) or Next.ON
        finally:
            reading.budget.depth -= 1
            del reading.operands[begin:]
    except (OutOfSteps, RecursionError):
        raise
    except (GiveUp, Blocked) as error:
        cause = error.unknown
    except (Unsure, TooMuch) as error:
        cause = reading.unknown(str(error), node, scope)
    except Exception as error:
        cause = reading.unknown(f"it raises {type(error).__name__}: {error}", node, scope)
    if names is not None:
        scope.names = names
    abandon(reading, node, scope, cause)
    if _leaves(node):
        raise GiveUp(cause)
    return Next.ON


def _leaves(node: ast.stmt) -> bool:
    """Whether a statement may return, or leave a loop around it."""
    stack: list[tuple[ast.AST, bool]] = [(node, False)]
    while stack:
        item, in_loop = stack.pop()
        if isinstance(item, ast.Return) or (isinstance(item, (ast.Break, ast.Continue)) and not in_loop):
            return True
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            inner = in_loop or isinstance(item, (ast.For, ast.While, ast.AsyncFor))
            stack.extend((part, inner) for part in ast.iter_child_nodes(item))
    return False


def _expression(reading: Reading, node: ast.Expr, scope: Scope) -> None:
    reading.evaluate(node.value, scope)


def _assign(reading: Reading, node: ast.Assign, scope: Scope) -> None:
    value = reading.evaluate(node.value, scope)
    for target in node.targets:
        assign(reading, target, value, scope)


def _annotated_assign(reading: Reading, node: ast.AnnAssign, scope: Scope) -> None:
    if node.value is not None:
        assign(reading, node.target, reading.evaluate(node.value, scope), scope)
    if scope.is_class and isinstance(node.target, ast.Name) and node.simple:
        condition = reading.unknown(f"`{node.target.id}` is declared under a condition", node, scope)
        is_sure = not reading.uncertain
        scope.annotations[node.target.id] = lazy_annotation(reading, node.annotation, scope) if is_sure else condition


def _augmented_assign(reading: Reading, node: ast.AugAssign, scope: Scope) -> None:
    load = ast.copy_location(_as_load(node.target), node.target)
    left = reading.evaluate(load, scope)
    right = reading.evaluate(node.value, scope)
    in_place = isinstance(left, (list, dict, set))
    if isinstance(left, Unknown):
        reading.taint([left, right], left)  # it may be a list that is known by another name
    if in_place and (reading.uncertain or isinstance(right, Unknown) or not isinstance(node.target, ast.Name)):
        reading.taint([left, right], reading.unknown(f"`{ast.unparse(node.target)}` is changed", node, scope))
        return
    if in_place:
        reading.changing(left, scope.module.place(node))
    if type(left) is list and isinstance(node.op, ast.Add):
        left.extend(iterate(reading, right))
        reading.budget.check_size(len(left))
        return
    if type(left) is dict and isinstance(node.op, ast.BitOr) and type(right) is dict:
        left.update(need_itself_known(reading, right))
        return
    if in_place:
        raise Unsure("this change is not followed")
    value: Any = left if isinstance(left, Unknown) else right
    if not isinstance(value, Unknown):
        value = operate(reading, node.op, need_itself_known(reading, left), need_known(reading, right))
    assign(reading, node.target, value, scope)


def _as_load(target: ast.expr) -> ast.expr:
    if isinstance(target, ast.Name):
        return ast.Name(target.id, ast.Load())
    if isinstance(target, ast.Attribute):
        return ast.Attribute(target.value, target.attr, ast.Load())
    assert isinstance(target, ast.Subscript)
    return ast.Subscript(target.value, target.slice, ast.Load())


def _if(reading: Reading, node: ast.If, scope: Scope) -> Next:
    bodies: list[list[ast.stmt]] = []
    current = node
    while True:  # a loop, not recursion: every `elif` nests
        test = _test(reading, current.test, scope, may_not_run=bool(bodies))
        if test is not False:
            bodies.append(current.body)
        if test is True:
            break
        if len(current.orelse) != 1 or not isinstance(current.orelse[0], ast.If):
            bodies.append(current.orelse)
            break
        current = current.orelse[0]
    return execute(reading, bodies[0], scope) if len(bodies) == 1 else _either(reading, bodies, scope, node)


def _test(reading: Reading, node: ast.expr, scope: Scope, *, may_not_run: bool) -> bool | None:
    try:
        if may_not_run:
            with reading.maybe(scope):
                return truth(need_itself_known(reading, reading.evaluate(node, scope)))
        return truth(need_itself_known(reading, reading.evaluate(node, scope)))
    except (Blocked, Unsure):
        return None


def _either(reading: Reading, bodies: list[list[ast.stmt]], scope: Scope, node: ast.stmt) -> Next:
    """Run one of several bodies, it is not known which. One that always raises cannot be it: the import succeeds."""
    bodies = [body for body in bodies if not _always_raises(body)]
    if not bodies:
        return Next.RAISE
    if len(bodies) == 1:
        return execute(reading, bodies[0], scope)
    before = scope.names
    results = []
    for body in bodies:
        names = _forked(reading, body, scope, before)
        if names is not None:
            results.append(names)
    scope.names = _merge(reading, results, scope, node)
    return Next.ON


def _forked(reading: Reading, body: list[ast.stmt], scope: Scope, before: dict[str, Any]) -> dict[str, Any] | None:
    """The names after `body` if they were `before`; None if it raises."""
    scope.names = dict(before)
    reading.uncertain += 1
    reading.forks.append(scope)
    try:
        after = execute(reading, body, scope)
        if after is Next.RAISE:
            return None
        if after is not Next.ON:
            raise GiveUp(reading.unknown(f"`{after.value}` under a condition that is not known", body[0], scope))
        return scope.names
    finally:
        reading.uncertain -= 1
        reading.forks.pop()
        scope.names = before


def _interrupted(
    reading: Reading, body: list[ast.stmt], before: dict[str, Any], after: dict[str, Any] | None, scope: Scope
) -> dict[str, Any]:
    """The names if `body` was left after any of its statements, or not at all; `after` is None if that is certain."""
    stores = collections.Counter(name for node in body for item in ast.walk(node) for name in _bound_by(item))
    names = dict(before) if after is None else _merge(reading, [before, after], scope, body[0])
    for name in {*stores, *(key for key in names if before.get(key, ABSENT) is not names[key])}:
        # Bound once, it has one of two values; bound in a loop, or by a call, it may have had others in between.
        if stores[name] != 1 or any(isinstance(item, (ast.For, ast.While)) for item in body):
            cause = reading.unknown(f"`{name}` depends on where an exception comes", body[0], scope)
            names[name] = cause.with_aliases([before.get(name), names.get(name), *reading.bound])
    return names


def _bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []


def _merge(reading: Reading, results: list[dict[str, Any]], scope: Scope, node: ast.stmt) -> dict[str, Any]:
    if not results:
        return scope.names
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for names in results for name in names):
        values = [names.get(name, ABSENT) for names in results]
        if any(value is not values[0] for value in values) and all(isinstance(value, LazyImport) for value in values):
            values = [force(value) for value in values]
        merged[name] = either(reading, values)
        if merged[name] is ABSENT:
            cause = next((value for value in values if isinstance(value, Unknown)), None)
            reason = f"`{name}` depends on a condition that is not known here"
            merged[name] = (cause or reading.unknown(reason, node, scope)).with_aliases(map(force, values))
    return merged


def _always_raises(body: list[ast.stmt]) -> bool:
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return _always_raises(last.body) and _always_raises(last.orelse)
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return ast.unparse(last.value.func) in ("sys.exit", "exit", "quit", "os._exit", "os.abort")
    return isinstance(last, ast.Raise)


def _try(reading: Reading, node: ast.Try, scope: Scope) -> Next:
    handlers = [item for item in node.handlers if not _always_raises(item.body)]
    if not handlers or _cannot_raise(node.body):
        after = execute(reading, [*node.body, *node.orelse], scope)
        return execute(reading, node.finalbody, scope) if after is Next.ON else after
    before = scope.names
    if not reading.uncertain:
        reading.bound.clear()
    tried = _forked(reading, node.body, scope, before)
    partial = _interrupted(reading, node.body, before, tried, scope)
    results = []
    if tried is not None:
        results.append(_forked(reading, node.orelse, scope, tried))
    for handler in handlers:
        names = dict(partial)
        if handler.name:
            names[handler.name] = reading.unknown("an exception", handler, scope)
        results.append(_forked(reading, handler.body, scope, names))
    scope.names = _merge(reading, [names for names in results if names is not None], scope, node)
    return execute(reading, node.finalbody, scope)


def _cannot_raise(body: list[ast.stmt]) -> bool:
    """Whether a `try` body is only imports of names that exist wherever a model runs, or plain values."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            module = "" if node.level else node.module or ""
            names = [alias.name for alias in node.names]
            if not is_known_module(module) or any(find_known(module, name) is ABSENT for name in names):
                return False
        elif isinstance(node, ast.Import):
            if not all(is_known_module(alias.name) and not alias.name.startswith("pydantic") for alias in node.names):
                return False
        elif not isinstance(node, ast.Pass) and not (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.targets[0], ast.Name)
        ):
            return False
    return True


def _with(reading: Reading, node: ast.With, scope: Scope) -> Next:
    is_plain = True
    for item in node.items:
        context = reading.evaluate(item.context_expr, scope)
        is_plain = is_plain and is_plain_context(context)
        if item.optional_vars is not None:
            cause = reading.unknown(f"`{ast.unparse(item.context_expr)}` is not known", item.context_expr, scope)
            assign(reading, item.optional_vars, cause, scope)
    if is_plain:
        return execute(reading, node.body, scope)
    # contextlib.suppress and its like may end the body anywhere.
    before = scope.names
    if not reading.uncertain:
        reading.bound.clear()
    after = _forked(reading, node.body, scope, before)
    scope.names = _interrupted(reading, node.body, before, after, scope)
    return Next.ON


def _for(reading: Reading, node: ast.For, scope: Scope) -> Next:
    for item in iterate(reading, reading.evaluate(node.iter, scope)):
        reading.budget.spend()
        assign(reading, node.target, item, scope)
        after = execute(reading, node.body, scope)
        if after is Next.BREAK:
            return Next.ON
        if after in (Next.RETURN, Next.RAISE):
            return after
    return execute(reading, node.orelse, scope)


def _while(reading: Reading, node: ast.While, scope: Scope) -> Next:
    while truth(need_itself_known(reading, reading.evaluate(node.test, scope))):
        reading.budget.spend()
        after = execute(reading, node.body, scope)
        if after is Next.BREAK:
            return Next.ON
        if after in (Next.RETURN, Next.RAISE):
            return after
    return execute(reading, node.orelse, scope)


def _define_function(reading: Reading, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
    bind(reading, node.name, reading.make_function(node, scope), scope)


def _define_class(reading: Reading, node: ast.ClassDef, scope: Scope) -> None:
    bind(reading, node.name, reading.make_class(node, scope), scope)


def _import(reading: Reading, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
    for name, value in reading.import_name(node, scope).items():
        bind(reading, name, value, scope)


def _type_alias(reading: Reading, node: Any, scope: Scope) -> None:
    value = reading.evaluate(node.value, scope)
    if node.type_params or isinstance(value, Unknown):
        # What it names may be defined further down.
        value = reading.unknown(f"the type alias {node.name.id} is not followed", node, scope)
    bind(reading, node.name.id, value, scope)


def _return(reading: Reading, node: ast.Return, scope: Scope) -> Next:
    scope.returned = None if node.value is None else reading.evaluate(node.value, scope)
    return Next.RETURN


def _assert(reading: Reading, node: ast.Assert, scope: Scope) -> None:
    reading.evaluate(node.test, scope)


def _global(reading: Reading, node: ast.Global, scope: Scope) -> None:
    scope.global_names.update(node.names)


_RULES: dict[type, Callable[[Reading, Any, Scope], Next | None]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated_assign,
    ast.AugAssign: _augmented_assign,
    ast.Delete: delete,
    ast.If: _if,
    ast.Try: _try,
    ast.With: _with,
    ast.For: _for,
    ast.While: _while,
    ast.FunctionDef: _define_function,
    ast.AsyncFunctionDef: _define_function,
    ast.ClassDef: _define_class,
    ast.Import: _import,
    ast.ImportFrom: _import,
    **({ast.TypeAlias: _type_alias} if hasattr(ast, "TypeAlias") else {}),
    ast.Return: _return,
    ast.Raise: lambda reading, node, scope: Next.RAISE,
    ast.Assert: _assert,
    ast.Global: _global,
    ast.Pass: lambda reading, node, scope: Next.ON,
    ast.Break: lambda reading, node, scope: Next.BREAK,
    ast.Continue: lambda reading, node, scope: Next.CONTINUE,
}
