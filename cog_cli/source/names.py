"""`find_name`: the value that a name has at a place, from the statements before it that bind it.

Nothing is executed: the last binder counts, and of branches, where the condition is not known, all that agree.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from cog_cli.source.budget import TooMuch
from cog_cli.source.operations import equal, iterate, truth
from cog_cli.source.reading import Reading, Scope, builtin
from cog_cli.source.statements import STAR, always_raises, bound_names, find_binders
from cog_cli.source.values import ABSENT, Blocked, Unknown, Unsure
from cog_cli.source.vocabulary import find_known, is_known_module

_MAX_OPTIONS = 8


class Names:
    """Looks names up. What a statement binds is evaluated once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._binders: dict[int, tuple[Sequence[ast.stmt], dict[str, list[int]]]] = {}
        self._values: dict[int, tuple[ast.AST, Any]] = {}
        self._bodies: dict[tuple[int, int], tuple[ast.stmt, ...]] = {}
        self._open: set[int] = set()

    def find(self, name: str, scope: Scope) -> Any:
        """The value of `name` as seen from `scope`, ABSENT if nothing binds it."""
        around: Scope | None = scope
        while around is not None:
            if name in around.names:
                return around.names[name]
            found = self.bound(name, around) if around.body else ABSENT
            if found is not ABSENT:
                return found
            around = around.parent
        return builtin(name, scope.module.place(None))

    def bound(self, name: str, scope: Scope, *, may_be_absent: bool = False) -> Any:
        """What the statements of `scope` itself, before its position, bind to `name`; ABSENT if none does.

        Where some ways bind it and others do not, it counts as bound, for else reading it would fail;
        `may_be_absent`: nothing reads it, so then it is unknown.
        """
        self._reading.budget.spend()
        binders = self.binders(scope)
        numbers = sorted({*binders.get(name, ()), *binders.get(STAR, ())})
        for number in reversed(numbers):
            self._reading.budget.spend()
            if number < scope.position:
                node = scope.body[number]
                value = self._after(node, name, scope.at(number), may_be_absent=may_be_absent)
                if value is not ABSENT:
                    return scope.module.trusted(name, value, node)
        return ABSENT

    def binders(self, scope: Scope) -> dict[str, list[int]]:
        """Which statements of a body bind which names."""
        known = self._binders.get(id(scope.body))
        if known is None:
            known = self._binders[id(scope.body)] = (scope.body, find_binders(scope.body, self._reading.budget.spend))
        return known[1]

    def _after(self, node: ast.stmt, name: str, scope: Scope, *, may_be_absent: bool) -> Any:
        """What `node`, before which everything is as in `scope`, binds to `name`; ABSENT if it does not bind it."""
        try:
            self._reading.budget.enter()
        except TooMuch as error:
            return self._reading.unknown(str(error), node, scope)
        try:
            if isinstance(node, (ast.If, ast.Try)):
                return self._of_branches(node, name, scope, may_be_absent)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == STAR:
                return self._reading.star(node, name, scope)
            return self._once(node, name, scope)
        finally:
            self._reading.budget.depth -= 1

    def _once(self, node: ast.stmt, name: str, scope: Scope) -> Any:
        """What a simple statement binds to `name`."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return self._reading.import_name(node, name, scope)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            return self._made(node, node, scope)
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return self._made(node, node.value, scope)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    return self._made(node, node.value, scope)
            for target in node.targets:
                if isinstance(target, (ast.Tuple, ast.List)):
                    return self._unpacked(node, target, name, scope)
        if type(node).__name__ == "TypeAlias":
            return self._type_alias(node, name, scope)
        if isinstance(node, ast.AugAssign):
            # As if it were `X = X + ...`: a container that it changes in place is one that may be changed, anyhow.
            return self._reading.evaluate(_operation(node), scope)
        kind = type(node).__name__.removeprefix("Async").lower()
        return self._reading.unknown(f"`{name}` is bound in a `{kind}` statement, which is not followed", node, scope)

    def _made(self, node: ast.stmt, source: ast.AST, scope: Scope) -> Any:
        known = self._values.get(id(source))
        if known is not None:
            return known[1]
        if id(source) in self._open:
            return self._reading.unknown("it is defined in a circle", node, scope)
        self._open.add(id(source))
        try:
            value = (
                self._reading.evaluate(source, scope)
                if isinstance(source, ast.expr)
                else self._reading.define(node, scope)
            )
        finally:
            self._open.discard(id(source))
        self._values[id(source)] = (source, value)
        return value

    def _unpacked(self, node: ast.Assign, target: ast.Tuple | ast.List, name: str, scope: Scope) -> Any:
        value = self._made(node, node.value, scope)
        try:
            items = iterate(self._reading.budget, value)
        except (Blocked, Unsure) as error:
            return error.unknown if isinstance(error, Blocked) else self._reading.unknown(str(error), node, scope)
        names = [ast.unparse(part) for part in target.elts]
        star = next((number for number, text in enumerate(names) if text.startswith("*")), None)
        if star is not None and len(items) >= len(names) - 1:
            end = len(items) - (len(names) - 1 - star)
            names[star], items = names[star][1:], [*items[:star], items[star:end], *items[end:]]
        if names.count(name) != 1 or len(names) != len(items):
            return self._reading.unknown(f"how `{name}` is unpacked is not followed", node, scope)
        return items[names.index(name)]

    def _type_alias(self, node: Any, name: str, scope: Scope) -> Any:
        value = self._made(node, node.value, scope)
        if node.type_params or isinstance(value, Unknown):
            # What it names may be defined further down.
            return self._reading.unknown(f"the type alias {name} is not followed", node, scope)
        return value

    # --- branches

    def _of_branches(self, node: ast.If | ast.Try, name: str, scope: Scope, may_be_absent: bool) -> Any:
        """What a statement with bodies binds to `name`, whichever of them run."""
        if isinstance(node, ast.Try) and self._bound_in([node], STAR):
            return self._reading.unknown(f"`from ... import *` in `try` may bind `{name}`", node, scope)
        if isinstance(node, ast.If):
            ways = [self._inside(body, name, scope) for body in self._possible(node, scope)]
        else:
            ways = self._of_try(node, name, scope)
        is_absent = [way is ABSENT for way in ways]
        if all(is_absent):
            return ABSENT
        if any(is_absent):
            before = self.bound(name, scope, may_be_absent=True) if may_be_absent else self.find(name, scope)
            if before is ABSENT and may_be_absent:
                return self._reading.unknown(f"whether there is `{name}` depends on a condition", node, scope)
            ways = [before if way is ABSENT else way for way in ways if way is not ABSENT or before is not ABSENT]
        return either(self._reading, ways, f"`{name}` depends on a condition", node, scope)

    def _possible(self, node: ast.If, scope: Scope) -> list[list[ast.stmt]]:
        """The bodies of which one runs. One that always raises cannot be it: the import succeeds."""
        bodies: list[list[ast.stmt]] = []
        while True:  # a loop, not recursion: every `elif` nests
            test = self._reading.evaluate(node.test, scope)
            try:
                is_true = None if isinstance(test, Unknown) else truth(test)
            except Unsure:
                is_true = None
            if is_true is not False:
                bodies.append(node.body)
            if is_true is True:
                break
            if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
                bodies.append(node.orelse)
                break
            node = node.orelse[0]
        return [body for body in bodies if not always_raises(body)]

    def _of_try(self, node: ast.Try, name: str, scope: Scope) -> list[Any]:
        """What `name` may be after a `try`: as its body left it, or as a handler did."""
        handlers = [item for item in node.handlers if not always_raises(item.body)]
        handlers = [] if _cannot_raise(node.body) else handlers
        tried = [*node.body, *node.orelse]
        if self._bound_in(node.finalbody, name):
            around = self._interrupted([*tried, *(item for handler in handlers for item in handler.body)], node, scope)
            return [self._inside(node.finalbody, name, around)]
        ways = [] if handlers and always_raises(node.body) else [self._inside(tried, name, scope)]
        for handler in handlers:
            around = self._interrupted([*node.body, handler], node, scope)
            way = self._inside(handler.body, name, around)
            ways.append(self.find(name, around) if way is ABSENT and self._bound_in(node.body, name) else way)
        return ways

    def _interrupted(self, body: list[Any], node: ast.stmt, scope: Scope) -> Scope:
        """A scope in which nobody knows how much of `body` has run."""
        names = set(bound_names(body, self._reading.budget.spend))
        unknown = [
            self._reading.unknown(f"`{name}` depends on where an exception comes", node, scope) for name in names
        ]
        return Scope(scope.module, scope, names=dict(zip(names, unknown, strict=True)))

    def _inside(self, body: Sequence[ast.stmt], name: str, scope: Scope) -> Any:
        """What `body` binds to `name` when it has run, ABSENT if nothing."""
        # One tuple for each body: what is known of it is found by its identity.
        key = (id(body[0]), len(body)) if body else (0, 0)
        inner = Scope(scope.module, scope, self._bodies.setdefault(key, tuple(body)), len(body))
        return self.bound(name, inner)

    def _bound_in(self, body: Sequence[ast.stmt], name: str) -> bool:
        return name in set(bound_names(body, self._reading.budget.spend))


def _operation(node: ast.AugAssign) -> ast.expr:
    target = getattr(node.target, "id", "")
    made = ast.BinOp(ast.copy_location(ast.Name(target, ast.Load()), node.target), node.op, node.value)
    return ast.copy_location(made, node)


def either(reading: Reading, values: list[Any], reason: str, node: ast.AST, scope: Scope) -> Any:
    """The one value that all of `values` are, or Unknown for that reason, which keeps them as what it may be."""
    if all(equal(reading.budget, value, values[0]) for value in values):
        return values[0]
    options = [item for value in values for item in getattr(value, "options", ()) or (value,)]
    is_known = len(options) <= _MAX_OPTIONS and not any(isinstance(item, Unknown) for item in options)
    return Unknown(reason, scope.module.place(node), options=tuple(options) if is_known else ())


def _cannot_raise(body: Sequence[ast.stmt]) -> bool:
    """Whether a `try` body is only imports of names that exist wherever a model runs."""
    for node in body:
        if not isinstance(node, ast.ImportFrom) or node.level or not is_known_module(node.module or ""):
            return False
        if any(find_known(node.module or "", alias.name) is ABSENT for alias in node.names):
            return False
    return True
