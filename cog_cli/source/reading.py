"""`Reading`: the state of one `read_source` call, and what its parts do for each other."""

from __future__ import annotations

import ast
import collections
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

from cog.input import FieldInfo
from cog_cli.source.budget import MAX_SIZE, Budget
from cog_cli.source.scope import Scope
from cog_cli.source.usage import Usage, usage
from cog_cli.source.values import Blocked, Place, Stream, Unknown, force

_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_MAPPINGS = (dict, collections.OrderedDict, types.MappingProxyType)
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
ORDERED_VIEWS: tuple[type, ...] = tuple(
    type(getattr(collections.OrderedDict(), name)()) for name in ("keys", "values", "items")
)
_CHANGEABLE = (list, set, collections.deque, dict)
# How something unknown may use a value: keep and change it, use its elements, or call it.
_GIVE, _PARTS, _RUN = range(3)
CONTAINERS = (*_SEQUENCES, *_MAPPINGS, *VIEWS, *ORDERED_VIEWS)


@dataclass
class LazyAnnotation:
    """An annotation that is evaluated when it is needed, with the names it saw where it was written."""

    node: ast.expr
    scope: Scope


@dataclass
class FunctionRecord:
    """What a stand-in function stands for. `defaults` are by parameter name, evaluated where it was defined."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    defaults: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, LazyAnnotation | Unknown] = field(default_factory=dict)
    can_run: bool = True


@dataclass
class ClassRecord:
    """What a stand-in class stands for. `annotations` are its own fields, not those of its bases."""

    node: ast.ClassDef
    scope: Scope
    bases: tuple[Any, ...] = ()
    annotations: dict[str, LazyAnnotation | Unknown] = field(default_factory=dict)
    is_finished: bool = False
    problem: Unknown | None = None


class Reading:
    """Everything one reading knows. Evaluation, execution and calls live in modules of their own and meet here.

    `uncertain` counts the conditions of unknown outcome around the statement being read: under one, assignments go to
    a copy of the innermost of `forks` and objects are not changed but given up (`taint`).
    """

    evaluate: Callable[[ast.expr, Scope], Any]
    execute: Callable[[list[ast.stmt], Scope], Any]
    call: Callable[[Any, list[Any], dict[str, Any], ast.AST, Scope], Any]
    import_name: Callable[[ast.stmt, Scope], dict[str, Any]]
    make_function: Callable[[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, Scope], Any]
    make_class: Callable[[ast.ClassDef, Scope], Any]

    def __init__(self, root: Path) -> None:
        self.root = root
        self.budget = Budget()
        self.nowhere = Place()
        self.uncertain = 0
        self.calls = 0
        self.forks: list[Scope] = []
        self.functions: dict[int, tuple[Any, FunctionRecord]] = {}
        self.classes: dict[int, tuple[Any, ClassRecord]] = {}
        # The values of the expressions evaluated so far inside the one that is being evaluated.
        self.operands: list[Any] = []
        # Every value bound since a `try` began, while one is read.
        self.bound: list[Any] = []
        self._tainted: dict[int, tuple[Any, Unknown]] = {}
        self._links: dict[int, list[Any]] = {}
        self._linked: list[Any] = []  # keeps their ids from being used again

    def unknown(self, reason: str, node: ast.AST | None, scope: Scope, *, path: str = "") -> Unknown:
        """A value that cannot be known, at `node`."""
        return Unknown(reason, scope.module.place(node), path=path)

    def failure(self, reason: str, node: ast.AST | None, scope: Scope) -> Unknown:
        """A value that the project itself fails to make, at `node`."""
        return Unknown(reason, scope.module.place(node), is_error=True)

    def function_record(self, value: Any) -> FunctionRecord | None:
        """What the stand-in function `value` stands for, None for anything else."""
        found = self.functions.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def class_record(self, value: Any) -> ClassRecord | None:
        """What the stand-in class `value` stands for, None for anything else."""
        found = self.classes.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def taint_of(self, value: Any) -> Unknown | None:
        """Why `value` itself can no longer be trusted, if so."""
        found = self._tainted.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def find_unknown(self, value: Any) -> Unknown | None:
        """The first unknown or untrusted thing in `value` or in the containers it holds."""
        stack, seen = [value], set()
        while stack:
            item = stack.pop()
            if isinstance(item, Unknown):
                return item
            taint = self.taint_of(item)
            if taint is not None:
                return taint
            if isinstance(item, (*CONTAINERS, Stream, FieldInfo, slice)) and id(item) not in seen:
                seen.add(id(item))
                self.budget.spend(1)
                stack.extend(_parts(item))
        return None

    def find_excess(self, value: Any) -> bool:
        """Whether `value`, written out, is larger than a default can sensibly be, or contains itself."""
        stack, count = [value], 0
        while stack and count <= MAX_SIZE:
            item = stack.pop()
            count += 1
            if isinstance(item, (*CONTAINERS, FieldInfo)):
                stack.extend(_parts(item))
        self.budget.spend(count // 8)
        return count > MAX_SIZE

    def taint(self, values: Iterable[Any], cause: Unknown) -> None:
        """Give up `values` and all that can be reached from them: something unknown may change or call them."""
        self._spread([(item, _GIVE) for item in values], cause)

    def taint_usage(self, found: Usage, scope: Scope, cause: Unknown) -> None:
        """Give up what code of that usage, running in `scope`, may change."""
        self._spread(self._reach(found, scope, cause), cause)

    def _spread(self, stack: list[tuple[Any, int]], cause: Unknown) -> None:
        seen: set[tuple[int, int]] = set()
        while stack:
            item, mode = force(stack[-1][0]), stack.pop()[1]
            if (id(item), mode) in seen:
                continue
            seen.add((id(item), mode))
            self.budget.spend()
            stack += [(other, _GIVE) for other in self._links.get(id(item), ()) if mode == _GIVE]
            if isinstance(item, Unknown):
                stack += [(other, _GIVE) for other in item.aliases]
            elif is_module(item):
                if mode == _GIVE:
                    stack += [(other, _GIVE) for other in item.distrust(cause)]
            elif isinstance(item, types.MethodType):
                stack += [(item.__func__, mode), (item.__self__, mode)]
            elif isinstance(item, (staticmethod, classmethod)):
                stack.append((item.__func__, mode))
            elif isinstance(item, (*CONTAINERS, Stream)) and mode != _RUN:
                if mode == _GIVE and isinstance(item, _CHANGEABLE):
                    self._tainted[id(item)] = (item, cause)
                stack += [(part, _GIVE) for part in _parts(item)]
            elif (record := self.function_record(item)) is not None and mode != _PARTS:
                if mode == _GIVE:
                    self._tainted[id(item)] = (item, cause)
                stack += self._reach(usage(record.node), record.scope, cause)
            elif isinstance(item, types.FunctionType) and hasattr(item, "__wrapped__"):
                # cog wraps predict() for direct calls.
                self._tainted[id(item)] = (item, cause)
                stack.append((vars(item)["__wrapped__"], mode))
            elif self.class_record(item) is not None and not isinstance(item, EnumMeta) and mode != _PARTS:
                if mode == _GIVE:
                    self._tainted[id(item)] = (item, cause)
                stack += [(part, mode) for base in item.__mro__ for part in list(vars(base).values())]
            elif self.class_record(type(item)) is not None and not isinstance(item, Enum):
                self._tainted[id(item)] = (item, cause)
                stack += [(type(item), _RUN), *((part, _GIVE) for part in getattr(item, "__dict__", {}).values())]

    @contextmanager
    def maybe(self, scope: Scope) -> Iterator[None]:
        """Around the evaluation of something that may not run at all."""
        self.uncertain += 1
        self.forks.append(Scope(scope.module))  # no scope that is bound in: nothing bound in here is sure
        try:
            yield
        finally:
            self.uncertain -= 1
            self.forks.pop()

    def _reach(self, found: Usage, scope: Scope, cause: Unknown) -> list[tuple[Any, int]]:
        for name in found.global_names:
            scope.module.rebind(name, cause)
        local: dict[str, Any] = {}
        for node in found.imports:
            local.update(self.import_name(node, scope))
        # Sorted, so that the message of a failed reading is the same in every run.
        for path in sorted(found.rebound):
            owner, _, attribute = path.rpartition(".")
            value = self._follow(owner, scope, local)
            if is_module(value):
                value.rebind(attribute, cause)
            else:
                self.taint([value], cause)
        modes = ((found.changed, _GIVE), (found.elements, _PARTS), (found.called, _RUN))
        reached = [(self._follow(path, scope, local), mode) for paths, mode in modes for path in sorted(paths)]
        receivers = [self._follow(path, scope, local) for path in sorted(found.receivers)]
        return [*reached, *((value, _GIVE) for value in receivers if not is_module(value))]

    def _follow(self, path: str, scope: Scope, local: dict[str, Any]) -> Any:
        """What a dotted name names, or the last object on the way that is no module of the project."""
        name, *rest = path.split(".")
        value = force(local[name] if name in local else scope.find(name))
        for part in rest:
            if not is_module(value):
                break
            value = value.attribute(part)
        return value

    def link(self, copy: Any, originals: Iterable[Any]) -> None:
        """Say that `copy` stands for one of the equal `originals`: a change of one may be a change of the other."""
        for original in originals:
            self._links.setdefault(id(copy), []).append(original)
            self._links.setdefault(id(original), []).append(copy)
            self._linked += [copy, original]

    def changing(self, value: Any, node_place: Place) -> None:
        """To be called before `value` is changed in place. Raises Blocked if that makes it unknown itself."""
        linked = self._links.get(id(value))
        if linked:
            cause = Unknown("it may be the same object as another, which is changed", node_place)
            self.taint([value, *linked], cause)
            raise Blocked(cause)

    def place_of(self, value: Any) -> Place | None:
        """Where the stand-in `value` is defined."""
        record = self.function_record(value) or self.class_record(value)
        return record.scope.module.place(record.node) if record is not None else None


def is_module(value: Any) -> bool:
    """Whether `value` is a module of the project."""
    return isinstance(getattr(value, "scope", None), Scope) and hasattr(value, "distrust")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Stream):
        return list(value.items)
    if isinstance(value, FieldInfo):
        return [value.default, value.choices, value.examples]
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if isinstance(value, _MAPPINGS):
        return [*value.keys(), *value.values()]
    return list(value)
