"""`Pieces`: the top-level statements of a module, and which of them decide the value of a name.

A module is read name by name, and only the statements that concern the name are evaluated, in their order. Besides
those that bind the name these are the ones that might change the object it names (`CHOICES.append("x")`,
`register(CHOICES)`, `alias = CHOICES`, a call of a function whose body mentions it).
"""

from __future__ import annotations

import ast
import bisect
import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# Builtins through which a module's names can be bound without being written.
_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "sys.modules"})
STAR = "*"
# Stands for whatever a function body imports.
IMPORT = "import"
# More than any file has that was written by hand; beyond it each costs as much as twenty.
MAX_STATEMENTS = 10_000


@dataclass
class Names:
    """The names that a statement mentions: bound by it, read when it runs, and mentioned in bodies that run later."""

    stores: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    imports: list[ast.stmt] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """One top-level statement; imports are split into one piece per name."""

    node: ast.stmt
    names: Names
    is_inert: bool  # the object it binds cannot be changed by others

    @property
    def mentions(self) -> set[str]:
        """The names that running this statement may touch."""
        is_definition = isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if is_definition and not self.node.decorator_list:  # type: ignore[attr-defined]  # all three have it
            return self.names.loads
        return self.names.loads | self.names.deferred


class Pieces:
    """A module's top-level statements with the indexes that `concerning` needs."""

    def __init__(
        self,
        tree: ast.Module,
        *,
        lazy_annotations: bool,
        is_project_import: Callable[[ast.stmt], bool],
        spend: Callable[[int], None],
    ) -> None:
        self._spend = spend
        spend(20 * (len(tree.body) - MAX_STATEMENTS) if len(tree.body) > MAX_STATEMENTS else 0)
        self.all: list[Piece] = []
        self.binders: dict[str, list[int]] = {}
        self._readers: dict[str, list[int]] = {}
        self._owners: dict[str, set[str]] = {}
        # Bound by imports of the project's own modules: through each, all objects of those may be reached.
        self._project_names: set[str] = {IMPORT}
        for node in _split_imports(tree.body):
            if _is_main_guard(node):
                continue
            spend(1)
            names = collect_names(node, lazy_annotations=lazy_annotations, spend=spend)
            self._add(node, names, is_project_import)
        self._dynamic = self._touching(_DYNAMIC)

    def _add(self, node: ast.stmt, names: Names, is_project_import: Callable[[ast.stmt], bool]) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            is_inert = STAR not in names.stores and not is_project_import(node)
        else:
            is_inert = isinstance(node, ast.Assign) and _is_immutable(node.value)
        if any(is_project_import(item) for item in names.imports):
            self._project_names |= names.stores
        piece = Piece(node, names, is_inert)
        index = len(self.all)
        self.all.append(piece)
        for name in names.stores:
            self.binders.setdefault(name, []).append(index)
        for name in piece.mentions:
            self._readers.setdefault(name, []).append(index)
        for name in names.deferred:
            self._owners.setdefault(name, set()).update(names.stores)

    def concerning(self, name: str, covered: set[str]) -> set[int]:
        """The indexes of all statements that decide the value of `name`, and of what they need in turn.

        Those for the names in `covered` are left out; the names that are now cared for are added to it.
        """
        chosen: set[int] = set()
        queue = [name, STAR]
        while queue:
            wanted = queue.pop()
            if wanted in covered:
                continue
            covered.add(wanted)
            found = set(self.binders.get(wanted, ()))
            may_be_starred = STAR in self.binders and not hasattr(builtins, wanted)
            if found or may_be_starred or wanted == IMPORT:
                found |= self._dynamic
                if not self._is_inert(wanted):
                    found |= self._touching({wanted})
            if wanted in self._project_names or (may_be_starred and wanted not in self.binders):
                queue.extend(self._project_names)
            for index in found - chosen:
                names = self.all[index].names
                queue.extend(names.loads | names.stores)
            chosen |= found
        return chosen

    def last_binder(self, name: str, position: int) -> int:
        """The index of the last statement before `position` that binds `name`, -1 if there is none."""
        binders = self.binders.get(name, [])
        at = bisect.bisect_left(binders, position)
        return binders[at - 1] if at else -1

    def is_dynamic(self, index: int) -> bool:
        """Whether running this statement may bind names that it does not write, as `exec` does."""
        return index in self._dynamic

    def _is_inert(self, name: str) -> bool:
        binders = self.binders.get(name, ())
        return len(binders) == 1 and self.all[binders[0]].is_inert and name not in self._owners

    def _touching(self, names: Iterable[str]) -> set[int]:
        """The statements that mention one of `names`, or something whose body mentions it, and so on."""
        seen: set[str] = set()
        queue = list(names)
        found: set[int] = set()
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                readers = self._readers.get(name, ())
                self._spend(1 + len(readers) // 8)
                found.update(readers)
                queue.extend(self._owners.get(name, ()))
        return found


def collect_names(node: ast.AST, *, lazy_annotations: bool = False, spend: Callable[[int], None]) -> Names:
    """The names that `node` mentions. Class bodies run at once, so they count as read; function bodies do not.

    `spend` is told every now and then how many steps this took.
    """
    names = Names()
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and _binds_only_names(node):
        names.stores.update(target.id for target in node.targets if isinstance(target, ast.Name))
        return names
    count = 0
    # (node, does it run later, does it bind in a scope of its own)
    stack: list[tuple[ast.AST, bool, bool]] = [(node, False, False)]
    while stack:
        item, is_later, is_inner = stack.pop()
        count += 1
        if count % 100 == 0:
            spend(100)
        if isinstance(item, ast.Name):
            _add_name(names, item, is_later, is_inner)
        elif isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            _add_function(names, item, stack, is_later, is_inner, lazy_annotations)
        elif isinstance(item, ast.ClassDef):
            if not is_inner and not is_later:
                names.stores.add(item.name)
            heads: list[ast.AST] = [*item.decorator_list, *item.bases, *(word.value for word in item.keywords)]
            stack.extend((part, is_later, is_inner) for part in heads)
            stack.extend((part, is_later, True) for part in item.body)
        elif isinstance(item, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            stack.extend((part, is_later, True) for part in ast.iter_child_nodes(item))
        elif isinstance(item, ast.NamedExpr):
            # Binds in the function or module around comprehensions.
            (names.deferred if is_later else names.stores).add(item.target.id)
            stack.append((item.value, is_later, is_inner))
        elif isinstance(item, ast.AnnAssign) and lazy_annotations:
            stack.extend((part, is_later, is_inner) for part in (item.target, item.value) if part is not None)
        else:
            _add_other(names, item, is_later, is_inner)
            stack.extend((part, is_later, is_inner) for part in ast.iter_child_nodes(item))
    return names


def _add_name(names: Names, item: ast.Name, is_later: bool, is_inner: bool) -> None:
    if is_later:
        names.deferred.add(item.id)
    elif isinstance(item.ctx, ast.Load) or is_inner:
        names.loads.add(item.id)
    else:
        names.stores.add(item.id)


def _add_function(
    names: Names,
    item: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    stack: list[tuple[ast.AST, bool, bool]],
    is_later: bool,
    is_inner: bool,
    lazy_annotations: bool,
) -> None:
    arguments = item.args
    heads: list[ast.AST | None] = [*arguments.defaults, *arguments.kw_defaults]
    if not isinstance(item, ast.Lambda):
        if not is_inner and not is_later:
            names.stores.add(item.name)
        heads += item.decorator_list
        if not lazy_annotations:
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            heads += [item.returns, *(part.annotation for part in every if part is not None)]
    stack.extend((part, is_later, is_inner) for part in heads if part is not None)
    body: list[ast.AST] = [item.body] if isinstance(item, ast.Lambda) else list(item.body)
    stack.extend((part, True, True) for part in body)


def _add_other(names: Names, item: ast.AST, is_later: bool, is_inner: bool) -> None:
    bound: list[str] = []
    if isinstance(item, (ast.Import, ast.ImportFrom)):
        bound = [alias.asname or alias.name.split(".")[0] for alias in item.names]
        if is_later:
            names.deferred.add(IMPORT)
        names.imports.append(item)
    elif isinstance(item, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and item.name:
        bound = [item.name]
    elif isinstance(item, ast.MatchMapping) and item.rest:
        bound = [item.rest]
    elif isinstance(item, ast.Global):
        names.deferred.update(item.names)
    elif isinstance(item, ast.Attribute) and item.attr == "modules" and isinstance(item.value, ast.Name):
        (names.deferred if is_later else names.loads).add(f"{item.value.id}.modules")
    elif isinstance(item, ast.AugAssign) and isinstance(item.target, ast.Name):
        (names.deferred if is_later else names.loads).add(item.target.id)
    if not is_inner and not is_later:
        names.stores.update(bound)


def _split_imports(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and len(node.names) > 1:
            for alias in node.names:
                one = (
                    ast.Import(names=[alias])
                    if isinstance(node, ast.Import)
                    else ast.ImportFrom(module=node.module, names=[alias], level=node.level)
                )
                yield ast.copy_location(one, alias)
        else:
            yield node


def _is_main_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` without else: never true where a predictor is imported."""
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        and len(node.test.ops) == 1
        and isinstance(node.test.ops[0], ast.Eq)
        and isinstance(node.test.comparators[0], ast.Constant)
        and node.test.comparators[0].value == "__main__"
    )


def _is_immutable(node: ast.expr) -> bool:
    """Whether an expression can only give a value that nobody can change: numbers, texts, tuples of them."""
    stack: list[ast.expr] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.Tuple):
            stack.extend(item.elts)
        elif isinstance(item, ast.BinOp):
            stack.extend((item.left, item.right))
        elif isinstance(item, ast.UnaryOp):
            stack.append(item.operand)
        elif not isinstance(item, (ast.Constant, ast.JoinedStr)):
            return False
    return True


def _binds_only_names(node: ast.Assign) -> bool:
    return all(isinstance(target, ast.Name) for target in node.targets)
