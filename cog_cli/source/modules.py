"""`SourceModule`: a file of the project as a module; `Modules` finds them and says what imports bind."""

from __future__ import annotations

import ast
import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

from cog.schema.spec import SignatureError
from cog_cli.source.changes import Changes
from cog_cli.source.execution import bound_names, execute
from cog_cli.source.reading import STAR, Reading, Scope
from cog_cli.source.source_file import SourceFile, load_source
from cog_cli.source.values import ABSENT, KnownModule, OutOfSteps, Place, Unknown
from cog_cli.source.vocabulary import find_known, is_known_module, known_names, package_value

_MAX_MODULES = 300

Sources = dict[Path, SourceFile]  # those that have been parsed


class SourceModule:
    """One file of the project. `package` is None for a file of its own, where relative imports fail.

    So is a folder without `__init__.py`: its names are its files, or of an installed package, which Python prefers.
    """

    def __init__(self, modules: Modules, source: SourceFile, name: str, package: str | None) -> None:
        self.modules = modules
        self.source = source
        self.place = source.place
        self.name = name
        self.package = package
        self.scope = Scope(self)
        self.bound = frozenset(bound_names(source.tree.body))
        self.is_whole = self._is_folder = not source.name.endswith(".py")

    def trusted(self, name: str, value: Any) -> Any:
        """`value`, bound to `name` here; Unknown if code of the project may have changed it."""
        return self.modules.changes.trusted(self.modules.reading, name, value, self.source.name)

    def attribute(self, name: str) -> Any:
        """`module.name`, ABSENT if there is none or not yet."""
        if name in self.scope.names:
            return self.trusted(name, self.scope.names[name])
        found = self.modules.find_file(f"{self.name}.{name}") if self.package == self.name else ABSENT
        if found is not ABSENT:
            return found
        if STAR in self.scope.names and not hasattr(builtins, name):
            return self.scope.names[STAR]
        if "__getattr__" in self.bound:
            return Unknown(f"{self.source.name} computes its names in __getattr__", Place(self.source.name))
        return package_value(f"{self.name}.{name}", self.place(None)) if self._is_folder else ABSENT

    def starred(self) -> dict[str, Any]:
        """What `from module import *` binds."""
        names = self.scope.names
        listed = names.get("__all__", [name for name in names if not name.startswith("_")])
        if not isinstance(listed, (list, tuple)) or any(isinstance(item, Unknown) for item in listed):
            return dict.fromkeys(names, Unknown(f"__all__ of {self.name} is not known", self.place(None)))
        found = {name: self.attribute(name) for name in [*listed, *({STAR} & names.keys())]}
        return {name: value for name, value in found.items() if value is not ABSENT}

    def is_known(self, dotted: str) -> bool:
        """Whether a dotted name here is a builtin, or an object of a known module."""
        root, *rest = dotted.split(".")
        value = self.scope.names.get(root, vars(builtins).get(root))
        for name in rest:
            value = find_known(value.path, name) if isinstance(value, KnownModule) else None
        return callable(value) and self.modules.reading.place_of(value) is None


def member(value: Any, name: str, place: Place) -> Any:
    """`value.name`, or what `from value import name` gives, of a module or something unknown."""
    if isinstance(value, Unknown):
        is_named = value.path and "(" not in value.path
        return package_value(f"{value.path}.{name}", place) if is_named else replace(value, path="")
    is_known = isinstance(value, KnownModule)
    found = find_known(value.path, name) if is_known else value.attribute(name)
    if found is not ABSENT:
        return found
    if is_known:
        return package_value(f"{value.path}.{name}", place)
    if not value.is_whole:
        return Unknown(f"{value.source.name} is imported in a circle", place)
    return Unknown(f"{value.source.name} has no `{name}`", place, is_error=True)


class Modules:
    """The project's modules, found as Python would find them with `folders` at the front of `sys.path`."""

    def __init__(self, reading: Reading, folders: list[Path], sources: Sources, changes: Changes) -> None:
        self.reading = reading
        self.changes = changes
        self.by_path: dict[Path, SourceModule | Unknown] = {}
        self._sources = sources
        self._folders = folders
        reading.imported = self.imported

    def add(self, path: Path, name: str, package: str | None = None) -> SourceModule:
        """The module of a file. Raises SignatureError if it cannot be parsed, OutOfSteps if there is too much."""
        if path not in self._sources:
            shown = path.relative_to(self.reading.root) if path.is_relative_to(self.reading.root) else path
            self._sources[path] = load_source(path, shown.as_posix())
        source = self._sources[path]
        self.reading.spend(len(source.text) // 20)
        if len(self.by_path) >= _MAX_MODULES:
            raise OutOfSteps("it has too many modules to read")
        module = self.by_path[path] = SourceModule(self, source, name, package)
        execute(self.reading, source.tree.body, module.scope)
        module.is_whole = True
        return module

    def imported(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> dict[str, Any]:
        """What an import statement binds."""
        importer: Any = scope.module
        place = importer.place(node)
        if isinstance(node, ast.Import):
            modules = {item.name: self._module(item.name, place) for item in node.names}
            roots = {name.split(".")[0]: self._module(name.split(".")[0], place) for name in modules}
            return {**roots, **{item.asname: modules[item.name] for item in node.names if item.asname}}
        module = self._resolve(node, importer)
        if node.names[0].name != STAR:
            return {item.asname or item.name: member(module, item.name, place) for item in node.names}
        if isinstance(module, Unknown):
            unknown = self.reading.unknown(f"`{ast.unparse(node)}` may bind any name", node, scope)
            return dict.fromkeys([*scope.names, STAR], unknown)
        return known_names(module.path) if isinstance(module, KnownModule) else module.starred()

    def _resolve(self, node: ast.ImportFrom, importer: SourceModule) -> Any:
        """The module that `from ... import` names."""
        place = importer.place(node)
        if not node.level:
            return self._module(node.module or "", place)
        if importer.package is None:
            return Unknown("a relative import needs a package around the file", place, is_error=True)
        parts = importer.package.split(".") if importer.package else []
        if node.level - 1 > len(parts):
            return Unknown("the relative import leaves the package", place, is_error=True)
        dotted = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
        found = self.find_file(dotted)
        return Unknown(f"{dotted} does not exist", place, is_error=True) if found is ABSENT else found

    def _module(self, dotted: str, place: Place) -> Any:
        found = KnownModule(dotted) if is_known_module(dotted) else self.find_file(dotted)
        return package_value(dotted, place) if found is ABSENT else found

    def find_file(self, dotted: str) -> Any:
        """The project's module of that name, Unknown if it cannot be read, ABSENT if the project has none."""
        parts = dotted.split(".")
        places = [folder.joinpath(*parts) for folder in self._folders] if all(map(str.isidentifier, parts)) else []
        for base in places:
            for path, package in ((base / "__init__.py", dotted), (base.with_suffix(".py"), ".".join(parts[:-1]))):
                if path.is_file():
                    return self._at(path, dotted, package)
        folder = SourceFile(dotted.replace(".", "/"), "", ast.Module(body=[], type_ignores=[]))
        is_folder = any(base.is_dir() for base in places)
        return SourceModule(self, folder, dotted, dotted) if is_folder else ABSENT

    def _at(self, path: Path, dotted: str, package: str) -> SourceModule | Unknown:
        if path not in self.by_path:
            try:
                self.add(path, dotted, package)
            except SignatureError as error:
                place = Place(error.file or path.name, error.line, error.column)
                self.by_path[path] = Unknown(f"the module cannot be read: {error.message}", place)
        return self.by_path[path]
