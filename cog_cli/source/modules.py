"""`SourceModule`: a module of the project; `Modules` finds them, resolves imports and knows which reach which."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cog.schema.spec import SignatureError
from cog_cli.source.escapes import Escapes, find_escapes
from cog_cli.source.imports import ImportGraph
from cog_cli.source.operations import equal
from cog_cli.source.reading import Reading, Scope
from cog_cli.source.source_file import SourceFile, load_source
from cog_cli.source.statements import find_binders
from cog_cli.source.usage import OPERATORS, TRUSTED, Region, Surroundings, collect_regions
from cog_cli.source.values import ABSENT, KnownModule, Place, Unknown
from cog_cli.source.vocabulary import find_known, is_known_module, is_known_object, package_value, star_names

MAX_MODULES = 200


class SourceModule:
    """One file of the project. `package` is None for a file of its own, where relative imports fail."""

    def __init__(
        self, modules: Modules, source: SourceFile, name: str, path: Path, *, package: str | None, is_package: bool
    ) -> None:
        self.modules = modules
        self.source = source
        self.name = name
        self.path = path
        self.package = package
        self.is_package = is_package
        self.scope = Scope(self, body=tuple(source.tree.body), position=len(source.tree.body))
        self.has_lazy_annotations = source.has_future_annotations
        self.binders = find_binders(source.tree.body, modules.reading.budget.spend)
        self.function_names, self.class_names = _defined_names(source.tree, modules.reading.budget.spend)
        self._regions: tuple[Surroundings, list[Region]] | None = None
        self._searching: set[str] = set()
        self._escapes: Escapes | None = None

    def place(self, node: ast.AST | None) -> Place:
        """Where `node` stands."""
        return self.source.place(node)

    def binds(self, name: str) -> bool:
        """Whether some top-level statement binds `name`."""
        return name in self.binders

    def trusted(self, name: str, value: Any, place: ast.AST | None) -> Any:
        """`value`, bound to `name` here; Unknown if code that is not followed may have changed it."""
        if self._escapes is None:
            self._escapes = self.modules.escapes_of(self)
        return self._escapes.trusted(self.modules.reading, name, value, self.place(place))

    def regions(self, around: Surroundings) -> list[Region]:
        """What the code here may do, by its form."""
        if self._regions is None or self._regions[0] != around:
            self._regions = around, collect_regions(self.source.tree, around, self.is_known)
        return self._regions[1]

    def attribute(self, name: str, importer: Any = None) -> Any:
        """`module.name` once the module is imported, ABSENT if there is none. Names that `importer` sees in a circle
        of imports are known only if they are bound once.
        """
        if name in self._searching:  # modules that import * of each other
            return ABSENT
        self._searching.add(name)
        try:
            return self._attribute(name, importer)
        finally:
            self._searching.discard(name)

    def _attribute(self, name: str, importer: Any) -> Any:
        statements = self.binders.get(name, [])
        if len(statements) > 1 and importer is not None and self.modules.graph.reaches(self.path, importer.path):
            return Unknown(
                f"{self.source.name} is imported in a circle", self.place(self.source.tree.body[statements[0]])
            )
        found = self.modules.reading.find(name, self.scope) if statements or "*" in self.binders else ABSENT
        if found is not ABSENT and (statements or not hasattr(builtins, name)):
            return found
        if self.is_package:
            found = self.modules.find_file(f"{self.name}.{name}")
            if found is not ABSENT:
                return found
        if self.binds("__getattr__"):
            return Unknown(f"{self.source.name} computes its names in __getattr__", Place(self.source.name))
        return ABSENT

    def starred(self, name: str, importer: Any) -> Any:
        """What `from module import *` binds to `name`, ABSENT if it does not."""
        if not self.binds("__all__"):
            return ABSENT if name.startswith("_") else self.attribute(name, importer)
        listed = self.attribute("__all__", importer)
        if not isinstance(listed, (list, tuple)) or any(isinstance(item, Unknown) for item in listed):
            found = self.attribute(name, importer)
            return found if found is ABSENT else Unknown(f"__all__ of {self.name} is not known", self.place(None))
        return self.attribute(name, importer) if name in listed else ABSENT

    def is_known(self, dotted: str) -> bool:
        """Whether a dotted name here is a builtin, or an object of a known module."""
        root, _, rest = dotted.partition(".")
        if not self.binds(root):
            return not rest and hasattr(builtins, root)
        found = []
        for node in (self.source.tree.body[number] for number in self.binders[root]):
            if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "level", None):
                return False
            origin = next((item.name for item in node.names if (item.asname or item.name) == root), root)
            found.append(f"{node.module}.{origin}" if isinstance(node, ast.ImportFrom) else origin)
        return all(is_known_object(f"{origin}.{rest}".rstrip(".")) for origin in found)


def _defined_names(tree: ast.Module, spend: Callable[[int], None]) -> tuple[set[str], set[str]]:
    """The names of all functions, and of all classes, at any depth."""
    names: dict[bool, set[str]] = {False: set(), True: set()}
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names[isinstance(node, ast.ClassDef)].add(node.name)
        if not isinstance(node, ast.expr):
            spend(1)
            stack.extend(ast.iter_child_nodes(node))
    return names[False], names[True]


class Modules:
    """The project's modules, found as Python would find them with `folders` at the front of `sys.path`."""

    def __init__(self, reading: Reading, folders: Iterable[Path]) -> None:
        self.reading = reading
        self.graph = ImportGraph(list(folders), reading.budget.spend)
        self._by_path: dict[Path, SourceModule | Unknown] = {}
        reading.import_name = self.import_name
        reading.star = self.star

    def add(
        self, path: Path, source: SourceFile, name: str, *, package: str | None = None, is_package: bool = False
    ) -> SourceModule:
        """Make the module of a file that has been parsed. Raises OutOfSteps if that is too much."""
        self.reading.budget.spend(source.size // 20)
        self.graph.add(path, package)
        module = SourceModule(self, source, name, path, package=package, is_package=is_package)
        self._by_path[path] = module
        return module

    def import_name(self, node: ast.stmt, name: str, scope: Scope) -> Any:
        """What an import statement binds to `name`."""
        importer: Any = scope.module
        if isinstance(node, ast.Import):
            alias = next(item for item in node.names if (item.asname or item.name.split(".")[0]) == name)
            return self._module(alias.name if alias.asname else name, node, importer)
        assert isinstance(node, ast.ImportFrom)
        origin = next(item.name for item in reversed(node.names) if (item.asname or item.name) == name)
        module = self._resolve(node, importer)
        if isinstance(module, SourceModule):
            found = module.attribute(origin, importer)
            if found is ABSENT and module.binds(origin):
                return Unknown(f"{module.source.name} is imported in a circle", importer.place(node))
            if found is ABSENT:
                return Unknown(f"{module.source.name} has no `{origin}`", importer.place(node), is_error=True)
            return found
        if isinstance(module, KnownModule):
            found = find_known(module.path, origin)
            return package_value(f"{module.path}.{origin}", importer.place(node)) if found is ABSENT else found
        if isinstance(module, Unknown) and module.path:
            return package_value(f"{module.path}.{origin}", importer.place(node))
        return module

    def star(self, node: ast.ImportFrom, name: str, scope: Scope) -> Any:
        """What `from x import *` binds to `name`; ABSENT if it does not."""
        module = self._resolve(node, scope.module)
        if isinstance(module, SourceModule):
            found = module.starred(name, scope.module)
            if found is not ABSENT and self.graph.reaches(module.path, scope.module.path):
                before = self.reading.find(name, scope)
                if before is not ABSENT and not equal(self.reading.budget, before, found):
                    return self.reading.unknown(f"{module.source.name} is imported in a circle", node, scope)
            return found
        if isinstance(module, KnownModule):
            return find_known(module.path, name) if name in star_names(module.path) else ABSENT
        # No package replaces the builtin types; some replace `min` or `open`.
        is_type = isinstance(vars(builtins).get(name), type)
        return ABSENT if is_type else self.reading.unknown(f"`{ast.unparse(node)}` may bind any name", node, scope)

    def _resolve(self, node: ast.ImportFrom, importer: Any) -> Any:
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

    def _module(self, dotted: str, node: ast.stmt, importer: Any) -> Any:
        if is_known_module(dotted):
            return KnownModule(dotted)
        found = self.find_file(dotted)
        return package_value(dotted, importer.place(node)) if found is ABSENT else found

    def find_file(self, dotted: str) -> Any:
        """The project's module of that name, Unknown if it cannot be read, ABSENT if the project has none."""
        located = self.graph.locate(dotted)
        return ABSENT if located is None else self._at(*located, dotted)

    def _at(self, path: Path, is_package: bool, dotted: str) -> SourceModule | Unknown:
        if path in self._by_path:
            return self._by_path[path]
        if path.is_dir():
            self._by_path[path] = _Folder(self, dotted, path)
        elif len(self._by_path) >= MAX_MODULES:
            return Unknown("the project has too many modules to read", Place(self._show(path)))
        else:
            try:
                source = load_source(path, self._show(path))
            except SignatureError as error:
                place = Place(error.file or self._show(path), error.line, error.column)
                self._by_path[path] = Unknown(f"the module cannot be read: {error.message}", place)
            else:
                package = dotted if is_package else dotted.rpartition(".")[0]
                self.add(path, source, dotted, package=package, is_package=is_package)
        return self._by_path[path]

    def _show(self, path: Path) -> str:
        try:
            return path.relative_to(self.reading.root).as_posix()
        except ValueError:
            return path.as_posix()

    # --- what may change their objects

    def escapes_of(self, module: SourceModule) -> Escapes:
        """The names of `module` whose objects other code may change, judged from all modules that can reach it.

        Besides those that import it, these are the ones with base classes of its classes.
        """
        found = {module.path: module}
        while True:
            around = self._surroundings(list(found.values()))
            regions = [(item, region) for item in found.values() for region in item.regions(around)]
            bases = {base for _, region in regions for bases, _ in region.classes.values() for base in bases}
            wanted = self.graph.reaching(set(found)) | self.graph.defining(set(found), bases - around.own_classes)
            new = {
                path: self._by_path.get(path) or self._at(path, *self.graph.name_of(path))
                for path in wanted - found.keys()
            }
            if not any(isinstance(item, SourceModule) for item in new.values()):
                break
            found.update({path: item for path, item in new.items() if isinstance(item, SourceModule)})
        modules = frozenset(name for path in found for name in self.graph.module_names(path))
        return find_escapes([(region, item.place) for item, region in regions], modules, self.reading.budget.spend)

    def _surroundings(self, modules: list[SourceModule]) -> Surroundings:
        functions: set[str] = set()
        classes: set[str] = set()
        for module in modules:
            functions |= module.function_names | {name for name in module.binders if not module.is_known(name)}
            classes |= module.class_names
        has_operators = not OPERATORS.isdisjoint(functions)
        return Surroundings(
            frozenset(functions & TRUSTED), frozenset(classes), has_operators, self.reading.budget.spend
        )


class _Folder(SourceModule):
    """A folder without `__init__.py`: a package whose only names are its files.

    If an installed package has its name, Python prefers that one, so what is no file of it may come from there.
    """

    def __init__(self, modules: Modules, dotted: str, path: Path) -> None:
        source = SourceFile(dotted.replace(".", "/"), "", ast.Module(body=[], type_ignores=[]))
        super().__init__(modules, source, dotted, path, package=dotted, is_package=True)

    def attribute(self, name: str, importer: Any = None) -> Any:
        """A file of the folder, or what an installed package of that name has."""
        found = self.modules.find_file(f"{self.name}.{name}")
        return package_value(f"{self.name}.{name}", self.place(None)) if found is ABSENT else found
