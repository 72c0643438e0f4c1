"""`Scope`: names and their values, nested as in Python."""

from __future__ import annotations

import ast
from typing import Any, Protocol

from cog_cli.source.source_file import SourceFile
from cog_cli.source.values import Place


class Module(Protocol):
    """What a scope knows of the module around it; modules.py has the only one."""

    source: SourceFile
    scope: Scope
    has_lazy_annotations: bool

    def binds(self, name: str) -> bool:
        """Whether some top-level statement binds `name`, before or after this point."""

    def find(self, name: str) -> Any:
        """The value of a module-level name or builtin, ABSENT if there is none (yet)."""

    def rebind(self, name: str, value: Any) -> None:
        """Bind a module-level name from inside a function."""

    def place(self, node: ast.AST | None) -> Place:
        """Where `node` stands."""


class Scope:
    """One namespace. `parent` is the scope around it, None for a module's own.

    A class body is seen by itself only: functions and comprehensions inside it look past it, as in Python.
    """

    def __init__(self, module: Module, parent: Scope | None = None, *, is_class: bool = False) -> None:
        self.module = module
        self.parent = parent
        self.is_class = is_class
        self.names: dict[str, Any] = {}
        self.global_names: set[str] = set()
        self.returned: Any = None
        self.annotations: dict[str, Any] = {}  # of a class body

    def find(self, name: str) -> Any:
        """The value of `name` as seen from here, ABSENT if it is not bound."""
        scope: Scope | None = self
        while scope is not None and scope.parent is not None:
            if (scope is self or not scope.is_class) and name in scope.names and name not in scope.global_names:
                return scope.names[name]
            scope = scope.parent
        return self.module.find(name)

    def owner(self, name: str) -> Scope:
        """The scope in which an assignment to `name` here binds it."""
        scope: Scope = self
        if name in self.global_names:
            while scope.parent is not None:
                scope = scope.parent
        return scope

    def overlay(self, names: dict[str, Any]) -> Scope:
        """A scope in which `names` (ABSENT values included) are as they were, and the rest as seen from here."""
        inner = Scope(self.module, self)
        inner.names = names
        return inner
