"""`define`: a stand-in for a function or class of the project, with its signature or fields and without its bodies."""

from __future__ import annotations

import abc
import ast
import functools
import inspect
import types
import typing
from enum import EnumMeta
from typing import Any

from cog_cli.source.annotations import resolve
from cog_cli.source.calls import call
from cog_cli.source.names import Names
from cog_cli.source.operations import need_known
from cog_cli.source.reading import ClassRecord, FunctionRecord, LazyAnnotation, Reading, Scope
from cog_cli.source.statements import yields
from cog_cli.source.values import ABSENT, Blocked, StandInCalled, Unknown, Unsure
from cog_cli.source.vocabulary import PydanticBase, is_harmless_decorator

_MAX_BASES = 100
# Set by us, or with a meaning for Python that a stand-in must not have.
_KEPT_OUT = frozenset({"__module__", "__classcell__", "__qualname__", "__slots__", "__annotations__", "__dict__"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def define(reading: Reading, names: Names, node: ast.stmt, scope: Scope) -> Any:
    """The value that a `def` or `class` statement binds; Unknown if its bases or decorators are."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    if isinstance(node, ast.ClassDef):
        kind, value = "class", _class(reading, names, node, scope)
    else:
        kind, value = "signature", _function(reading, node, scope)
    for item in reversed(node.decorator_list):
        value = _decorated(reading, item, value, scope, kind)
    return value


def _decorated(reading: Reading, node: ast.expr, value: Any, scope: Scope, kind: str) -> Any:
    decorator = reading.evaluate(node, scope)
    if is_harmless_decorator(decorator) or isinstance(value, Unknown) or _keeps_signature(reading, node, scope):
        return value
    text = f"the decorator @{ast.unparse(node)} may change the {kind}"
    if isinstance(decorator, Unknown):
        return decorator if decorator.is_error else reading.unknown(f"{text}: {decorator.reason}", node, scope)
    try:
        return call(reading, decorator, [value], {}, node, scope)
    except Blocked as error:
        return error.unknown
    except (Unsure, StandInCalled) as error:
        return reading.unknown(f"{text}: {error or 'it runs code of the project'}", node, scope)


def _keeps_signature(reading: Reading, node: ast.expr, scope: Scope, depth: int = 0) -> bool:
    """Whether a decorator of the project, or the call that makes one, is of the usual shape with functools.wraps."""
    is_made = isinstance(node, ast.Call)
    record = reading.function_record(reading.evaluate(node.func if isinstance(node, ast.Call) else node, scope))
    if record is None or depth > 3:
        return False
    maker = record.node
    if is_made:
        inner = maker.body[-2] if len(maker.body) > 1 else None
        if not isinstance(inner, ast.FunctionDef) or inner.decorator_list or not _returns(maker, inner.name):
            return False
        maker = inner
    body = [item for item in maker.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    parameter = maker.args.args[0].arg if len(maker.args.args) == 1 else ""
    if len(body) == 1 and isinstance(body[0], ast.Return) and isinstance(body[0].value, ast.Call):
        other = body[0].value
        is_given = [ast.unparse(item) for item in other.args] == [parameter] and not other.keywords
        return is_given and _keeps_signature(reading, other.func, record.scope, depth + 1)
    if len(body) != 2 or not isinstance(body[0], (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    wraps = body[0].decorator_list[0] if len(body[0].decorator_list) == 1 else None
    if not isinstance(wraps, ast.Call) or [ast.unparse(item) for item in wraps.args] != [parameter] or wraps.keywords:
        return False
    return _returns(maker, body[0].name) and reading.evaluate(wraps.func, record.scope) is functools.wraps


def _returns(node: _Function, name: str) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Return) and isinstance(last.value, ast.Name) and last.value.id == name


# --- functions


def _sync(*args: Any, **kwargs: Any) -> Any:
    raise StandInCalled


async def _coroutine(*args: Any, **kwargs: Any) -> Any:
    raise StandInCalled


def _generator(*args: Any, **kwargs: Any) -> Any:
    raise StandInCalled
    yield


async def _async_generator(*args: Any, **kwargs: Any) -> Any:
    raise StandInCalled
    yield


_TEMPLATES: dict[tuple[bool, bool], Any] = {
    (False, False): _sync,
    (True, False): _coroutine,
    (False, True): _generator,
    (True, True): _async_generator,
}


def _function(reading: Reading, node: _Function, scope: Scope) -> Any:
    template = _TEMPLATES[isinstance(node, ast.AsyncFunctionDef), yields(node)]
    function = types.FunctionType(template.__code__, {"StandInCalled": StandInCalled, "__builtins__": {}}, node.name)
    function.__qualname__ = node.name
    record = FunctionRecord(node, scope)
    try:
        function.__signature__ = inspect.Signature(_parameters(reading, node.args, scope, record))  # type: ignore[attr-defined]  # inspect looks there
    except ValueError as error:
        return reading.failure(f"{node.name}() is not valid: {error}", node, scope)
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    written = [(part.arg, part.annotation) for part in every if part is not None]
    type_names = [part.name for part in getattr(node, "type_params", ())]
    for name, annotation in [*written, ("return", node.returns)]:
        if annotation is not None:
            record.annotations[name] = _lazy_annotation(reading, annotation, scope, type_names)
    reading.functions[id(function)] = (function, record)
    return function


def _parameters(reading: Reading, node: ast.arguments, scope: Scope, record: FunctionRecord) -> list[inspect.Parameter]:
    kind = inspect.Parameter
    positional = [*node.posonlyargs, *node.args]
    defaults = dict(zip(positional[::-1], node.defaults[::-1], strict=False))
    defaults.update((part, item) for part, item in zip(node.kwonlyargs, node.kw_defaults, strict=True) if item)
    record.defaults = {part.arg: reading.evaluate(item, scope) for part, item in defaults.items()}
    kinds: list[tuple[Any, list[ast.arg]]] = [
        (kind.POSITIONAL_ONLY, node.posonlyargs),
        (kind.POSITIONAL_OR_KEYWORD, node.args),
        (kind.VAR_POSITIONAL, [node.vararg] if node.vararg else []),
        (kind.KEYWORD_ONLY, node.kwonlyargs),
        (kind.VAR_KEYWORD, [node.kwarg] if node.kwarg else []),
    ]
    return [
        kind(part.arg, each, default=record.defaults.get(part.arg, kind.empty))
        for each, written in kinds
        for part in written
    ]


def _lazy_annotation(
    reading: Reading, node: ast.expr, scope: Scope, type_names: list[str] | None = None
) -> LazyAnnotation:
    """Keep an annotation with the place where it stands, which is when Python evaluates it."""
    if scope.module.has_lazy_annotations:
        return LazyAnnotation(ast.copy_location(ast.Constant(ast.unparse(node)), node), scope)
    names: dict[str, Any] = {}
    for item in ast.walk(node):
        reading.budget.spend()
        if isinstance(item, ast.Name) and scope.module.binds(item.id) and reading.find(item.id, scope) is ABSENT:
            reason = f"`{item.id}` is used before it is defined, which needs Python 3.14"
            names[item.id] = reading.unknown(reason, node, scope)
    for name in type_names or []:
        names[name] = reading.unknown(f"the type parameter {name} is not followed", node, scope)
    if not names:
        return LazyAnnotation(node, scope)
    return LazyAnnotation(node, Scope(scope.module, scope, names=names))


# --- classes


def _class(reading: Reading, names: Names, node: ast.ClassDef, scope: Scope) -> Any:
    bases = [reading.evaluate(base, scope) for base in node.bases]
    keywords = {word.arg or "**": reading.evaluate(word.value, scope) for word in node.keywords}
    inner = Scope(scope.module, scope, tuple(node.body), len(node.body), is_class=True)
    bound = {name: names.bound(name, inner, may_be_absent=True) for name in names.binders(inner)}
    record = ClassRecord(node, inner, tuple(bases), _fields(reading, node, inner), bound)
    problem = _problem(reading, record, keywords)
    if problem is not None:
        return problem
    options = {name: value for name, value in keywords.items() if name == "total" or value is abc.ABCMeta}

    def fill(namespace: Any) -> None:
        namespace["__module__"] = __name__
        if record.annotations:
            namespace["__annotations__"] = {name: _early(reading, item) for name, item in record.annotations.items()}
        for name, value in bound.items():
            if name not in _KEPT_OUT and value is not ABSENT:
                namespace[name] = value

    try:
        made = types.new_class(node.name, tuple(bases), options, fill)
    except StandInCalled:
        return reading.unknown(f"making the class {node.name} runs code of the project", node, inner)
    except Exception as error:
        return reading.unknown(f"making the class {node.name} raises {type(error).__name__}: {error}", node, inner)
    reading.classes[id(made)] = (made, record)
    return made


def _fields(reading: Reading, node: ast.ClassDef, scope: Scope) -> dict[str, LazyAnnotation | Unknown]:
    found: dict[str, LazyAnnotation | Unknown] = {}
    for number, item in enumerate(node.body):
        for inner in (
            ast.walk(item) if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else ()
        ):
            reading.budget.spend()
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name) and inner.simple:
                name = inner.target.id
                is_sure = inner is item
                condition = reading.unknown(f"`{name}` is declared under a condition", inner, scope)
                found[name] = _lazy_annotation(reading, inner.annotation, scope.at(number)) if is_sure else condition
    return found


def _problem(reading: Reading, record: ClassRecord, keywords: dict[str, Any]) -> Unknown | None:
    """Why this class cannot have a stand-in."""
    node, scope, name = record.node, record.scope, record.node.name

    def because(reason: str, at: ast.AST = node) -> Unknown:
        return reading.unknown(reason, at, scope)

    if getattr(node, "type_params", ()):
        return because(f"the type parameters of {name} are not followed")
    for base_node, base in zip(node.bases, record.bases, strict=False):
        if len(getattr(base, "__mro__", ())) > _MAX_BASES:
            return because(f"{name} has too many base classes", base_node)
        if isinstance(base_node, ast.Starred):
            return because("bases given with * are not followed", base_node)
        if isinstance(base, Unknown):
            package = f"{name} inherits from {ast.unparse(base_node)}, which comes from a package"
            return because(package, base_node) if base.path else base
    if "__signature__" in record.names:
        return because(f"{name}.__signature__ is not followed")
    if keywords.get("metaclass", type) not in (type, abc.ABCMeta):
        return because(f"the metaclass of {name} is not followed")
    extra = set(keywords) - {"metaclass", "total"}
    if extra and not any(isinstance(base, type) and issubclass(base, PydanticBase) for base in record.bases):
        return because(f"{name} is made with {', '.join(sorted(extra))}=, which is not followed")
    if any(isinstance(base, EnumMeta) for base in record.bases):
        # Its members are made of the values at once.
        try:
            need_known(reading.budget, [value for key, value in record.names.items() if not key.startswith("__")])
        except Blocked as error:
            return error.unknown
    return None


def _early(reading: Reading, annotation: LazyAnnotation | Unknown) -> Any:
    """The annotation as far as it is known while the class is made; only ClassVar and the like count by then."""
    if isinstance(annotation, Unknown):
        return typing.Any
    value = reading.evaluate(annotation.node, annotation.scope)
    if isinstance(value, str):
        value = resolve(reading, value, annotation.scope, annotation.node)
    return typing.Any if isinstance(value, Unknown) else value
