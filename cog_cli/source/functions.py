"""`make_function`: a stand-in for a function of the project, with its signature and without its body."""

from __future__ import annotations

import ast
import inspect
import types
from typing import Any

from cog_cli.source.packages import is_harmless_decorator
from cog_cli.source.reading import FunctionRecord, LazyAnnotation, Reading
from cog_cli.source.scope import Scope
from cog_cli.source.slicing import collect_names
from cog_cli.source.values import ABSENT, StandInCalled, Unknown

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


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


def make_function(reading: Reading, node: _Definition | ast.Lambda, scope: Scope) -> Any:
    """The value that a `def` or `lambda` binds, decorated; Unknown if a decorator may change the signature."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    applied = [(item, reading.evaluate(item, scope)) for item in decorators]
    value: Any = _bare_function(reading, node, scope)
    for item, decorator in reversed(applied):
        value = _decorate(reading, item, decorator, value, scope)
    return value


def _decorate(reading: Reading, node: ast.expr, decorator: Any, value: Any, scope: Scope) -> Any:
    if isinstance(decorator, Unknown):
        if is_harmless_decorator(decorator) and reading.function_record(value) is not None:
            return value
        reading.taint([value], decorator)
        if decorator.is_error:
            return decorator
        text = ast.unparse(node)
        return reading.unknown(f"the decorator @{text} may change the signature: {decorator.reason}", node, scope)
    return reading.call(decorator, [value], {}, node, scope)


def _bare_function(reading: Reading, node: _Definition | ast.Lambda, scope: Scope) -> Any:
    is_generator = _yields(node)
    template = _TEMPLATES[isinstance(node, ast.AsyncFunctionDef), is_generator]
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    function = types.FunctionType(template.__code__, {"StandInCalled": StandInCalled, "__builtins__": {}}, name)
    function.__qualname__ = name
    record = FunctionRecord(node, scope)
    record.can_run = isinstance(node, (ast.FunctionDef, ast.Lambda)) and not is_generator
    parameters = _parameters(reading, node.args, scope, record)
    try:
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect looks there
    except ValueError as error:
        return reading.failure(f"{name}() is not valid: {error}", node, scope)
    if not isinstance(node, ast.Lambda):
        _record_annotations(reading, node, scope, record)
    reading.functions[id(function)] = (function, record)
    return function


def _parameters(reading: Reading, node: ast.arguments, scope: Scope, record: FunctionRecord) -> list[inspect.Parameter]:
    result: list[inspect.Parameter] = []
    positional = [*node.posonlyargs, *node.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.defaults)) + list(node.defaults)
    for position, (part, default) in enumerate(zip(positional, defaults, strict=True)):
        is_only = position < len(node.posonlyargs)
        kind = inspect.Parameter.POSITIONAL_ONLY if is_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        result.append(_parameter(reading, part, kind, default, scope, record))
    if node.vararg is not None:
        result.append(inspect.Parameter(node.vararg.arg, inspect.Parameter.VAR_POSITIONAL))
    for part, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
        result.append(_parameter(reading, part, inspect.Parameter.KEYWORD_ONLY, default, scope, record))
    if node.kwarg is not None:
        result.append(inspect.Parameter(node.kwarg.arg, inspect.Parameter.VAR_KEYWORD))
    return result


def _parameter(
    reading: Reading, node: ast.arg, kind: Any, default: ast.expr | None, scope: Scope, record: FunctionRecord
) -> inspect.Parameter:
    if default is None:
        return inspect.Parameter(node.arg, kind)
    value = reading.evaluate(default, scope)
    record.defaults[node.arg] = value
    return inspect.Parameter(node.arg, kind, default=value)


def _record_annotations(reading: Reading, node: _Definition, scope: Scope, record: FunctionRecord) -> None:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    written = [(part.arg, part.annotation) for part in every if part is not None]
    unknown_names = [part.name for part in getattr(node, "type_params", ())]
    for name, annotation in [*written, ("return", node.returns)]:
        if annotation is not None:
            record.annotations[name] = lazy_annotation(reading, annotation, scope, unknown_names)


def lazy_annotation(
    reading: Reading, node: ast.expr, scope: Scope, type_parameters: list[str] | None = None
) -> LazyAnnotation:
    """Keep an annotation with the names it sees now, which is when Python evaluates it."""
    if scope.module.has_lazy_annotations:
        return LazyAnnotation(ast.copy_location(ast.Constant(ast.unparse(node)), node), scope)
    names: dict[str, Any] = {
        name: scope.find(name) for name in sorted(collect_names(node, spend=reading.budget.spend).loads)
    }
    for name in type_parameters or []:
        names[name] = reading.unknown(f"the type parameter {name} is not followed", node, scope)
    late = [name for name, value in names.items() if value is ABSENT and scope.module.binds(name)]
    for name in late:
        names[name] = reading.unknown(f"`{name}` is used before it is defined, which needs Python 3.14", node, scope)
    overlay = scope.overlay(names)
    if any(isinstance(item, (ast.Call, ast.Starred, ast.NamedExpr)) for item in ast.walk(node)):
        # `Annotated[str, Input(choices=CHOICES)]`, `Literal[*CHOICES]`: a list may change until it is needed.
        value = reading.evaluate(node, overlay)
        return LazyAnnotation(
            ast.copy_location(ast.Name("annotation", ast.Load()), node), scope.overlay({"annotation": value})
        )
    return LazyAnnotation(node, overlay)


def _yields(node: _Definition | ast.Lambda) -> bool:
    stack: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    while stack:
        item = stack.pop()
        if isinstance(item, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(item))
    return False
