"""YAML text as a tree whose every key and value knows its line and column.

PyYAML reads the events; the tree is put together here, because its own composer recurses without bound, keeps
the last of two equal keys, forgets where things stood and turns `3.10` into a number before anyone can see it.
Nothing is ever constructed from a tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NoReturn, cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from cog_cli.config.key_paths import KeyPath, escape, quote
from cog_cli.config.syntax import (
    MAX_DEPTH,
    TOO_DEEP,
    Position,
    SyntaxFault,
    explain_yaml_error,
    refuse_control_characters,
)

MAX_VALUES = 10_000
_MAX_NUMBER_CHARACTERS = 100

Kind = Literal["string", "number", "boolean", "null"]
_PREFIX = "tag:yaml.org,2002:"
_KINDS: dict[str, Kind] = {
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "null": "null",
}
_resolver = Resolver()
_constructor = SafeConstructor()

# libyaml where PyYAML was built with it: 1 MiB in milliseconds instead of seconds.
_Loader = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@dataclass(frozen=True)
class Scalar:
    """One value. `text` is what the file says, `value` what YAML makes of it; `style` is None for unquoted."""

    position: Position
    kind: Kind
    value: str | int | float | bool | None
    text: str
    style: str | None


@dataclass(frozen=True)
class Sequence:
    """A list."""

    position: Position
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Mapping:
    """`values` by key in file order; `keys` says where each key stands."""

    position: Position
    keys: dict[str, Position]
    values: dict[str, Node]


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Finding:
    """Something wrong at a key; `position` None when only the key is known."""

    path: KeyPath
    message: str
    hint: str | None = None
    position: Position | None = None


@dataclass
class Document:
    """The tree of one file, with what was wrong but did not stop the reading (duplicate keys and the like)."""

    root: Node
    findings: list[Finding] = field(default_factory=list)


def parse_document(text: str) -> Document | None:
    """The one document in `text`, None if there is nothing in it. Raises SyntaxFault where reading cannot go on.

    Bounded: at most 50 levels and 10,000 values with every alias expanded, whatever the text.
    """
    refuse_control_characters(text)
    try:
        return _Composer(text).compose()
    except yaml.YAMLError as error:
        raise explain_yaml_error(error, text) from error


def plain(node: Node) -> object:
    """The node as dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.values.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def child(node: Node | None, step: str | int) -> Node | None:
    """The node one step below, None if there is none."""
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.values.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def describe(node: Node | None) -> str:
    """What stands there, to end a sentence: `a number (5)`, `a list`, `nothing`."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(kind="string"):
            return f"a string ({quote(node.text)})"
        case Scalar(kind="boolean"):
            return f"{str(node.value).lower()} ({escape(node.text)} without quotes)"
        case Scalar(kind="number"):
            return f"a number ({escape(node.text)})"
        case _:
            return "nothing"


@dataclass(frozen=True)
class _Anchored:
    node: Node
    values: int
    height: int


class _Composer:
    """Puts the tree together from parser events; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_Loader))
        self.findings: list[Finding] = []
        self.values = 0
        # None while the anchored value is still open: an alias to it would hold itself.
        self.anchors: dict[str, _Anchored | None] = {}

    def compose(self) -> Document | None:
        next(self.events)  # the start of the stream
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            return None
        root, _ = self.node(next(self.events), (), 0)
        next(self.events)  # the end of the document
        following = next(self.events)
        if isinstance(following, yaml.DocumentStartEvent):
            raise SyntaxFault(
                "more than one YAML document in the file", "Keep one; remove the `---` line.", _position(following)
            )
        if isinstance(root, Scalar) and root.kind == "null" and not root.text:
            return None
        return Document(root, self.findings)

    def node(self, event: yaml.Event, path: KeyPath, depth: int) -> tuple[Node, int]:
        """The value that begins with `event`, and its height (0 for a scalar)."""
        position = _position(event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor or "", position, depth)
        self.count(1, position, "the file holds")
        if depth > MAX_DEPTH:
            _refuse_depth(position)
        anchor: str | None = getattr(event, "anchor", None)
        before = self.values - 1
        if anchor:
            self.anchors[anchor] = None
        node: Node
        if isinstance(event, yaml.MappingStartEvent):
            node, height = self.mapping(event, path, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node, height = self.sequence(event, path, depth)
        else:
            node, height = self.scalar(cast(yaml.ScalarEvent, event), path), 0
        if anchor:
            self.anchors[anchor] = _Anchored(node, self.values - before, height)
        return node, height

    def alias(self, name: str, position: Position, depth: int) -> tuple[Node, int]:
        if name not in self.anchors:
            raise SyntaxFault(
                f"`*{escape(name)}` is an alias of nothing: no `&{escape(name)}` stands above it",
                "If a text with a star is meant, put it in quotes.",
                position,
            )
        anchored = self.anchors[name]
        if anchored is None:
            raise SyntaxFault(f"the alias `*{escape(name)}` stands inside its own anchor: endless", None, position)
        self.count(anchored.values, position, "anchors and aliases expand to")
        if depth + anchored.height > MAX_DEPTH:
            _refuse_depth(position)
        return anchored.node, anchored.height

    def count(self, values: int, position: Position, subject: str) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise SyntaxFault(f"{subject} more than {MAX_VALUES:,} values, the limit", None, position)

    def sequence(self, event: yaml.SequenceStartEvent, path: KeyPath, depth: int) -> tuple[Sequence, int]:
        self.check_tag(event.tag, ("seq",), path, _position(event))
        items: list[Node] = []
        height = 0
        while not isinstance(following := next(self.events), yaml.SequenceEndEvent):
            item, below = self.node(following, (*path, len(items)), depth + 1)
            items.append(item)
            height = max(height, below + 1)
        return Sequence(_position(event), tuple(items)), height

    def mapping(self, event: yaml.MappingStartEvent, path: KeyPath, depth: int) -> tuple[Mapping, int]:
        self.check_tag(event.tag, ("map",), path, _position(event))
        mapping = Mapping(_position(event), {}, {})
        merged: list[Mapping] = []
        height = 0
        while not isinstance(following := next(self.events), yaml.MappingEndEvent):
            key, _ = self.node(following, path, depth + 1)
            at = _position(following)
            name = key.text if isinstance(key, Scalar) else None
            value, below = self.node(next(self.events), (*path, name or "?"), depth + 1)
            height = max(height, below + 1)
            if name == "<<" and isinstance(key, Scalar) and key.style is None:
                merged += self.merged(value, path, at)
            elif not isinstance(key, Scalar) or key.kind != "string" or name is None:
                self.findings.append(_key_fault(key, path, at))
            elif name in mapping.values:
                first = mapping.keys[name].line
                self.findings.append(
                    Finding((*path, name), f"duplicate key: it stands on line {first} already", "Keep one of them.", at)
                )
            else:
                mapping.keys[name], mapping.values[name] = at, value
        for other in merged:  # what the mapping says itself wins, then the first merged
            for name, value in other.values.items():
                if name not in mapping.values:
                    mapping.keys[name], mapping.values[name] = other.keys[name], value
        return mapping, height

    def merged(self, value: Node, path: KeyPath, at: Position) -> list[Mapping]:
        values = value.items if isinstance(value, Sequence) else (value,)
        mappings = [each for each in values if isinstance(each, Mapping)]
        if len(mappings) < len(values):
            self.findings.append(
                Finding((*path, "<<"), f"`<<` merges mappings, got {describe(value)}", "Write `<<: *anchor`.", at)
            )
        return mappings

    def scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Scalar:
        position, text = _position(event), event.value
        self.check_tag(event.tag, ("str", "int", "float", "bool", "null"), path, position)
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.findings.append(Finding(path, "half a character (a lone \\ud8xx escape)", None, position))
            text = ""
        tag = event.tag
        if tag is None or tag == "!" or not tag.startswith(_PREFIX):
            tag = str(_resolver.resolve(yaml.ScalarNode, text, event.implicit))  # type: ignore[no-untyped-call]  # PyYAML has no types here
        kind = _KINDS.get(tag.removeprefix(_PREFIX), "string")  # a date too: nothing here wants one
        style = event.style or None  # libyaml says "" for a plain one
        try:
            value = _value(kind, tag, text)
        except (ValueError, KeyError, IndexError):
            self.findings.append(Finding(path, f"{quote(text)} is not a {kind} that can be used", None, position))
            kind, value = "string", text
        return Scalar(position, kind, value, text, style)

    def check_tag(self, tag: str | None, allowed: tuple[str, ...], path: KeyPath, position: Position) -> None:
        if tag is None or tag == "!" or (tag.startswith(_PREFIX) and tag.removeprefix(_PREFIX) in allowed):
            return
        shown = tag.replace(_PREFIX, "!!", 1)
        self.findings.append(
            Finding(path, f"unknown tag {escape(shown)}: cog.yaml takes plain values only", "Remove the tag.", position)
        )


def _value(kind: Kind, tag: str, text: str) -> str | int | float | bool | None:
    if kind == "string":
        return text
    if kind == "null":
        return None
    if len(text) > _MAX_NUMBER_CHARACTERS:  # `1:0:0:...` and long digits cost quadratic time
        raise ValueError
    node = yaml.ScalarNode(tag, text)
    if kind == "boolean":
        return bool(_constructor.construct_yaml_bool(node))
    if tag.endswith("int"):
        return int(_constructor.construct_yaml_int(node))
    return float(_constructor.construct_yaml_float(node))


def _key_fault(key: Node, path: KeyPath, at: Position) -> Finding:
    if isinstance(key, Scalar) and key.kind != "null":
        return Finding(path, f"a key must be text, got {describe(key)}", f'Put it in quotes: "{escape(key.text)}"', at)
    return Finding(path, f"a key must be text, got {describe(key)}", None, at)


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _refuse_depth(position: Position) -> NoReturn:
    raise SyntaxFault(TOO_DEEP, None, position)
