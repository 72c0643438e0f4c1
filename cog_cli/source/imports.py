"""`ImportGraph`: which files of the project import which, by their text alone, so that few of them must be parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cog_cli.source.source_file import MAX_BYTES
from cog_cli.source.vocabulary import is_known_module

_MAX_FILES = 2000
_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:from[ \t]+([.\w]+)[ \t]*import[ \t]*(\([^)]*\)|[^\n;#]*)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)


class ImportGraph:
    """The files that can be reached from those added, found as Python would find them in `folders`."""

    def __init__(self, folders: list[Path], spend: Callable[[int], None]) -> None:
        self._folders = folders
        self._spend = spend
        self._names: dict[Path, tuple[bool, str]] = {}
        self._packages: dict[Path, str | None] = {}
        self._texts: dict[Path, str] = {}
        self._edges: dict[Path, set[Path]] = {}
        self._modules: dict[Path, set[str]] = {}

    def add(self, path: Path, package: str | None) -> None:
        """Look at a file, and at all that it reaches."""
        self._packages.setdefault(path, package)
        queue = [path]
        while queue and len(self._edges) < _MAX_FILES:
            current = queue.pop()
            if current not in self._edges:
                self._edges[current] = self._read(current)
                queue += self._edges[current]

    def name_of(self, path: Path) -> tuple[bool, str]:
        """Whether a file that is imported is a package, and by which dotted name it was found."""
        return self._names[path]

    def module_names(self, path: Path) -> set[str]:
        """The names that imports anywhere in a file bind to modules of the project."""
        return self._modules.get(path, set())

    def reaching(self, targets: set[Path]) -> set[Path]:
        """The files that import one of `targets`, or something that does."""
        importers: dict[Path, list[Path]] = {}
        for path, others in self._edges.items():
            for other in others:
                importers.setdefault(other, []).append(path)
        self._spend(len(self._edges))
        queue, found = list(targets), set(targets)
        while queue:
            new = [path for path in importers.get(queue.pop(), ()) if path not in found]
            found.update(new)
            queue += new
        return found - targets

    def reaches(self, path: Path, other: Path) -> bool:
        """Whether importing `path` imports `other` in turn."""
        return path in self.reaching({other}) or path == other

    def defining(self, sources: set[Path], classes: Iterable[str]) -> set[Path]:
        """The files, of all that are known, in which one of `classes` may be defined."""
        names = "|".join(sorted(re.escape(name) for name in classes if name))
        pattern = re.compile(rf"\bclass\s+(?:{names})\b") if names else None
        found = set()
        for path, text in self._texts.items():
            if pattern is not None and path not in sources and path in self._names:
                self._spend(len(text) // 1000 + 1)
                if pattern.search(text):
                    found.add(path)
        return found

    def locate(self, dotted: str) -> tuple[Path, bool] | None:
        """The file or folder of a module, and whether it is a package; None if the project has no such module."""
        parts = dotted.split(".")
        if is_known_module(dotted) or not all(part.isidentifier() for part in parts):
            return None
        for folder in self._folders:
            base = folder.joinpath(*parts)
            for path, is_package in ((base / "__init__.py", True), (base.with_name(base.name + ".py"), False)):
                if path.is_file():
                    return path, is_package
        for folder in self._folders:
            base = folder.joinpath(*parts)
            if base.is_dir():
                return base, True
        return None

    def _read(self, path: Path) -> set[Path]:
        found: set[Path] = set()
        for dotted, name in self._wanted(path):
            located = self.locate(dotted)
            self._spend(1)
            if located is None:
                continue
            self._modules.setdefault(path, set()).update([name] if name else ())
            if located[0].is_file():
                self._names.setdefault(located[0], (located[1], dotted))
                self._packages.setdefault(located[0], dotted if located[1] else dotted.rpartition(".")[0])
                found.add(located[0])
        return found

    def _wanted(self, path: Path) -> Iterator[tuple[str, str]]:
        """The dotted names that a file may import, each with the name that it is bound to if it is a module."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= MAX_BYTES else ""
        except OSError:
            text = ""
        self._texts[path] = text
        self._spend(len(text) // 1000)
        for match in _IMPORT.finditer(text.replace("\\\n", " ")):
            module, names, plain = match.groups()
            if plain is None:
                module = self._absolute(module, path)
                yield from ((dotted, "") for dotted in _prefixes(module))
            for part in re.sub(r"#[^\n]*", "", plain or names).strip("() \n").split(","):
                origin, *rest = part.split() or [""]
                if plain is None:
                    yield f"{module}.{origin}".strip("."), rest[-1] if rest else origin
                else:
                    yield from (
                        (dotted, rest[-1] if rest else dotted.rpartition(".")[2]) for dotted in _prefixes(origin)
                    )

    def _absolute(self, module: str, path: Path) -> str:
        level = len(module) - len(module.lstrip("."))
        if not level:
            return module
        parts = (self._packages.get(path) or "").split(".")
        return ".".join([*parts[: len(parts) - level + 1], module.lstrip(".")]).strip(".")


def _prefixes(dotted: str) -> list[str]:
    """`a.b.c` as `a`, `a.b` and `a.b.c`: all of them are imported."""
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
