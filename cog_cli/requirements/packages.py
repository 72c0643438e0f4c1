"""`read_requirements`: the Python packages a project asks for, as the installer will read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cog_cli.errors import ConfigError, Problem
from cog_cli.requirements.lines import IndexOptions, InvalidLine, Line, Requirement, logical_lines, parse_line
from cog_cli.requirements.sources import UnreadableSource, compiled_file_of, requirement_lines_of

__all__ = ["IndexOptions", "Requirement", "Requirements", "StagedFile", "read_requirements"]

MAX_FILE_BYTES = 1 << 20  # a lock file of 2000 packages with hashes has 500 KB; more is not a requirements file

# The image carries Cog's own `cog`, matched to its server. A second one in the model's environment would shadow it.
OWN_PACKAGES = frozenset({"cog", "coglet"})


class RequestedPackages(Protocol):
    """What `read_requirements` needs of the `build` section of cog.yaml."""

    @property
    def python_packages(self) -> tuple[str, ...]: ...
    @property
    def python_requirements(self) -> str | None: ...


@dataclass(frozen=True)
class StagedFile:
    """A file or folder that must lie beside the installer, at the same path as in the project.

    `path` is relative to the project and uses `/`. `content` is None when the user's bytes are copied as they are,
    otherwise the bytes to write instead (lines that would install `cog` are left out).
    """

    path: str
    is_folder: bool = False
    content: bytes | None = None


@dataclass(frozen=True)
class Requirements:
    """What the user wants installed.

    With a `source` (a requirements file, relative to the project) the installer runs in a folder that holds `files`
    and reads `-r source`; without one, `lines` are written to a file first. Paths in any of them are relative to that
    folder, as pip has it. `entries` are the same lines, parsed; those of `-c` files have `is_constraint`.
    """

    entries: tuple[Requirement, ...] = ()
    options: IndexOptions = field(default_factory=IndexOptions)
    lines: tuple[str, ...] = ()
    files: tuple[StagedFile, ...] = ()
    source: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def uses_git(self) -> bool:
        """Whether the installer needs a `git` program."""
        return any((entry.url or "").startswith("git+") for entry in self.entries)


def read_requirements(
    build: RequestedPackages, root: Path, *, locate: Callable[[str], str] = lambda key: "cog.yaml"
) -> Requirements:
    """Read `python_packages` and `python_requirements`, with every file they include.

    Markers are kept, not evaluated: the Python they speak of may not be chosen yet (see `Requirement.applies`).
    Touches nothing outside `root`. Raises ConfigError with every problem found; each names the file and line.
    """
    reader = _Reader(root.resolve(), locate)
    if build.python_requirements is not None:
        reader.read_top_file(build.python_requirements)
    for number, text in enumerate(build.python_packages):
        reader.read_inline(text, f"build.python_packages[{number}]")
    if reader.problems:
        raise ConfigError(reader.problems)
    return reader.result(build.python_requirements)


class _Reader:
    """Collects entries, files and problems over all the files that include each other."""

    def __init__(self, root: Path, locate: Callable[[str], str]) -> None:
        self.root, self.locate = root, locate
        self.problems: list[Problem] = []
        self.entries: list[Requirement] = []
        self.options = IndexOptions()
        self.inline: list[str] = []
        self.top_lines: list[str] | None = None
        self.files: dict[str, StagedFile] = {}
        self.warnings: list[str] = []

    def result(self, source: str | None) -> Requirements:
        lines = tuple(self.inline)
        if source is not None and self.top_lines is not None:
            source = next(iter(self.files))  # the top file was staged first, under its normal path
            lines = (f"-r {source}", *lines) if lines else tuple(self.top_lines)
        return Requirements(
            entries=tuple(self.entries),
            options=self.options,
            lines=lines,
            files=tuple(self.files.values()),
            source=source if self.top_lines is not None and not self.inline else None,
            warnings=tuple(self.warnings),
        )

    def refuse(self, where: str, key: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(where, key, message, hint))

    # --- where lines come from ------------------------------------------------------------------------------------

    def read_inline(self, text: str, key: str) -> None:
        where = self.locate(key)
        if any(character in text for character in "\n\r\0"):
            self.refuse(where, key, "a newline is not allowed in a requirement", "Write one list item per package.")
            return
        for line in logical_lines(text):
            self.read_line(line, where=where, key=key, kept=self.inline, including=(), is_constraint=False)

    def read_top_file(self, name: str) -> None:
        key = "build.python_requirements"
        where = self.locate(key)
        path = self.path_inside(name, self.root, where=where, key=key)
        if path is None:
            return
        if (compiled := compiled_file_of(path)) is not None:
            self.warnings.append(f"{where}: {compiled.name} lies beside {path.name}: it is what gets installed")
            name = compiled.relative_to(self.root).as_posix()
        try:
            source = requirement_lines_of(path) if path.is_file() else None
        except UnreadableSource as problem:
            self.refuse(path.relative_to(self.root).as_posix(), key, problem.message, problem.hint)
            return
        if source is None:
            self.read_file(name, self.root, where=where, key=key, including=(), is_constraint=False)
            return
        if source.note:
            self.warnings.append(f"{where}: {source.note}")
        for line in logical_lines("\n".join(source.lines)):
            self.read_line(line, where=source.name, key=key, kept=self.inline, including=(), is_constraint=False)

    def read_file(
        self, name: str, folder: Path, *, where: str, key: str, including: tuple[str, ...], is_constraint: bool
    ) -> None:
        """Read one requirements file; `including` are the files (relative to the project) that led to it."""
        path = self.path_inside(name, folder, where=where, key=key)
        if path is None:
            return
        relative = path.relative_to(self.root).as_posix()
        if relative in including:
            chain = " -> ".join((*including[including.index(relative) :], relative))
            self.refuse(where, key, f"include cycle: {chain}", "Remove one of the `-r` lines.")
            return
        text = self.text_of(path, relative, where=where, key=key)
        if text is None:
            return
        is_top = not including
        kept: list[str] = []
        self.files.setdefault(relative, StagedFile(relative))
        for line in logical_lines(text):
            self.read_line(
                line,
                where=f"{relative}:{line.number}:{line.column}",
                key=key,
                kept=kept,
                including=(*including, relative),
                is_constraint=is_constraint,
            )
        if is_top:
            self.top_lines = kept
        if kept != text.split("\n"):
            self.files[relative] = StagedFile(relative, content="\n".join(kept).encode())

    def read_line(
        self, line: Line, *, where: str, key: str, kept: list[str], including: tuple[str, ...], is_constraint: bool
    ) -> None:
        """Parse one line and follow what it includes; adds the physical lines to keep to `kept`."""
        is_inline = not including
        try:
            parsed = parse_line(line, where=where, key=key, is_inline=is_inline)
        except InvalidLine as problem:
            self.refuse(where, key, problem.message, problem.hint)
            return
        self.options = self.options.plus(parsed.options)
        folder = (self.root / including[-1]).parent if including else self.root
        for name, constrains in parsed.includes:
            if "://" in name:
                self.warnings.append(f"{where}: {name} is read by the installer only: Cog has not looked at it")
                continue
            self.read_file(
                name, folder, where=where, key=key, including=including, is_constraint=is_constraint or constrains
            )
        for name in parsed.options.find_links:
            if "://" not in name:
                self.stage_links(name, folder, where=where, key=key)
        if (entry := parsed.requirement) is not None:
            if entry.name in OWN_PACKAGES:
                what = f"`{entry.text}` is left out: the image carries its own {entry.name}"
                self.warnings.append(f"{where}: {what}")
                return
            if entry.is_local:
                self.stage_local(entry)
            self.entries.append(replace(entry, is_constraint=is_constraint))
        # Two things that pip reads and uv does not: a package continued on the next line before its hashes, and
        # settings of one package (they become arguments, see Stack.install_args). Such a line is written anew.
        is_broken = entry is not None and len(line.physical) > 1 and entry.text not in line.physical[0]
        is_rewritten = is_inline or is_broken or bool(parsed.options.config_settings)
        kept.extend(parsed.kept if is_rewritten else line.physical)

    # --- files on disk --------------------------------------------------------------------------------------------

    def path_inside(self, name: str, folder: Path, *, where: str, key: str) -> Path | None:
        """The real path of a name the user wrote, or None (and a problem) if it leaves the project or is not there."""
        hint = "Copy it into the project and give its path from there."
        path = folder / name
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            self.refuse(where, key, f"{name} is a symbolic link that leads back to itself")
            return None
        if not real.is_relative_to(self.root):
            is_link = path.is_symlink() and not name.startswith(("/", "..")) and ".." not in Path(name).parts
            what = "is a symbolic link that leaves the project" if is_link else "must stay inside the project"
            self.refuse(where, key, f"{name} {what}", hint)
            return None
        # A link inside the project keeps its own name: that is the path the user's other files speak of.
        return path if path.is_symlink() and ".." not in Path(name).parts and not Path(name).is_absolute() else real

    def text_of(self, path: Path, relative: str, *, where: str, key: str) -> str | None:
        try:
            if path.is_dir():
                self.refuse(
                    where, key, f"{relative} is a directory, not a requirements file", "Give the path of a file."
                )
                return None
            if path.exists() and not path.is_file():
                self.refuse(where, key, f"{relative} is not a regular file", "Copy what it gives into a file.")
                return None
            if path.stat().st_size > MAX_FILE_BYTES:
                self.refuse(where, key, f"{relative} is larger than 1 MiB: not a requirements file")
                return None
            data = path.read_bytes()
        except FileNotFoundError:
            self.refuse(where, key, f"{relative} does not exist", "Create it, or correct the path.")
            return None
        except OSError as error:
            self.refuse(where, key, f"{relative} cannot be read: {(error.strerror or str(error)).lower()}")
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
            encoding = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
            self.refuse(f"{relative}:{line}:{column}", key, f"not valid UTF-8{encoding}", "Save the file as UTF-8.")
            return None
        if "\0" in text:
            self.refuse(relative, key, "a binary file, not a requirements file", "Save the packages as text, in UTF-8.")
            return None
        return text

    def stage_local(self, entry: Requirement) -> None:
        """Note the wheel, archive or folder that a requirement names by path."""
        path_text = re.sub(r"\[[^\]]*\]$", "", (entry.url or "").removeprefix("file:").partition("#")[0])
        path = self.path_inside(path_text, self.root, where=entry.where, key=entry.key)
        if path is None:
            return
        if not path.exists():
            self.refuse(entry.where, entry.key, f"{path_text} does not exist", "Paths start at the project's folder.")
            return
        relative = path.relative_to(self.root).as_posix()
        if path.is_dir() and not any((path / name).exists() for name in ("pyproject.toml", "setup.py")):
            self.refuse(entry.where, entry.key, f"{path_text} is not a package: no pyproject.toml or setup.py in it")
            return
        self.files.setdefault(relative, StagedFile(relative, is_folder=path.is_dir()))

    def stage_links(self, name: str, folder: Path, *, where: str, key: str) -> None:
        """Note a folder of `--find-links`, which starts at the file that names it (a requirement's path does not)."""
        path = self.path_inside(name.removeprefix("file:"), folder, where=where, key=key)
        if path is None:
            return
        if not path.exists():
            hint = "The path of --find-links starts at the folder of the file that names it."
            self.refuse(where, key, f"{name} does not exist", hint)
            return
        relative = path.relative_to(self.root).as_posix()
        self.files.setdefault(relative, StagedFile(relative, is_folder=path.is_dir()))
