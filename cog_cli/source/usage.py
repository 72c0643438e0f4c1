"""`collect_regions`: what the code of one module may do to the things that names name, judged by its form.

Names stand for themselves, whatever scope they are seen from, and attributes for their last part: `shared.SIZES` is
`SIZES`. Only the local names of a function have a mark of their own. So nothing here depends on a value.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from cog_cli.source.statements import bound_names, is_main_guard


class Level(IntEnum):
    """How much of an expression's value goes on: nothing, what it holds, or itself."""

    READ = 0
    ELEMENTS = 1
    ITSELF = 2


@dataclass
class Region:
    """Code that runs as one: that of a module, or a function's body. What may happen to names when it runs.

    `escaped`: the object is kept, changed or passed on; `elements`: what it holds is; `receivers`: a method of it is
    called that may change it; `rebound`: the name or attribute gets another object. Each with one node to blame.
    `flows`: a name -> the names whose objects it may be, or hold; `aliases`: those that an import gives it for.
    `dynamic`: nodes that may do anything. `classes`: a name -> its bases and its attributes.
    """

    name: str = ""
    owner: str = ""
    mentions: set[str] = field(default_factory=set)
    escaped: dict[str, ast.AST] = field(default_factory=dict)
    elements: dict[str, ast.AST] = field(default_factory=dict)
    receivers: dict[str, ast.AST] = field(default_factory=dict)
    rebound: dict[str, ast.AST] = field(default_factory=dict)
    flows: dict[str, set[str]] = field(default_factory=dict)
    aliases: dict[str, set[str]] = field(default_factory=dict)
    dynamic: list[ast.AST] = field(default_factory=list)
    classes: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What a module's code is judged with: names of functions of the project, and of its classes."""

    own_functions: frozenset[str]
    own_classes: frozenset[str]
    # Whether a class of the project has operators of its own, which may do anything with what they are given.
    has_own_operators: bool
    spend: Callable[[int], None]


@dataclass(frozen=True)
class _Flow:
    """Where an expression stands, how much of its value goes on, and through which names it is then reached."""

    region: Region
    level: Level = Level.READ
    sinks: tuple[str, ...] = ()
    locals: tuple[tuple[int, frozenset[str]], ...] = ()
    global_names: frozenset[str] = frozenset()
    owner: str = ""

    def to(self, level: Level, sinks: tuple[str, ...] = ()) -> _Flow:
        """The same place, with a value that goes elsewhere."""
        return _Flow(self.region, level, sinks, self.locals, self.global_names, self.owner)

    def elements(self) -> _Flow:
        """For what only its elements go on of."""
        return self.to(min(self.level, Level.ELEMENTS), self.sinks)

    def key(self, name: str) -> str:
        """The name as it is told apart from others."""
        return next((f"{name}@{number}" for number, names in reversed(self.locals) if name in names), name)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions and methods that change nothing and keep nothing.
_READS = _words(
    "len str int float bool range abs round any all repr isinstance issubclass print join format lower "
    "upper strip split startswith endswith replace title index count getenv exists isfile isdir basename dirname "
    "hasattr callable info debug warning error"
)
# ... but whose result holds the elements of what they were given.
_PASSES_ELEMENTS = _words(
    "list tuple dict set frozenset sorted enumerate zip reversed keys values items get copy fromkeys min max sum"
)
# ... and these pass on what comes after their first argument as it is.
_PASSES_REST = _words("dict get fromkeys")
_DYNAMIC = _words("exec eval globals vars")
_DYNAMIC_ATTRIBUTES = _words("__dict__ __globals__ __builtins__ __defaults__ __kwdefaults__ __closure__ __code__")
# What gives back, or holds, just what it was given.
_GIVES_ON = _words("Input Field NewType cast namedtuple NamedTuple TypedDict")
_KEEPING = _words(
    "staticmethod classmethod property abstractmethod dataclass final override total_ordering unique wraps cache "
    "lru_cache runtime_checkable concurrent batch streaming inference_mode no_grad enable_grad autocast"
)


_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.AugAssign, ast.Compare, ast.Subscript)
# What Python calls for these.
OPERATORS = frozenset(
    f"__{kind}{name}__"
    for name in _words("add sub mul matmul truediv floordiv mod pow lshift rshift and xor or")
    for kind in ("", "r", "i")
) | _words(
    "__getitem__ __setitem__ __delitem__ __contains__ __missing__ __neg__ __pos__ __invert__ __eq__ __lt__ __gt__"
)

# Names that are taken for what they usually mean, unless the project has functions of these names.
TRUSTED = _READS | _PASSES_ELEMENTS | _GIVES_ON | _KEEPING


def collect_regions(tree: ast.Module, around: Surroundings, is_known: Callable[[str], bool]) -> list[Region]:
    """The regions of a module; the first is the module's own. `is_known`: of a dotted name, whether it is an object
    that cog knows."""
    visitor = _Visitor(around, is_known)
    visitor.push(_Flow(visitor.regions[0]), *tree.body)
    visitor.run()
    return visitor.regions


class _Visitor:
    """Follows values from where they go to where they come from: the names."""

    def __init__(self, around: Surroundings, is_known: Callable[[str], bool]) -> None:
        self.around = around
        self.is_known = is_known
        self.regions = [Region()]
        self.stack: list[tuple[ast.AST, _Flow]] = []

    def run(self) -> None:
        while self.stack:
            node, flow = self.stack.pop()
            self.around.spend(1)
            rule = _RULES.get(type(node))
            if isinstance(node, ast.stmt) and is_main_guard(node):
                continue
            if self.around.has_own_operators and isinstance(node, _OPERATIONS):
                self.gives(node, flow)
            elif rule is not None:
                rule(self, node, flow)
            else:
                self.push(flow if isinstance(node, ast.expr) else flow.to(Level.READ), *ast.iter_child_nodes(node))

    def push(self, flow: _Flow, *nodes: ast.AST | None) -> None:
        self.stack.extend((node, flow) for node in reversed(nodes) if node is not None)

    # --- expressions

    def reach(self, key: str, node: ast.AST, flow: _Flow) -> None:
        if flow.level is not Level.READ and flow.sinks:
            for sink in flow.sinks:
                flow.region.flows.setdefault(sink, set()).add(key)
            if flow.level is Level.ITSELF and key in flow.sinks:
                flow.region.escaped.setdefault(key, node)  # it holds itself
        elif flow.level is not Level.READ:
            kind = flow.region.escaped if flow.level is Level.ITSELF else flow.region.elements
            kind.setdefault(key, node)

    def name(self, node: ast.Name, flow: _Flow) -> None:
        if isinstance(node.ctx, ast.Load):
            flow.region.mentions.add(node.id)
            self.reach(flow.key(node.id), node, flow)
            if node.id in _DYNAMIC or (node.id == "locals" and not flow.locals):
                flow.region.dynamic.append(node)
        elif node.id in flow.global_names:
            flow.region.rebound.setdefault(node.id, node)

    def attribute(self, node: ast.Attribute, flow: _Flow) -> None:
        flow.region.mentions.add(node.attr)
        if node.attr in _DYNAMIC_ATTRIBUTES or (node.attr == "modules" and ast.unparse(node.value) == "sys"):
            flow.region.dynamic.append(node)
        if not isinstance(node.ctx, ast.Load):
            flow.region.rebound.setdefault(node.attr, node)
        self.reach(node.attr, node, flow)
        is_kept = flow.level is Level.ITSELF or not isinstance(node.ctx, ast.Load)
        if is_kept and node.attr.startswith("__"):
            self.push(flow.to(Level.ITSELF), node.value)  # `f.__annotations__` is as good as `f`
        elif flow.level is Level.ITSELF:
            self.receiver(node.value, flow)  # it may be a method, which keeps its object
        else:
            self.push(flow.to(Level.READ), node.value)

    def receiver(self, node: ast.expr, flow: _Flow) -> None:
        """What `node` names has a method called, or kept."""
        if not isinstance(node, (ast.Name, ast.Attribute)):
            self.push(flow.to(Level.ITSELF), node)
            return
        key = flow.key(node.id) if isinstance(node, ast.Name) else node.attr
        flow.region.receivers.setdefault(key, node)
        self.push(flow.to(Level.READ), node)

    def call(self, node: ast.Call, flow: _Flow) -> None:
        name = _last(node.func)
        given = [*node.args, *(word.value for word in node.keywords)]
        into = flow.to(Level.ITSELF)
        if name in self.around.own_functions:
            pass
        elif name in _GIVES_ON:
            into = flow
            copied = [word.value for word in node.keywords if (name, word.arg) == ("Input", "choices")]
            self.push(flow.elements(), *copied)
            given = [item for item in given if item not in copied]
        elif name in _READS:
            into = flow.to(Level.READ)
        elif name in _PASSES_ELEMENTS and any(word.arg == "key" for word in node.keywords):
            into = flow.to(Level.ELEMENTS)  # the function given gets the elements, and is called
            self.push(flow.to(Level.ITSELF), *(word.value for word in node.keywords))
        elif name in _PASSES_ELEMENTS:
            into = flow.elements()
            if name in _PASSES_REST:
                self.push(flow, *given[1 if node.args else 0 :])
                given = node.args[:1]
        self.push(into, *given)
        if not isinstance(node.func, ast.Attribute):
            self.push(flow.to(Level.READ if isinstance(node.func, ast.Name) else Level.ITSELF), node.func)
            return
        flow.region.mentions.add(name)
        if into.level is Level.ITSELF:
            self.receiver(node.func.value, flow)
        else:
            self.push(into, node.func.value)

    def subscript(self, node: ast.Subscript, flow: _Flow) -> None:
        self.push(flow.elements() if isinstance(node.ctx, ast.Load) else flow.to(Level.ITSELF), node.value)
        self.push(flow, node.slice)

    def display(self, node: ast.expr, flow: _Flow) -> None:
        inner = flow if flow.level is Level.READ else flow.to(Level.ITSELF, flow.sinks)
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self.push(inner if key is not None else inner.elements(), key, value)
        else:
            self.push(inner, *ast.iter_child_nodes(node))

    def part(self, node: ast.Starred | ast.BinOp, flow: _Flow) -> None:
        self.push(flow.elements(), *ast.iter_child_nodes(node))

    def read(self, node: ast.AST, flow: _Flow) -> None:
        self.push(flow.to(Level.READ), *ast.iter_child_nodes(node))

    def choice(self, node: ast.IfExp, flow: _Flow) -> None:
        self.push(flow.to(Level.READ), node.test)
        self.push(flow, node.body, node.orelse)

    def gives(self, node: ast.AST, flow: _Flow) -> None:
        self.push(flow.to(Level.ITSELF), *ast.iter_child_nodes(node))

    def loop(self, node: ast.comprehension | ast.For | ast.AsyncFor, flow: _Flow) -> None:
        for child in ast.iter_child_nodes(node):
            self.push(flow.to(Level.ELEMENTS if child is node.iter else Level.READ), child)

    def walrus(self, node: ast.NamedExpr, flow: _Flow) -> None:
        self.push(flow.to(Level.ITSELF), node.value)

    # --- statements

    def assign(self, node: ast.Assign | ast.AnnAssign, flow: _Flow) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        keys = [key for target in targets for key in self.targets(target, flow)]
        self.push(flow.to(Level.ITSELF, tuple(keys)), node.value)
        self.push(flow.to(Level.READ), *targets)
        self.push(flow.to(Level.READ), getattr(node, "annotation", None))

    def targets(self, node: ast.expr, flow: _Flow) -> list[str]:
        """The names through which what is assigned to `node` can be reached."""
        while isinstance(node, (ast.Subscript, ast.Starred)):
            node = node.value
        if isinstance(node, (ast.Tuple, ast.List)):
            return [key for part in node.elts for key in self.targets(part, flow)]
        return [flow.key(node.id) if isinstance(node, ast.Name) else _last(node)]

    def change(self, node: ast.AugAssign, flow: _Flow) -> None:
        self.push(flow.to(Level.ELEMENTS, tuple(self.targets(node.target, flow))), node.value)
        self.receiver(node.target, flow)

    def imports(self, node: ast.Import | ast.ImportFrom, flow: _Flow) -> None:
        for alias in node.names:
            key = flow.key(alias.asname or alias.name.split(".")[0])
            origin = alias.name.split(".")[-1 if alias.asname else 0]
            if key != origin:
                flow.region.aliases.setdefault(key, set()).add(origin)
                flow.region.mentions.add(origin)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, flow: _Flow) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        names = frozenset(part.arg for part in every if part is not None)
        keys = tuple(f"{name}@{id(node)}" for name in sorted(names))
        if isinstance(node, ast.Lambda):
            inner = _Flow(flow.region, Level.ITSELF, (), (*flow.locals, (id(node), names)))
            self.push(inner, node.body)
        else:
            self.body(node, names, flow)
            flow.region.flows.setdefault(flow.key(node.name), set()).update(keys)
            self.push(flow.to(Level.READ), node.returns)
            self.decorators(node, flow)
            if not all(self.keeps(item) for item in node.decorator_list):
                flow.region.mentions.add(node.name)
                keys = ()
        self.push(flow.to(Level.ITSELF, keys), *arguments.defaults, *arguments.kw_defaults)
        self.push(flow.to(Level.READ), *(part.annotation for part in every if part is not None))

    def body(self, node: ast.FunctionDef | ast.AsyncFunctionDef, parameters: frozenset[str], flow: _Flow) -> None:
        region = Region(node.name, flow.owner)
        self.regions.append(region)
        named = [item for item in _own_nodes(node.body) if isinstance(item, (ast.Global, ast.Nonlocal))]
        bound = set(bound_names(node.body, self.around.spend))
        local = (parameters | bound) - {name for item in named for name in item.names}
        outside = frozenset(name for item in named if isinstance(item, ast.Global) for name in item.names)
        for name in outside & bound:
            region.rebound.setdefault(name, node)
        inner = _Flow(region, Level.READ, (), (*flow.locals, (id(node), frozenset(local))), outside)
        self.push(inner, *node.body)

    def class_(self, node: ast.ClassDef, flow: _Flow) -> None:
        region = flow.region
        bases, attributes = region.classes.setdefault(node.name, (set(), set()))
        bases |= {_last(base) for base in node.bases}
        attributes |= set(bound_names(node.body, self.around.spend))
        own = self.around.own_classes
        is_known = all(_last(base) in own or self.is_known(ast.unparse(base).split("[")[0]) for base in node.bases)
        words = [(word.arg, ast.unparse(word.value).rpartition(".")[2]) for word in node.keywords]
        is_plain = all(word[0] == "total" or word == ("metaclass", "ABCMeta") for word in words)
        if not (is_known and is_plain and all(self.keeps(item) for item in node.decorator_list)):
            region.escaped.setdefault(node.name, node)
        self.decorators(node, flow)
        self.push(flow.to(Level.ITSELF), *(word.value for word in node.keywords))
        self.push(flow.to(Level.READ), *(base for base in node.bases if not _last(base)))
        inner = _Flow(region, Level.READ, (), flow.locals, flow.global_names, node.name)
        self.push(inner, *node.body)

    def decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, flow: _Flow) -> None:
        self.push(flow.to(Level.READ), *node.decorator_list)
        for item in node.decorator_list:
            if isinstance(item, ast.Attribute) and not self.keeps(item):
                self.receiver(item.value, flow)  # it is called

    def keeps(self, node: ast.expr) -> bool:
        """Whether a decorator keeps nothing and changes nothing but what it decorates."""
        name = _last(node.func if isinstance(node, ast.Call) else node)
        return name in _KEEPING and name not in self.around.own_functions


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _own_nodes(body: list[ast.stmt]) -> list[ast.AST]:
    """The nodes of a function's body, without those of the functions in it."""
    found: list[ast.AST] = []
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.expr)):
            stack.extend(ast.iter_child_nodes(node))
    return found


_RULES: dict[type, Callable[..., None]] = {
    ast.Name: _Visitor.name,
    ast.Attribute: _Visitor.attribute,
    ast.Call: _Visitor.call,
    ast.Subscript: _Visitor.subscript,
    ast.IfExp: _Visitor.choice,
    ast.NamedExpr: _Visitor.walrus,
    ast.AugAssign: _Visitor.change,
    ast.ClassDef: _Visitor.class_,
    **dict.fromkeys((ast.Assign, ast.AnnAssign), _Visitor.assign),
    **dict.fromkeys((ast.Starred, ast.BinOp), _Visitor.part),
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set, ast.Dict), _Visitor.display),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _Visitor.display),
    **dict.fromkeys((ast.Compare, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.Expr), _Visitor.read),
    **dict.fromkeys((ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.withitem), _Visitor.gives),
    **dict.fromkeys((ast.Raise, ast.Match), _Visitor.gives),
    **dict.fromkeys((ast.comprehension, ast.For, ast.AsyncFor), _Visitor.loop),
    **dict.fromkeys((ast.Import, ast.ImportFrom), _Visitor.imports),
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), _Visitor.function),
}
