"""`SourceModule`: a module of the project, read name by name; `Modules` finds them and resolves imports."""

from __future__ import annotations

import ast
import builtins
import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cog.spec import SignatureError
from cog_cli.source.budget import OutOfSteps, TooMuch
from cog_cli.source.effects import abandon
from cog_cli.source.packages import package_value
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.slicing import STAR, Pieces
from cog_cli.source.source_file import SourceFile, load_source
from cog_cli.source.values import ABSENT, GiveUp, KnownModule, LazyImport, Place, Unknown, force
from cog_cli.source.vocabulary import find_known, is_known_module, star_names

MAX_MODULES = 200


class SourceModule:
    """One file of the project. Its statements are evaluated as far as the names asked of it need."""

    def __init__(
        self, modules: Modules, source: SourceFile, name: str, *, package: str | None, is_package: bool
    ) -> None:
        self.modules = modules
        self.source = source
        self.name = name
        self.package = package  # None: imported as a file of its own, where relative imports fail
        self.is_package = is_package
        self.scope = Scope(self)
        self.has_lazy_annotations = source.has_future_annotations
        self.pieces = Pieces(
            source.tree,
            lazy_annotations=self.has_lazy_annotations,
            is_project_import=self._is_project_import,
            spend=modules.reading.budget.spend,
        )
        self._pending: list[int] = []  # a heap
        self._begun: set[int] = set()
        self._position: int | None = None
        self._covered: set[str] = set()
        self._searching: set[str] = set()
        # (index of the statement, module or Unknown): what may have bound names without writing them.
        self._stars: list[tuple[int, Any]] = []

    def place(self, node: ast.AST | None) -> Place:
        """Where `node` stands."""
        return self.source.place(node)

    def binds(self, name: str) -> bool:
        """Whether some top-level statement binds `name`, before or after this point."""
        return name in self.pieces.binders

    def find(self, name: str) -> Any:
        """The value of a module-level name or builtin as it is at this point, ABSENT if there is none."""
        self._read(name)
        position = len(self.pieces.all) if self._position is None else self._position
        for index, star in reversed(self._stars):
            if index < len(self.pieces.all) and index <= self.pieces.last_binder(name, position):
                break
            found = self._star_member(star, name)
            if found is not ABSENT:
                return found
        if name in self.scope.names:
            return self.scope.names[name]
        if name.startswith("__") and name not in ("__import__", "__debug__"):
            return Unknown(f"`{name}` is known only where the model runs", Place(self.source.name))
        return vars(builtins).get(name, ABSENT)

    def rebind(self, name: str, value: Any) -> None:
        """Bind a module-level name from inside a function; under a condition its value is unknown from then on."""
        self._read(name)  # what bound it before must not run after this
        reading = self.modules.reading
        if reading.uncertain and not (reading.forks and reading.forks[-1] is self.scope):
            value = Unknown(f"`{name}` is bound under a condition", self.place(None))
        self.scope.names[name] = value

    def distrust(self, cause: Unknown) -> list[Any]:
        """Take every name for unknown from now on; gives what they named, for that may be changed too."""
        known = list(self.scope.names.values())
        self._stars.append((len(self.pieces.all), cause))
        return known

    def attribute(self, name: str) -> Any:
        """`module.name`, or what `from module import name` binds; ABSENT if there is none."""
        found = force(self.find(name))
        if found is not ABSENT and (name in self.scope.names or not hasattr(builtins, name)):
            return found
        if self.is_package:
            found = self.modules.find_file(f"{self.name}.{name}")
            if found is not ABSENT:
                return found
        if "__getattr__" in self.pieces.binders:
            return Unknown(f"{self.source.name} computes its names in __getattr__", Place(self.source.name))
        return ABSENT

    def starred(self, name: str) -> Any:
        """What `from module import *` binds to `name`, ABSENT if it does not."""
        if name in self._searching:  # modules that import * of each other
            return ABSENT
        self._searching.add(name)
        try:
            return self._starred(name)
        finally:
            self._searching.discard(name)

    def _starred(self, name: str) -> Any:
        if "__all__" not in self.pieces.binders:
            return ABSENT if name.startswith("_") else self.attribute(name)
        listed = self.attribute("__all__")
        unknown = self.modules.reading.find_unknown(listed)
        if unknown is not None or not isinstance(listed, (list, tuple)):
            found = self.attribute(name)
            return found if found is ABSENT else Unknown(f"__all__ of {self.name} is not known", self.place(None))
        return self.attribute(name) if name in listed else ABSENT

    def _star_member(self, star: Any, name: str) -> Any:
        if isinstance(star, SourceModule):
            return star.starred(name)
        if isinstance(star, KnownModule):
            return find_known(star.path, name) if name in star_names(star.path) else ABSENT
        # No package replaces the builtin types; some replace `min` or `open`.
        return ABSENT if isinstance(vars(builtins).get(name), type) else star

    def _read(self, name: str) -> None:
        if name in self._covered or not (name in self.pieces.binders or STAR in self.pieces.binders):
            return
        for index in self.pieces.concerning(name, self._covered) - self._begun:
            self._begun.add(index)
            heapq.heappush(self._pending, index)
        self._run(self._position if self._position is not None else len(self.pieces.all))

    def _run(self, until: int) -> None:
        """Run the statements before `until` that are due, in their order; others wait for the run that is under way."""
        reading = self.modules.reading
        uncertain, reading.uncertain = reading.uncertain, 0
        forks, reading.forks = reading.forks, []
        before = self._position
        try:
            while self._pending and self._pending[0] < until:
                index = heapq.heappop(self._pending)
                self._position = index
                self._run_piece(index)
        finally:
            self._position = before
            reading.uncertain, reading.forks = uncertain, forks

    def _run_piece(self, index: int) -> None:
        node = self.pieces.all[index].node
        reading = self.modules.reading
        try:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == STAR:
                self._import_star(index, node)
                return
            with reading.budget.piece():
                reading.execute([node], self.scope)
        except (OutOfSteps, TooMuch, GiveUp) as error:
            if reading.budget.is_spent:
                raise
            cause = Unknown(f"{error}", self.place(node))
            try:
                abandon(reading, node, self.scope, cause)
            except OutOfSteps:
                self.scope.names.update(dict.fromkeys(self.pieces.all[index].names.stores - {STAR}, cause))
                self._stars.append((index, cause))
        if self.pieces.is_dynamic(index):
            cause = Unknown("exec(), eval() or globals() may bind any name", self.place(node))
            self._stars.append((index, cause))

    def _import_star(self, index: int, node: ast.ImportFrom) -> None:
        module = self.modules.resolve_module(node, self)
        if not isinstance(module, (SourceModule, KnownModule)):
            module = Unknown(f"`{ast.unparse(node)}` may bind any name", self.place(node))
        self._stars.append((index, module))

    def _is_project_import(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.ImportFrom):
            return bool(node.level) or self.modules.has_file(node.module or "")
        return isinstance(node, ast.Import) and self.modules.has_file(node.names[0].name)


class Modules:
    """The project's modules, found as Python would find them with `folders` at the front of `sys.path`."""

    def __init__(self, reading: Reading, folders: Iterable[Path]) -> None:
        self.reading = reading
        self.folders = list(folders)
        self._by_path: dict[Path, SourceModule | Unknown] = {}

    def add(
        self, path: Path, source: SourceFile, name: str, *, package: str | None = None, is_package: bool = False
    ) -> SourceModule:
        """Make the module of a file that has been parsed. Raises OutOfSteps if that is too much."""
        self.reading.budget.spend(source.size // 20)
        module = SourceModule(self, source, name, package=package, is_package=is_package)
        self._by_path[path] = module
        return module

    def import_name(self, node: ast.stmt, scope: Scope) -> dict[str, Any]:
        """The names that an import statement binds, each to be looked at when it is used."""
        importer: Any = scope.module
        if isinstance(node, ast.Import):
            return {
                alias.asname or alias.name.split(".")[0]: self._lazy_module(node, alias, importer)
                for alias in node.names
            }
        assert isinstance(node, ast.ImportFrom)
        return {alias.asname or alias.name: self._lazy_member(node, alias.name, importer) for alias in node.names}

    def _lazy_module(self, node: ast.Import, alias: ast.alias, importer: SourceModule) -> LazyImport:
        wanted = alias.name if alias.asname else alias.name.split(".")[0]
        return LazyImport(lambda: self._module(wanted, node, importer))

    def _lazy_member(self, node: ast.ImportFrom, name: str, importer: SourceModule) -> LazyImport:
        return LazyImport(lambda: self._member(node, name, importer))

    def _member(self, node: ast.ImportFrom, name: str, importer: SourceModule) -> Any:
        module = self.resolve_module(node, importer)
        if isinstance(module, SourceModule):
            found = module.attribute(name)
            if found is ABSENT and module.binds(name):
                return Unknown(f"{module.source.name} is imported in a circle", importer.place(node))
            if found is ABSENT:
                return Unknown(f"{module.source.name} has no `{name}`", importer.place(node), is_error=True)
            return found
        if isinstance(module, KnownModule):
            found = find_known(module.path, name)
            if found is not ABSENT:
                return found
            return package_value(f"{module.path}.{name}", importer.place(node))
        if isinstance(module, Unknown) and module.path:
            return package_value(f"{module.path}.{name}", importer.place(node))
        return module

    def resolve_module(self, node: ast.ImportFrom, importer: SourceModule) -> Any:
        """The module that `from ... import` names."""
        if not node.level:
            return self._module(node.module or "", node, importer)
        if importer.package is None:
            return Unknown("a relative import needs a package around the file", importer.place(node), is_error=True)
        parts = importer.package.split(".") if importer.package else []
        if node.level - 1 > len(parts):
            return Unknown("the relative import leaves the package", importer.place(node), is_error=True)
        dotted = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
        found = self.find_file(dotted)
        return Unknown(f"{dotted} does not exist", importer.place(node), is_error=True) if found is ABSENT else found

    def _module(self, dotted: str, node: ast.stmt, importer: SourceModule) -> Any:
        if is_known_module(dotted):
            return KnownModule(dotted)
        found = self.find_file(dotted)
        return package_value(dotted, importer.place(node)) if found is ABSENT else found

    def has_file(self, dotted: str) -> bool:
        """Whether a dotted name is a module or folder of the project."""
        return not is_known_module(dotted) and self._locate(dotted) is not None

    def find_file(self, dotted: str) -> Any:
        """The project's module of that name, Unknown if it cannot be read, ABSENT if the project has none."""
        located = self._locate(dotted)
        if located is None:
            return ABSENT
        path, is_package = located
        if path in self._by_path:
            return self._by_path[path]
        if path.is_dir():
            self._by_path[path] = _Folder(self, dotted)
            return self._by_path[path]
        if len(self._by_path) >= MAX_MODULES:
            return Unknown("the project has too many modules to read", Place(self._show(path)))
        package = dotted if is_package else dotted.rpartition(".")[0]
        try:
            source = load_source(path, self._show(path))
        except SignatureError as error:
            place = Place(error.file or self._show(path), error.line, error.column)
            self._by_path[path] = Unknown(f"the module cannot be read: {error.message}", place)
            return self._by_path[path]
        return self.add(path, source, dotted, package=package, is_package=is_package)

    def _locate(self, dotted: str) -> tuple[Path, bool] | None:
        parts = dotted.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        for folder in self.folders:
            base = folder.joinpath(*parts)
            for path, is_package in ((base / "__init__.py", True), (base.with_name(base.name + ".py"), False)):
                if path.is_file():
                    return path, is_package
        for folder in self.folders:
            base = folder.joinpath(*parts)
            if base.is_dir():
                return base, True
        return None

    def _show(self, path: Path) -> str:
        try:
            return path.relative_to(self.reading.root).as_posix()
        except ValueError:
            return path.as_posix()


class _Folder(SourceModule):
    """A folder without `__init__.py`: a package whose only names are its files.

    If an installed package has its name, Python prefers that one, so what is no file of it may come from there.
    """

    def __init__(self, modules: Modules, dotted: str) -> None:
        source = SourceFile(dotted.replace(".", "/"), "", ast.Module(body=[], type_ignores=[]))
        super().__init__(modules, source, dotted, package=dotted, is_package=True)

    def attribute(self, name: str) -> Any:
        """A file of the folder, or what an installed package of that name has."""
        found = self.modules.find_file(f"{self.name}.{name}")
        return package_value(f"{self.name}.{name}", self.place(None)) if found is ABSENT else found
