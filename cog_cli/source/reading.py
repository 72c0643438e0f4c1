"""`Reading`: the state of one `read_source` call; `Scope`: where a name is looked up, and as of which statement."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cog_cli.source.budget import Budget
from cog_cli.source.values import ABSENT, Place, Unknown

if TYPE_CHECKING:
    from cog_cli.source.modules import SourceModule


@dataclass(frozen=True, eq=False)
class Scope:
    """A place in a namespace: the names that the first `position` statements of `body` have bound, then `parent`'s.

    `names` are those bound without a statement (in comprehensions). A class body is seen by itself only: what is
    `inner`, such as a comprehension, looks past it.
    """

    module: SourceModule
    parent: Scope | None = None
    body: tuple[ast.stmt, ...] = ()
    position: int = 0
    names: dict[str, Any] = field(default_factory=dict)
    is_class: bool = False

    def at(self, position: int) -> Scope:
        """The same namespace before its statement of that number."""
        return Scope(self.module, self.parent, self.body, position, self.names, self.is_class)

    def inner(self, names: dict[str, Any]) -> Scope:
        """A scope with these names of its own, as seen by a comprehension or an annotation."""
        around = self
        while around.is_class and around.parent is not None:
            around = around.parent
        return Scope(self.module, around, names=names)


@dataclass
class LazyAnnotation:
    """An annotation that is evaluated when it is needed, as of the place where it was written."""

    node: ast.expr
    scope: Scope


@dataclass
class FunctionRecord:
    """What a stand-in function stands for. `defaults` are by parameter name, evaluated where it was defined."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    scope: Scope
    defaults: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, LazyAnnotation | Unknown] = field(default_factory=dict)


@dataclass
class ClassRecord:
    """What a stand-in class stands for. `annotations` are its own fields, not those of its bases."""

    node: ast.ClassDef
    scope: Scope
    bases: tuple[Any, ...] = ()
    annotations: dict[str, LazyAnnotation | Unknown] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    is_finished: bool = False
    problem: Unknown | None = None


class Reading:
    """Everything one reading knows. The parts that need each other meet in the functions here, set by __init__.py."""

    evaluate: Callable[[ast.expr, Scope], Any]
    define: Callable[[ast.stmt, Scope], Any]  # what a `def` or `class` binds
    import_name: Callable[[ast.stmt, str, Scope], Any]  # what an import statement binds to a name
    star: Callable[[ast.ImportFrom, str, Scope], Any]  # what `from x import *` binds to a name, or ABSENT
    find: Callable[[str, Scope], Any]  # the value of a name, or ABSENT

    def __init__(self, root: Path) -> None:
        self.root = root
        self.budget = Budget()
        self.functions: dict[int, tuple[Any, FunctionRecord]] = {}
        self.classes: dict[int, tuple[Any, ClassRecord]] = {}

    def unknown(self, reason: str, node: ast.AST | None, scope: Scope, *, path: str = "") -> Unknown:
        """A value that cannot be known, at `node`."""
        return Unknown(reason, scope.module.place(node), path=path)

    def failure(self, reason: str, node: ast.AST | None, scope: Scope) -> Unknown:
        """A value that the project itself fails to make, at `node`."""
        return Unknown(reason, scope.module.place(node), is_error=True)

    def function_record(self, value: Any) -> FunctionRecord | None:
        """What the stand-in function `value` stands for, None for anything else."""
        found = self.functions.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def class_record(self, value: Any) -> ClassRecord | None:
        """What the stand-in class `value` stands for, None for anything else."""
        found = self.classes.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def place_of(self, value: Any) -> Place | None:
        """Where the stand-in `value` is defined."""
        record = self.function_record(value) or self.class_record(value)
        return record.scope.module.place(record.node) if record is not None else None


def builtin(name: str, place: Place) -> Any:
    """What a name means that nothing binds: a builtin, ABSENT, or Unknown where the model's run decides."""
    if name.startswith("__") and name not in ("__import__", "__debug__"):
        return Unknown(f"`{name}` is known only where the model runs", place)
    return vars(builtins).get(name, ABSENT)
