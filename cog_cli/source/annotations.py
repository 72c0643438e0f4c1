"""`write_type`, `read_type`: the type that an annotation names; `find_gap`: what of it is unknown."""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Iterable
from typing import Any

from cog.input import MISSING, FieldInfo
from cog.model import admits_none
from cog_cli.source.operations import find_unknown
from cog_cli.source.reading import ClassRecord, Reading, Scope, Written
from cog_cli.source.values import ABSENT, Blocked, Place, Unknown
from cog_cli.source.vocabulary import PydanticBase


def write_type(reading: Reading, node: ast.expr, scope: Scope, late: Scope, type_names: Iterable[str] = ()) -> Written:
    """Keep an annotation with the values that its names have now; texts in it are read as of `late`, at the end."""
    if scope.module.source.has_future_annotations:
        return Written(node, late)
    names = {name: reading.unknown(f"the type parameter {name} is not followed", node, scope) for name in type_names}
    for name in {item.id for item in ast.walk(node) if isinstance(item, ast.Name)} - names.keys():
        value = scope.find(name)
        if value is ABSENT and name in scope.module.bound:
            value = reading.unknown(f"`{name}` is used before it is defined, which needs Python 3.14", node, scope)
        names.update({} if value is ABSENT else {name: value})
    return Written(node, Scope(scope.module, late, names))


def read_type(reading: Reading, written: Written | Unknown) -> Any:
    """The type that an annotation names; Unknown if a part of it is."""
    if isinstance(written, Unknown):
        return written
    try:
        return reading.evaluate(_unquoted(reading, written.node, written.scope), written.scope)
    except Blocked as error:
        return error.unknown


def _unquoted(reading: Reading, node: ast.expr, scope: Scope) -> ast.expr:
    """`node` with the expressions that its texts stand for. Raises Blocked."""

    def inner(part: ast.expr) -> ast.expr:
        return _unquoted(reading, part, scope)

    new: ast.expr = node
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        new = inner(_parsed(reading, node.value, node, scope))
    elif isinstance(node, ast.BinOp):
        new = ast.BinOp(inner(node.left), node.op, inner(node.right))
    elif isinstance(node, (ast.Tuple, ast.List)):
        new = type(node)([inner(part) for part in node.elts], ast.Load())
    elif isinstance(node, ast.Subscript):
        form, parts = reading.evaluate(node.value, scope), node.slice
        if form is typing.Annotated and isinstance(parts, ast.Tuple):
            parts = ast.copy_location(ast.Tuple([inner(parts.elts[0]), *parts.elts[1:]], ast.Load()), parts)
        is_read = form in (typing.Literal, typing.Annotated)
        new = ast.Subscript(node.value, parts if is_read else inner(parts), ast.Load())
    return ast.copy_location(new, node)


def _parsed(reading: Reading, text: str, node: ast.expr, scope: Scope) -> ast.expr:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"the annotation {text!r} cannot be parsed: {error}"
        raise Blocked(reading.unknown(reason, node, scope, is_error=True)) from error
    for item in ast.walk(tree):
        ast.copy_location(item, node)
    return tree.body


def find_gap(reading: Reading, annotation: Any, place: Place, *, is_output: bool) -> Unknown | None:
    """Why `annotation` is not fully known; None if it is.

    Afterwards every stand-in class in it has its final `__annotations__`, without texts that typing would evaluate.
    """
    stack, seen = [annotation], set()
    while stack:
        item = stack.pop()
        reading.spend()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (str, typing.ForwardRef)):
            return Unknown(f"the forward reference {item!r} is not followed", place)
        problem = find_unknown([item, list(getattr(item, "__metadata__", ()))])
        if isinstance(item, type):
            problem = _class_gap(reading, item, is_output=is_output)
            for base, _ in _records(reading, item):
                stack += vars(base).get("__annotations__", {}).values()
        if problem is not None:
            return problem
        origin = typing.get_origin(item)
        stack += [getattr(item, "__supertype__", None), getattr(item, "__origin__", None)]
        if origin not in (typing.Literal, typing.Annotated):
            stack += [part for part in typing.get_args(item) if not isinstance(part, list)]
    return None


def _records(reading: Reading, cls: type) -> list[tuple[Any, ClassRecord]]:
    """The stand-ins among a class and its bases, the first base first."""
    found = [(base, reading.class_record(base)) for base in reversed(cls.__mro__)]
    return [(base, record) for base, record in found if record is not None]


def _class_gap(reading: Reading, cls: Any, *, is_output: bool) -> Unknown | None:
    problem: Unknown | None = None
    for base, record in _records(reading, cls):
        _finish(reading, base, record)
        defaults = [_default(record.names.get(name)) for name in record.annotations]
        problem = problem or record.problem or find_unknown(defaults)
    if problem is None and issubclass(cls, PydanticBase):
        _set_model_fields(reading, cls)
        for name, item in cls.model_fields.items() if not is_output else ():
            if item.default is MISSING and admits_none(typing.get_type_hints(cls)[name]):
                reason = f"{cls.__name__}.{name} has no default: pydantic 1 and 2 disagree on whether it must be given"
                return Unknown(reason, reading.place_of(cls) or Place())
    return problem


def _default(value: Any) -> Any:
    is_made = isinstance(value, dataclasses.Field) and callable(value.default_factory)
    return value.default_factory() if is_made else getattr(value, "default", value)


def _finish(reading: Reading, cls: Any, record: ClassRecord) -> None:
    """Resolve the annotations of a stand-in class and of its bases; `problem` is the first that is unknown."""
    if record.is_finished:
        return
    record.is_finished = True
    resolved: dict[str, Any] = {}
    for base in record.bases:
        inherited = reading.class_record(base)
        if inherited is not None:
            _finish(reading, base, inherited)
            record.problem = record.problem or inherited.problem
            if issubclass(cls, dict):  # a TypedDict keeps the annotations of its bases, not the bases
                resolved.update(base.__annotations__)
    for name, annotation in record.annotations.items():
        value = read_type(reading, annotation)
        if isinstance(value, Unknown) and not name.startswith("_"):
            record.problem = record.problem or value
        resolved[name] = typing.Any if isinstance(value, Unknown) else value
    if resolved:
        cls.__annotations__ = resolved


# One item of a pydantic model's `model_fields`.
_ModelField: Any = type("_ModelField", (FieldInfo,), {"annotation": None})


def _set_model_fields(reading: Reading, cls: Any) -> None:
    cls.model_fields = {}
    for base, record in _records(reading, cls):
        for name in record.annotations:
            is_class_variable = typing.get_origin(base.__annotations__[name]) is typing.ClassVar
            if not (name.startswith("_") or name == "model_config" or is_class_variable):
                value = vars(base).get(name, MISSING)
                said = vars(value) if isinstance(value, FieldInfo) else {"default": value}
                cls.model_fields[name] = _ModelField(**said)
