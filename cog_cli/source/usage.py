"""`usage`: what code that is not followed may do to the names it mentions, judged by its form."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import IntEnum


class Flow(IntEnum):
    """Where the value of an expression goes: nowhere, its elements to places unknown, or itself."""

    READ = 0
    ELEMENTS = 1
    ITSELF = 2


@dataclass
class Usage:
    """What may happen to names, or to dotted names (`shared.SIZES`), in some code.

    `changed`: the object itself may be changed, or kept; `elements`: its elements may; `called`: it is called;
    `receivers`: a method of it is called; `rebound`: the attribute is assigned; `global_names`: bound by `global`.
    `imports` are import statements in function bodies, for the names that they bind there.
    """

    changed: set[str] = field(default_factory=set)
    elements: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    receivers: set[str] = field(default_factory=set)
    rebound: set[str] = field(default_factory=set)
    global_names: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)

    def add_outer(self, inner: Usage, local: set[str]) -> None:
        """Add what a function's body does to names that are not its own."""
        for kind in ("changed", "elements", "called", "receivers", "rebound"):
            names: set[str] = getattr(inner, kind)
            getattr(self, kind).update(name for name in names if name.split(".")[0] not in local)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions and methods that change nothing and keep nothing.
_READS = _words(
    "len str int float bool range min max sum abs round any all repr isinstance issubclass print join format lower "
    "upper strip split startswith endswith replace title index count getenv exists isfile isdir basename dirname "
    "hasattr callable info debug warning error"
)
# ... but whose result holds the elements of what they were given.
_PASSES_ELEMENTS = _words(
    "list tuple dict set frozenset sorted enumerate zip reversed keys values items get copy filter map"
)


def usage(node: ast.AST) -> Usage:
    """What running `node` (for a function: its body) may do."""
    found = Usage()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        _add_function(found, node)
    else:
        _Visitor(found).visit_all([node])
    return found


def _add_function(found: Usage, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
    inner = Usage()
    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    visitor = _Visitor(inner)
    if isinstance(node, ast.Lambda):
        visitor.stack.append((node.body, Flow.ITSELF))
        body = []
    visitor.visit_all(body)
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    local = ({part.arg for part in every if part is not None} | visitor.stores) - inner.global_names
    found.add_outer(inner, local)
    found.global_names |= inner.global_names & visitor.stores
    found.imports += visitor.imports


class _Visitor:
    def __init__(self, found: Usage) -> None:
        self.found = found
        self.stores: set[str] = set()
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.stack: list[tuple[ast.AST, Flow]] = []

    def visit_all(self, nodes: list[ast.AST]) -> None:
        self.stack.extend((node, Flow.READ) for node in nodes)
        while self.stack:
            node, flow = self.stack.pop()
            if isinstance(node, ast.Name):
                self._name(node, flow)
            elif isinstance(node, ast.Call):
                self._call(node, flow)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                self._definition(node)
            else:
                self._other(node, flow)

    def _push(self, flow: Flow, *nodes: ast.AST | None) -> None:
        self.stack.extend((node, flow) for node in nodes if node is not None)

    def _name(self, node: ast.Name, flow: Flow) -> None:
        if isinstance(node.ctx, ast.Load):
            self._flows(node.id, flow)
        else:
            self.stores.add(node.id)

    def _flows(self, name: str, flow: Flow) -> None:
        if flow is Flow.ITSELF:
            self.found.changed.add(name)
        elif flow is Flow.ELEMENTS:
            self.found.elements.add(name)

    def _call(self, node: ast.Call, flow: Flow) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [*node.args, *(word.value for word in node.keywords)]
        if name in _READS:
            into = Flow.READ
        elif name in _PASSES_ELEMENTS:
            into = min(flow, Flow.ELEMENTS)
        else:
            into = Flow.ITSELF
        self._push(into, *given)
        path = dotted(node.func)
        if path is not None:
            self.found.called.add(path)
        if isinstance(node.func, ast.Attribute):
            receiver = dotted(node.func.value)
            if receiver is not None and into is Flow.ITSELF:
                self.found.receivers.add(receiver)
            else:
                self._push(into, node.func.value)
        elif path is None:
            self._push(Flow.ITSELF, node.func)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        # It may be called at any time later, or by whoever gets it.
        _add_function(self.found, node)
        self._push(Flow.ITSELF, *node.args.defaults, *node.args.kw_defaults)
        if not isinstance(node, ast.Lambda):
            self._push(Flow.ITSELF, *node.decorator_list)
            self.stores.add(node.name)

    def _other(self, node: ast.AST, flow: Flow) -> None:
        if isinstance(node, ast.Attribute):
            self._attribute(node, flow)
        elif isinstance(node, ast.Subscript):
            inner = Flow.ITSELF if not isinstance(node.ctx, ast.Load) else min(flow, Flow.ELEMENTS)
            self._push(inner, node.value)
            self._push(Flow.READ, node.slice)
        elif isinstance(node, (ast.Compare, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.Expr, ast.Assert)):
            self._push(Flow.READ, *ast.iter_child_nodes(node))
        elif isinstance(node, (ast.If, ast.While)):
            self._push(Flow.READ, node.test, *node.body, *node.orelse)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._push(Flow.READ, node.target, *node.body, *node.orelse)
            self._push(Flow.ELEMENTS, node.iter)
        elif isinstance(node, ast.comprehension):
            self._push(Flow.READ, node.target, *node.ifs)
            self._push(Flow.ELEMENTS, node.iter)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            self._push(Flow.READ, *(node.targets if isinstance(node, ast.Assign) else [node.target]))
            self._push(Flow.ITSELF, node.value)
        elif isinstance(node, ast.AugAssign):
            self._push(
                Flow.ITSELF, *([ast.Name(node.target.id, ast.Load())] if isinstance(node.target, ast.Name) else [])
            )
            self._push(Flow.READ, node.target)
            self._push(Flow.ELEMENTS, node.value)
        elif isinstance(node, ast.BinOp):
            self._push(min(flow, Flow.ELEMENTS), node.left, node.right)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self.found.global_names.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.stores.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
            self.imports.append(node)
        elif isinstance(node, (ast.Try, ast.With, ast.AsyncWith, ast.ExceptHandler, ast.withitem, ast.ClassDef)):
            self._push(Flow.READ, *ast.iter_child_nodes(node))
        else:
            # return, yield, displays, conditional expressions ...: the value goes on.
            self._push(Flow.ITSELF, *ast.iter_child_nodes(node))

    def _attribute(self, node: ast.Attribute, flow: Flow) -> None:
        path = dotted(node)
        if path is None:
            self._push(flow if isinstance(node.ctx, ast.Load) else Flow.ITSELF, node.value)
        elif isinstance(node.ctx, ast.Load):
            self._flows(path, flow)
        else:
            self.found.rebound.add(path)


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` as text, None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
