"""The values of a cog.yaml on their way from tree to Config, with what was found and said on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cog_cli.config.key_paths import KeyPath, format_key, parse_key
from cog_cli.config.nodes import Finding, Mapping, Node, Sequence, child
from cog_cli.config.syntax import Position


@dataclass
class Locator:
    """Where each key stands. `renamed` maps a key of Config to the top-level key that the file uses for it."""

    file: str
    root: Mapping
    renamed: dict[str, str] = field(default_factory=dict)

    def locate(self, key: str) -> str:
        """`build.cuda` as `cog.yaml:3:9`; the nearest parent if the key is not there, the file if none is."""
        return self.where(self.position(parse_key(key)))

    def where(self, position: Position | None) -> str:
        """The position as `file:line:column`."""
        return f"{self.file}:{position.line}:{position.column}" if position else self.file

    def written(self, path: KeyPath) -> KeyPath:
        """The path as the file spells it."""
        if path and isinstance(path[0], str) and path[0] in self.renamed:
            return (self.renamed[path[0]], *path[1:])
        return path

    def node(self, path: KeyPath) -> Node | None:
        """The node at the path, None if there is none."""
        node: Node | None = self.root
        for step in self.written(path):
            node = child(node, step)
        return node

    def position(self, path: KeyPath) -> Position | None:
        """Where the value stands if it is on the line of its key, otherwise the key; or the nearest parent's."""
        node: Node = self.root
        found: Position | None = None
        for step in self.written(path):
            below = child(node, step)
            if below is None:
                break
            found = below.position
            if isinstance(node, Mapping) and isinstance(step, str):
                key = node.keys[step]
                found = below.position if below.position.line == key.line else key
            node = below
        return found

    def key_position(self, path: KeyPath) -> Position | None:
        """Where the key itself stands."""
        parent = self.node(path[:-1])
        last = self.written(path)[-1] if path else None
        if isinstance(parent, Mapping) and isinstance(last, str):
            return parent.keys.get(last)
        return self.position(path)


@dataclass
class Draft:
    """`data` is what the model gets to see; the tree behind `locator` stays as it was read."""

    data: dict[str, object]
    locator: Locator
    findings: list[Finding] = field(default_factory=list)
    warnings: list[tuple[Position, str]] = field(default_factory=list)

    def find(self, path: KeyPath, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        """Note something wrong at the path."""
        position = self.locator.key_position(path) if at_key else self.locator.position(path)
        self.findings.append(Finding(self.locator.written(path), message, hint, position))

    def warn(self, path: KeyPath, message: str) -> None:
        """Note something that the author should know."""
        position = self.locator.key_position(path) or Position(1, 1)
        key = format_key(self.locator.written(path))
        self.warnings.append((position, f"{self.locator.where(position)}: `{key}`: {message}"))

    def section(self, key: str) -> dict[str, object] | None:
        """The top-level mapping of that name, None if there is none."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else None

    def items(self, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
        """The entries of the list at the path."""
        node = self.locator.node(path)
        if isinstance(node, Sequence):
            for index, item in enumerate(node.items):
                yield (*path, index), item
