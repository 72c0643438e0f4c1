"""`define`: a stand-in for a function or class of the project, with its signature or fields and without its bodies."""

from __future__ import annotations

import abc
import ast
import copy
import functools
import inspect
import types
import typing
from enum import EnumMeta
from typing import Any

from cog_cli.source.annotations import read_type, write_type
from cog_cli.source.calls import call
from cog_cli.source.execution import bound_names, execute
from cog_cli.source.operations import find_unknown
from cog_cli.source.reading import ClassRecord, FunctionRecord, Reading, Scope, Written
from cog_cli.source.values import Blocked, StandInCalled, Unknown, Unsure
from cog_cli.source.vocabulary import HARMLESS_DECORATORS, PydanticBase

# Set by us, or with a meaning for Python that a stand-in must not have.
_KEPT_OUT = frozenset({"__module__", "__classcell__", "__qualname__", "__slots__", "__annotations__", "__dict__"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def define(reading: Reading, node: ast.stmt, scope: Scope) -> Any:
    """The value that a `def` or `class` statement binds; Unknown if its bases or decorators are."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    value = _class(reading, node, scope) if isinstance(node, ast.ClassDef) else _function(reading, node, scope)
    for item in reversed(node.decorator_list):
        value = _decorated(reading, item, value, scope, "class" if isinstance(node, ast.ClassDef) else "signature")
    return value


def _decorated(reading: Reading, node: ast.expr, value: Any, scope: Scope, kind: str) -> Any:
    decorator = reading.evaluate(node, scope)
    is_harmless = isinstance(decorator, Unknown) and HARMLESS_DECORATORS.fullmatch(decorator.path)
    if is_harmless or isinstance(value, Unknown) or _keeps_signature(reading, node, scope):
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


def _keeps_signature(reading: Reading, node: ast.expr, scope: Scope) -> bool:
    """Whether a decorator of the project, or the call that makes one, gives back a function marked by functools.wraps.

    Each function on the way has nothing but the next in it, and returns that.
    """
    record = reading.function_record(reading.evaluate(node.func if isinstance(node, ast.Call) else node, scope))
    maker: Any = record.node if record is not None else None
    for is_last in (False, True) if isinstance(node, ast.Call) else (True,):
        texts = [item for item in getattr(maker, "body", ()) if isinstance(getattr(item, "value", None), ast.Constant)]
        body = [item for item in getattr(maker, "body", ()) if item not in texts]
        if [type(item) for item in body] not in ([ast.FunctionDef, ast.Return], [ast.AsyncFunctionDef, ast.Return]):
            return False
        inner, last = body
        given = [item.arg for item in maker.args.args]
        calls = [item for item in inner.decorator_list if isinstance(item, ast.Call)]
        wraps = [reading.evaluate(item.func, record.scope) for item in calls] if record is not None else []
        if getattr(last.value, "id", "") != inner.name or len(inner.decorator_list) != is_last:
            return False
        if is_last:
            return wraps == [functools.wraps] and [ast.unparse(item) for item in calls[0].args] == given
        maker = inner
    return False


def _function(reading: Reading, node: _Function, scope: Scope) -> Any:
    """A function with the same parameters and of the same kind, which cannot be run."""
    names: dict[str, Any] = {"StandInCalled": StandInCalled, "__builtins__": {}}

    def kept(default: ast.expr | None) -> Any:
        name = f"default {len(names)}"
        names.update({} if default is None else {name: reading.evaluate(default, scope)})
        return default and ast.Name(name, ast.Load())

    given, arguments = node.args, copy.copy(node.args)
    arguments.defaults, arguments.kw_defaults = [*map(kept, given.defaults)], [*map(kept, given.kw_defaults)]
    for name in ("posonlyargs", "args", "kwonlyargs"):
        setattr(arguments, name, [ast.arg(part.arg) for part in getattr(given, name)])
    arguments.vararg, arguments.kwarg = (part and ast.arg(part.arg) for part in (given.vararg, given.kwarg))
    made = copy.copy(node)
    made.args, made.returns, made.decorator_list = arguments, None, []
    has_yields = any(isinstance(item, (ast.Yield, ast.YieldFrom)) for item in ast.walk(node))  # which make the kind
    made.body = [*ast.parse("raise StandInCalled").body, *(node.body if has_yields else [])]
    type_names = [part.name for part in getattr(node, "type_params", ())]
    setattr(made, "type_params", [])  # noqa: B010 - which mypy knows from Python 3.12 on
    module = ast.fix_missing_locations(ast.Module([made], []))
    exec(compile(module, "<stand-in>", "exec", dont_inherit=True), names)
    function = names[node.name]
    record = FunctionRecord(node, scope)
    function.__signature__ = inspect.signature(function)
    parameters = function.__signature__.parameters.values()
    record.defaults = {item.name: item.default for item in parameters if item.default is not item.empty}
    # typing before Python 3.11 takes a default of None for a part of the type.
    function.__defaults__ = function.__kwdefaults__ = None
    for name, annotation in [*((part.arg, part.annotation) for part in record.arguments()), ("return", node.returns)]:
        if annotation is not None:
            record.annotations[name] = write_type(reading, annotation, scope, scope.module.scope, type_names)
    reading.records[id(function)] = (function, record)
    return function


def _class(reading: Reading, node: ast.ClassDef, scope: Scope) -> Any:
    bases = tuple(reading.evaluate(base, scope) for base in node.bases)
    keywords = {word.arg or "**": reading.evaluate(word.value, scope) for word in node.keywords}
    problem = _problem(reading, node, scope, bases, keywords)
    if problem is not None:
        return problem
    annotations: dict[str, Written | Unknown] = {}
    inner = Scope(scope.module, scope, annotations=annotations)
    execute(reading, node.body, inner)
    bound = {name: scope.module.trusted(name, value) for name, value in inner.names.items()}
    record = ClassRecord(node, inner, bases, annotations, bound)
    # Members of an Enum are made of the values at once.
    members = [value for name, value in bound.items() if not name.startswith("__")]
    problem = find_unknown(members) if any(isinstance(base, EnumMeta) for base in bases) else None
    if problem is not None:
        return problem
    options = {name: value for name, value in keywords.items() if name == "total" or value is abc.ABCMeta}
    kept: dict[str, Any] = {"__module__": __name__}
    kept.update((name, value) for name, value in bound.items() if name not in _KEPT_OUT)
    if annotations:
        # Only ClassVar and the like count by now.
        early = [(name, read_type(reading, item)) for name, item in annotations.items()]
        kept["__annotations__"] = {name: typing.Any if isinstance(item, Unknown) else item for name, item in early}

    def fill(names: dict[str, Any]) -> None:
        for name, value in kept.items():  # one by one, as Enum before Python 3.11 wants it
            names[name] = value

    try:
        made = types.new_class(node.name, bases, options, fill)
    except StandInCalled:
        return reading.unknown(f"making the class {node.name} runs code of the project", node, inner)
    except Exception as error:
        return reading.unknown(f"making the class {node.name} raises {type(error).__name__}: {error}", node, inner)
    reading.records[id(made)] = (made, record)
    return made


def _problem(reading: Reading, node: ast.ClassDef, scope: Scope, bases: Any, words: dict[str, Any]) -> Unknown | None:
    """Why this class cannot have a stand-in, by its first lines."""
    for base_node, base in zip(node.bases, bases, strict=True):
        if isinstance(base, Unknown):
            package = f"{node.name} inherits from {ast.unparse(base_node)}, which comes from a package"
            return reading.unknown(package, base_node, scope) if base.path else base
    extra = set(words) - {"metaclass", "total"}
    is_model = any(isinstance(base, type) and issubclass(base, PydanticBase) for base in bases)
    for reason, is_so in {
        f"the type parameters of {node.name} are not followed": getattr(node, "type_params", ()),
        f"{node.name}.__signature__ is not followed": "__signature__" in bound_names(node.body),
        f"the metaclass of {node.name} is not followed": words.get("metaclass", type) not in (type, abc.ABCMeta),
        f"{node.name} is made with {', '.join(sorted(extra))}=, which is not followed": extra and not is_model,
    }.items():
        if is_so:
            return reading.unknown(reason, node, scope)
    return None
