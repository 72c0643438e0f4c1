"""`Changes`: what the project's code may do to the objects that names name, judged by where the names stand.

A name means itself wherever it stands: `shared.SIZES`, and a local SIZES, are SIZES. An object is as its binding says
if nothing that may run while the project is imported changes it, keeps it or passes it on.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

from cog_cli.source.execution import bound_names, is_main_guard
from cog_cli.source.operations import walk
from cog_cli.source.reading import Reading
from cog_cli.source.values import Place, Unknown

if TYPE_CHECKING:
    from cog_cli.source.modules import SourceModule


class Use(IntEnum):
    """What happens to an object where a name stands, each more than the one before."""

    READ = 0
    OPENED = 1  # what it holds goes on
    KEPT = 2  # it goes on itself, or a method of it that may change it
    PASSED = 3  # other code is given it, and might change even a class or function
    REBOUND = 4  # the name gets another object


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTAINERS = (list, dict, set, OrderedDict)
_READERS = _words("len str int float bool any all repr isinstance issubclass print hasattr range")
# Their result holds what they were given, or what that holds.
_OPENERS = _words("list tuple dict set frozenset sorted enumerate zip reversed min max sum")
_READ_METHODS = _words("keys index count lower upper strip split startswith endswith")
_OPEN_METHODS = _words("values items get copy")
# Python calls these for operators; those of the project may do anything with what they are given.
_OPERATORS = _words("add sub mul matmul truediv floordiv mod pow lshift rshift and xor or eq lt gt contains getitem")
_WORD = re.compile(r"\w+")
_DEFINITION = re.compile(r"\b(?:def|class)\s+(\w+)")


class Changes:
    """The uses of names in all files that the predictor's file can reach; each file is looked at once, if need be."""

    def __init__(self, modules: list[SourceModule]) -> None:
        self.modules = modules
        self._having: dict[str, list[SourceModule]] = {}  # by the words in their texts
        self._mentions: Counter[str] = Counter()  # of a word, apart from where it is defined
        self._defined: set[str] = set()
        self._looked_at: set[str] = set()
        self._uses: dict[str, dict[Use, Place]] = {}
        self._aliases: dict[str, set[str]] = {}
        for module in modules:
            words = _WORD.findall(module.source.text)
            defined = _DEFINITION.findall(module.source.text)
            for word in set(words):
                self._having.setdefault(word, []).append(module)
            self._defined.update(defined)
            self._mentions.update(words)
            self._mentions.subtract(defined)
        self._has_operators = any(f"__{name}__" in self._defined for name in _OPERATORS)

    def trusted(self, reading: Reading, name: str, value: Any, file: str) -> Any:
        """`value`, bound to `name` in `file`; Unknown if it may be another."""
        uses = self._all_uses(name)
        if Use.REBOUND in uses:
            return Unknown(f"`{name}` may be bound to something else here", uses[Use.REBOUND])
        for dynamic in (place for key in ("exec", "globals") for place in self._uses.get(key, {}).values()):
            if dynamic.file == file:
                return Unknown("exec(), globals() or the like may bind any name", dynamic)
        is_stand_in = reading.place_of(value) is not None
        inside = [is_stand_in or isinstance(item, _CONTAINERS) or _is_made(reading, item) for item in walk(value)]
        place = uses.get(Use.PASSED) if is_stand_in else uses.get(Use.KEPT, uses.get(Use.PASSED))
        if place is not None and any(inside):
            return Unknown(f"`{name}` may be changed by what happens to it here", place)
        if uses and any(inside[1:]):
            return Unknown(f"an element of `{name}` may be changed", min(uses.items())[1])
        return value

    def _all_uses(self, name: str) -> dict[Use, Place]:
        """The uses of a name; of the names that its object gets only those that may change even a class count."""
        names, found = [name], {}
        for each in names:
            self._look_for(each)
            uses = self._uses.get(each, {}).items()
            found.update({use: place for use, place in uses if each == name or use is Use.PASSED})
            names += [other for other in self._aliases.get(each, ()) if other not in names]
        return found

    def _look_for(self, name: str) -> None:
        """Look at the files whose text has the name."""
        for module in self._having.pop(name, ()):
            if module.source.name not in self._looked_at:
                self._looked_at.add(module.source.name)
                file = _File(module, self._may_run, self._has_operators)
                for key, use, node in file.uses():
                    self._uses.setdefault(key, {}).setdefault(use, module.place(node))
                for key, other in file.aliases:
                    self._aliases.setdefault(key, set()).add(other)

    def _may_run(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Whether a function may run while the project is imported: Python, or who mentions it, may call it."""
        decorators = {part.id for item in node.decorator_list for part in ast.walk(item) if isinstance(part, ast.Name)}
        return node.name.startswith("__") or self._mentions[node.name] > 0 or bool(decorators & self._defined)


def _is_made(reading: Reading, value: Any) -> bool:
    return reading.class_record(type(value)) is not None and not isinstance(value, Enum)


# What only looks at the names in it, or names them as a type, a base or a decorator.
_READING = (
    *(ast.Expr, ast.FormattedValue, ast.UnaryOp, ast.If, ast.While, ast.Assert, ast.arg),
    *(ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.AnnAssign),
)


class _File:
    """Where the names of one file stand, without what does not run: the rules go from a name to what is around it."""

    def __init__(self, module: SourceModule, may_run: Callable[[Any], bool], has_operators: bool) -> None:
        self.is_known = module.is_known
        self.has_operators = has_operators
        self.parents: dict[ast.AST, ast.AST] = {}
        self.quiet: set[ast.arguments] = set()
        self.aliases: list[tuple[str, str]] = []
        stack: list[ast.AST] = [module.source.tree]
        while stack:
            node = stack.pop()
            children = list(ast.iter_child_nodes(node))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not may_run(node):
                children = [item for item in children if not isinstance(item, ast.stmt)]
                self.quiet.add(node.args)
            children = [item for item in children if not (isinstance(item, ast.stmt) and is_main_guard(item))]
            self.parents.update(dict.fromkeys(children, node))
            stack += children

    def uses(self) -> Iterator[tuple[str, Use, ast.AST]]:
        """Each name with what happens to it, and the node to blame."""
        passed: dict[str, ast.AST] = {}
        classes = []
        for node, around in sorted(self.parents.items(), key=lambda pair: getattr(pair[0], "lineno", 0)):
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                yield node.attr, Use.REBOUND, node
            elif isinstance(node, (ast.Name, ast.Attribute)):
                name = _last(node)
                is_stored = isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
                is_changed = isinstance(around, (ast.AugAssign, ast.Delete)) or len(getattr(around, "targets", ())) > 1
                use = (Use.KEPT if is_changed else Use.READ) if is_stored else self._use(node)
                if use is Use.PASSED:
                    passed.setdefault(name, node)
                if use is not Use.READ or name in ("exec", "globals"):
                    yield name, use, node
            elif isinstance(node, ast.Global):
                yield from ((name, Use.REBOUND, node) for name in node.names)
            elif isinstance(node, ast.alias) and node.asname:
                self.aliases.append((node.name.rpartition(".")[2], node.asname))
                yield self.aliases[-1][0], Use.KEPT, node
            elif isinstance(node, ast.ClassDef):
                classes.append(node)
        for node in classes:  # who is given a class has its attributes and bases, too
            if node.name in passed:
                bases = map(_last, node.bases)
                yield from ((name, Use.PASSED, passed[node.name]) for name in (*bound_names(node.body), *bases))

    def _use(self, node: ast.AST) -> Use:
        """What happens to the value of an expression."""
        around = self.parents[node]
        if isinstance(around, ast.keyword):
            return self._given(self.parents[around], around.arg)
        if isinstance(around, ast.Call):
            return Use.READ if node is around.func else self._given(around, "")
        if isinstance(around, ast.Subscript) and node is around.value:
            is_read = isinstance(around.ctx, ast.Load)
            return Use.KEPT if not is_read else Use.OPENED if self._use(around) else Use.READ
        if isinstance(around, ast.Attribute):
            return self._asked(around)
        if isinstance(around, (ast.Assign, ast.AnnAssign)) and node is around.value:
            targets = around.targets if isinstance(around, ast.Assign) else [around.target]
            self.aliases += [(_last(node), _last(target)) for target in targets]
            return Use.KEPT
        if isinstance(around, ast.arguments):
            return Use.READ if around in self.quiet else Use.KEPT
        if isinstance(around, (ast.BinOp, ast.Compare)):
            is_read = isinstance(around, ast.Compare)
            return Use.KEPT if self.has_operators else Use.READ if is_read else Use.OPENED
        if isinstance(around, (ast.Starred, ast.comprehension, ast.For, ast.AsyncFor, ast.AugAssign)):
            return Use.OPENED
        if isinstance(around, (ast.IfExp, ast.BoolOp)):
            return Use.READ if node is getattr(around, "test", None) else self._use(around)
        if isinstance(around, ast.Dict) and node in around.values and around.keys[around.values.index(node)] is None:
            return Use.OPENED  # `**node`
        return Use.READ if isinstance(around, _READING) else Use.KEPT

    def _given(self, call: ast.AST, word: str | None) -> Use:
        """What becomes of an argument, or of what a class is made with."""
        if word is None:
            return Use.OPENED  # `**given`
        if not isinstance(call, ast.Call):
            return Use.PASSED
        function = ast.unparse(call.func)
        name = function.rpartition(".")[2]
        if name == "join" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant):
            return Use.OPENED
        if not self.is_known(function):
            return Use.PASSED
        if name in ("Input", "Field"):
            is_held = not isinstance(self.parents[call], (ast.arguments, ast.Assign, ast.AnnAssign, ast.Tuple))
            return Use.KEPT if is_held else Use.OPENED if word == "choices" else Use.READ
        if name in _READERS:
            return Use.READ
        if name in _OPENERS and word != "key":
            is_keyed = any(item.arg == "key" for item in call.keywords)
            return Use.OPENED if is_keyed or self._use(call) else Use.READ
        return Use.PASSED if hasattr(builtins, name) else Use.KEPT

    def _asked(self, node: ast.Attribute) -> Use:
        """What happens to the object of which `node` is an attribute."""
        around = self.parents[node]
        if node.attr.startswith("__") and node.attr not in ("__name__", "__members__"):
            return Use.PASSED
        if not isinstance(around, ast.Call) or node is not around.func:
            is_method = any(hasattr(kind, node.attr) for kind in _CONTAINERS)
            return Use.KEPT if is_method or not isinstance(node.ctx, ast.Load) else min(Use.KEPT, self._use(node))
        if node.attr in _OPEN_METHODS:
            return Use.OPENED if self._use(around) else Use.READ
        return Use.READ if node.attr in _READ_METHODS else Use.KEPT


def _last(node: ast.AST) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))
