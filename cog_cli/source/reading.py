"""`Reading`: the state of one reading; `Scope`: a namespace, where names are looked up."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cog_cli.source.values import ABSENT, OutOfSteps, Place, Unknown

if TYPE_CHECKING:
    from cog_cli.source.modules import SourceModule

STAR = "*"
_MAX_STEPS = 500_000


@dataclass(frozen=True, eq=False)
class Scope:
    """A namespace, as far as it has been filled, and the one around it. A class body is seen by itself only.

    `annotations` are what a class declares, None elsewhere. `is_branch`: nobody knows whether what fills it runs.
    """

    module: SourceModule
    parent: Scope | None = None
    names: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Written | Unknown] | None = None
    is_branch: bool = False

    def find(self, name: str) -> Any:
        """The value of a name as seen from here, ABSENT if nothing binds it."""
        around: Scope | None = self
        while around is not None:
            if name in around.names:
                return self.module.trusted(name, around.names[name])
            if STAR in around.names and not isinstance(vars(builtins).get(name), type):
                return around.names[STAR]  # no package replaces the builtin types; some replace `min` or `open`
            around = around.parent
        if name.startswith("__") and name not in ("__import__", "__debug__"):
            return Unknown(f"`{name}` is known only where the model runs", self.module.place(None))
        return vars(builtins).get(name, ABSENT)

    def inner(self, names: dict[str, Any]) -> Scope:
        """A scope with these names of its own, as seen by a comprehension."""
        around = self
        while around.annotations is not None and around.parent is not None:
            around = around.parent
        return Scope(self.module, around, names)


@dataclass(frozen=True)
class Written:
    """An annotation that is evaluated when it is needed, in a scope that is as it was where it stands."""

    node: ast.expr
    scope: Scope


@dataclass
class FunctionRecord:
    """What a stand-in function stands for. `defaults` are by parameter name, evaluated where it was defined."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    scope: Scope
    defaults: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Written | Unknown] = field(default_factory=dict)

    def arguments(self) -> list[ast.arg]:
        """All parameters that are written."""
        return [item for item in ast.iter_child_nodes(self.node.args) if isinstance(item, ast.arg)]


@dataclass
class ClassRecord:
    """What a stand-in class stands for. `annotations` are its own fields, not those of its bases."""

    node: ast.ClassDef
    scope: Scope
    bases: tuple[Any, ...] = ()
    annotations: dict[str, Written | Unknown] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    is_finished: bool = False
    problem: Unknown | None = None


class Reading:
    """Everything one reading knows. The parts that need each other meet in the functions here, set by __init__.py."""

    evaluate: Callable[[ast.expr, Scope], Any]
    define: Callable[[ast.stmt, Scope], Any]  # what a `def` or `class` binds
    imported: Callable[[ast.Import | ast.ImportFrom, Scope], dict[str, Any]]  # what an import statement binds

    def __init__(self, root: Path) -> None:
        self.root = root
        self._steps = 0
        self.records: dict[int, tuple[Any, FunctionRecord | ClassRecord]] = {}

    def spend(self, steps: int = 1) -> None:
        """Count `steps` of some microseconds, so that no source can hang a reading. Raises OutOfSteps."""
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise OutOfSteps("it takes too many steps to evaluate")

    def unknown(self, reason: str, node: ast.AST | None, scope: Scope, *, is_error: bool = False) -> Unknown:
        """A value that cannot be known, at `node`; `is_error`: the project itself fails to make it."""
        return Unknown(reason, scope.module.place(node), is_error=is_error)

    def record(self, value: Any) -> FunctionRecord | ClassRecord | None:
        """What the stand-in `value` stands for, None for anything else."""
        found = self.records.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def function_record(self, value: Any) -> FunctionRecord | None:
        """What the stand-in function `value` stands for, None for anything else."""
        record = self.record(value)
        return record if isinstance(record, FunctionRecord) else None

    def class_record(self, value: Any) -> ClassRecord | None:
        """What the stand-in class `value` stands for, None for anything else."""
        record = self.record(value)
        return record if isinstance(record, ClassRecord) else None

    def place_of(self, value: Any) -> Place | None:
        """Where the stand-in `value` is defined."""
        record = self.record(value)
        return record.scope.module.place(record.node) if record is not None else None
