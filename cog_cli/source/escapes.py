"""`find_escapes`: the names whose objects code that is not followed may change, over all modules that can reach them.

A name is safe only if no code that may run while the module is imported changes, keeps or passes on its object. A
function's body may run if its name is mentioned by code that may run; so may any method of a class that is.
"""

from __future__ import annotations

import ast
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cog.input import FieldInfo
from cog_cli.source.reading import Reading
from cog_cli.source.usage import Region
from cog_cli.source.values import Place, Unknown

_Places = dict[str, Place]
_CONTAINERS = (list, dict, set, OrderedDict)


@dataclass
class Escapes:
    """Which names may stand for something else than the statements that bind them say, each with a place to blame."""

    escaped: _Places = field(default_factory=dict)
    elements: _Places = field(default_factory=dict)
    receivers: _Places = field(default_factory=dict)
    rebound: _Places = field(default_factory=dict)
    # Code that may change whatever it likes, by file: up to which line it may also bind names of the file.
    anything: dict[str, tuple[float, Place]] = field(default_factory=dict)

    def trusted(self, reading: Reading, name: str, value: Any, bound: Place) -> Any:
        """`value`, bound to `name` by the statement at `bound`; Unknown, in whole or part, if it may be another."""
        place = self.rebound.get(name)
        if place is not None:
            return Unknown(f"`{name}` may be bound to something else here", place)
        for file, (line, dynamic) in self.anything.items():
            if file in ("", bound.file) and (bound.line or 0) < line:
                return Unknown("exec(), globals() or the like may bind any name", dynamic)
        is_container = _is_container(reading, value)
        if is_container or _holds_container(reading, value):
            for _, dynamic in self.anything.values():
                return Unknown(f"`{name}` may be changed here", dynamic)
            place = self.escaped.get(name) or (self.receivers if is_container else self.elements).get(name)
            if place is not None:
                return Unknown(f"`{name}` may be changed by what happens to it here", place)
            if name in self.elements and _holds_container(reading, value):
                return _without_elements(
                    reading, value, Unknown(f"an element of `{name}` may be changed", self.elements[name])
                )
        elif name in self.escaped and (reading.class_record(value) or reading.function_record(value)):
            return Unknown(f"`{name}` may be changed by what happens to it here", self.escaped[name])
        return value


def find_escapes(
    regions: Iterable[tuple[Region, Callable[[ast.AST], Place]]], modules: frozenset[str], spend: Callable[[int], None]
) -> Escapes:
    """What the regions of some modules, each with where its nodes stand, may change; `modules` are names of modules."""
    return _Search(list(regions), modules, spend).found


class _Search:
    """Regions are taken in as they are found to run, until nothing new does."""

    def __init__(
        self,
        regions: list[tuple[Region, Callable[[ast.AST], Place]]],
        modules: frozenset[str],
        spend: Callable[[int], None],
    ) -> None:
        self.found = Escapes()
        self.modules = modules
        self.spend = spend
        self.mentions: set[str] = set()
        self.flows: dict[str, set[str]] = {}
        self.aliases: dict[str, set[str]] = {}
        self.classes: dict[str, tuple[set[str], set[str]]] = {}
        waiting = regions
        while True:
            running = [item for item in waiting if self._runs(item[0])]
            if not running:
                break
            waiting = [item for item in waiting if not self._runs(item[0])]
            for region, place in running:
                self._take(region, place)
            self._spread()

    def _runs(self, region: Region) -> bool:
        self.spend(1)
        if not region.name or region.name in self.mentions:
            return True
        if region.name.startswith("__") and (not region.owner or region.owner in self._bases()):
            return True
        return bool(region.owner) and (region.owner in self.mentions or region.owner in self.found.escaped)

    def _bases(self) -> set[str]:
        return {base for bases, _ in self.classes.values() for base in bases}

    def _take(self, region: Region, place: Callable[[ast.AST], Place]) -> None:
        self.mentions |= region.mentions
        for kind in ("escaped", "elements", "receivers", "rebound"):
            known: _Places = getattr(self.found, kind)
            for key, node in getattr(region, kind).items():
                if key not in known:
                    known[key] = place(node)
        for name in ("flows", "aliases"):
            links: dict[str, set[str]] = getattr(self, name)
            for key, sources in getattr(region, name).items():
                links.setdefault(key, set()).update(sources)
        for name, (bases, attributes) in region.classes.items():
            before = self.classes.get(name, (set(), set()))
            self.classes[name] = (before[0] | bases, before[1] | attributes)
        for node in region.dynamic:
            at = place(node)
            line = math.inf if region.name else at.line or 0
            if line > self.found.anything.get(at.file, (0, at))[0]:
                self.found.anything[at.file] = (line, at)

    def _spread(self) -> None:
        """Follow what has escaped to what else that may be, and mentioned classes to their bases."""
        found = self.found
        queue = [*found.escaped, *found.elements, *found.receivers]
        seen: set[str] = set()
        while queue:
            key = queue.pop()
            if key in seen:
                continue
            seen.add(key)
            self.spend(1)
            place = found.escaped.get(key) or found.elements.get(key) or found.receivers[key]
            for kind in (found.escaped, found.elements, found.receivers):
                for other in self.aliases.get(key, ()) if key in kind else ():
                    if other not in kind:
                        kind[other] = place
                        seen.discard(other)
                        queue.append(other)
            reached = set(self.flows.get(key, ()))
            if key in found.escaped and key in self.classes:
                reached |= self.classes[key][0] | self.classes[key][1]
            if key in found.escaped and key in self.modules:
                found.anything.setdefault("", (math.inf, place))
            for other in reached - {key}:
                if other not in found.escaped:
                    found.escaped[other] = place
                    seen.discard(other)
                queue.append(other)
        self.mentions |= found.escaped.keys()
        mentioned = [name for name in self.classes if name in self.mentions]
        while mentioned:
            bases = self.classes[mentioned.pop()][0] - self.mentions
            self.mentions |= bases
            mentioned += [base for base in bases if base in self.classes]


def _is_container(reading: Reading, value: Any) -> bool:
    is_made = reading.class_record(type(value)) is not None and not isinstance(value, Enum)
    return is_made or isinstance(value, _CONTAINERS)


def _holds_container(reading: Reading, value: Any) -> bool:
    stack, seen = _parts(value), set()
    while stack:
        item = stack.pop()
        if _is_container(reading, item):
            return True
        if id(item) not in seen:
            seen.add(id(item))
            reading.budget.spend()
            stack += _parts(item)
    return False


def _parts(value: Any) -> list[Any]:
    if isinstance(value, FieldInfo):
        return [value.default, value.choices, value.examples]
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple, set)) else []


def _without_elements(reading: Reading, value: Any, unknown: Unknown) -> Any:
    def kept(item: Any) -> Any:
        return unknown if _is_container(reading, item) or _holds_container(reading, item) else item

    if isinstance(value, dict):
        return {key: kept(item) for key, item in value.items()}
    return [kept(item) for item in value] if isinstance(value, list) else unknown
