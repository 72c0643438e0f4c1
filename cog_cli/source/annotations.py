"""`resolve`: an annotation without texts in it; `find_gap`: what of it is unknown, with its classes made complete."""

from __future__ import annotations

import ast
import dataclasses
import types
import typing
from typing import Any

from cog.input import MISSING, FieldInfo
from cog.model import admits_none
from cog_cli.source.operations import find_unknown
from cog_cli.source.reading import ClassRecord, LazyAnnotation, Reading, Scope
from cog_cli.source.values import Place, Unknown
from cog_cli.source.vocabulary import PydanticBase

_MAX_DEPTH = 30
# Subscribed with computed members, which is no type expression to type checkers.
_UNION: Any = typing.Union
_ANNOTATED: Any = typing.Annotated


def resolve(reading: Reading, value: Any, scope: Scope, node: ast.AST, depth: int = 0) -> Any:
    """`value` without texts; names in them are those of `scope`. Unknown if a part of it is."""
    if depth > _MAX_DEPTH:
        return reading.unknown("the type is nested too deeply", node, scope)
    if isinstance(value, typing.ForwardRef):
        value = value.__forward_arg__
    if isinstance(value, str):
        return _text(reading, value, scope, node, depth)
    if isinstance(value, Unknown):
        return value
    if type(value).__name__ == "TypeAliasType":
        return resolve(reading, value.__value__, scope, node, depth + 1)
    if hasattr(value, "__supertype__"):
        inner = resolve(reading, value.__supertype__, scope, node, depth + 1)
        return value if inner is value.__supertype__ else inner
    metadata = getattr(value, "__metadata__", None)
    if metadata is not None:
        inner = resolve(reading, value.__origin__, scope, node, depth + 1)
        if inner is value.__origin__ or isinstance(inner, Unknown):
            return value if inner is value.__origin__ else inner
        members = (inner, *metadata)
        return _ANNOTATED[members]
    origin = typing.get_origin(value)
    if origin is None or origin is typing.Literal:
        return value
    return _generic(reading, value, origin, scope, node, depth)


def _generic(reading: Reading, value: Any, origin: Any, scope: Scope, node: ast.AST, depth: int) -> Any:
    before = typing.get_args(value)
    after = []
    for item in before:
        is_list = isinstance(item, list)  # the parameters of a Callable
        after.append(item if is_list else resolve(reading, item, scope, node, depth + 1))
    unknown = next((item for item in after if isinstance(item, Unknown)), None)
    if unknown is not None:
        return unknown
    if all(new is old for new, old in zip(after, before, strict=True)):
        return value
    if origin in (typing.Union, types.UnionType):
        members = tuple(after)
        return _UNION[members]
    if isinstance(value, types.GenericAlias):
        return origin[tuple(after)]
    return value.copy_with(tuple(after))


def _text(reading: Reading, text: str, scope: Scope, node: ast.AST, depth: int) -> Any:
    if len(text) > 10_000:
        return reading.unknown("the annotation is too long", node, scope)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return reading.failure(f"the annotation {text!r} cannot be parsed: {error}", node, scope)
    for item in ast.walk(tree):
        if hasattr(item, "lineno"):
            ast.copy_location(item, node)
    return resolve(reading, reading.evaluate(tree.body, scope), scope, node, depth + 1)


def find_gap(reading: Reading, annotation: Any, *, is_output: bool) -> Unknown | None:
    """Why `annotation` (resolved) is not fully known; None if it is.

    Afterwards every stand-in class in it has its final `__annotations__`, without texts that typing would evaluate.
    """
    stack, seen = [(annotation, False)], set()
    while stack:
        item, is_value = stack.pop()
        reading.budget.spend()
        if isinstance(item, Unknown):
            return item
        if is_value or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (str, typing.ForwardRef)):
            return Unknown(f"the forward reference {item!r} is not followed", Place())
        metadata = getattr(item, "__metadata__", None)
        if metadata is not None:
            problem = find_unknown(reading.budget, list(metadata))
            if problem is not None:
                return problem
            stack.append((item.__origin__, False))
        elif typing.get_origin(item) is not None:
            is_literal = typing.get_origin(item) is typing.Literal
            stack.append((typing.get_origin(item), False))
            stack += [(part, is_literal) for part in typing.get_args(item) if not isinstance(part, list)]
        elif hasattr(item, "__supertype__"):
            stack.append((item.__supertype__, False))
        elif isinstance(item, type):
            problem = _class_gap(reading, item, is_output=is_output)
            if problem is not None:
                return problem
            stack += [(part, False) for base in item.__mro__ for part in _own_annotations(reading, base)]
    return None


def _own_annotations(reading: Reading, cls: type) -> list[Any]:
    return list(vars(cls).get("__annotations__", {}).values()) if reading.class_record(cls) is not None else []


def _class_gap(reading: Reading, cls: Any, *, is_output: bool) -> Unknown | None:
    record = reading.class_record(cls)
    if record is None:
        return None
    problem = _finish(reading, cls, record)
    for base in cls.__mro__:
        inherited = reading.class_record(base)
        if inherited is not None:
            problem = problem or _default_gap(reading, base, inherited)
    if problem is None and issubclass(cls, PydanticBase):
        _set_model_fields(reading, cls)
        if not is_output:
            problem = _disagreement(reading, cls, record)
    return problem


def _finish(reading: Reading, cls: Any, record: ClassRecord) -> Unknown | None:
    """Resolve the annotations of a stand-in class and of its bases; give the first that is unknown."""
    problem: Unknown | None = None
    resolved: dict[str, Any] = {}
    for base in dict.fromkeys([*reversed(cls.__mro__[1:]), *record.bases]):
        inherited = reading.class_record(base)
        if inherited is not None:
            problem = _finish(reading, base, inherited) or problem
            if issubclass(cls, dict):  # a TypedDict keeps the annotations of its bases, not the bases
                resolved.update(base.__annotations__)
    if record.is_finished:
        return problem or record.problem
    record.is_finished = True
    at_end = dataclasses.replace(record.scope, parent=record.scope.module.scope)  # texts see all names of the module
    for name, annotation in record.annotations.items():
        value: Any = annotation
        if isinstance(annotation, LazyAnnotation):
            value = reading.evaluate(annotation.node, annotation.scope)
            value = resolve(reading, value, at_end, annotation.node)
        if isinstance(value, Unknown) and not name.startswith("_"):
            problem = problem or value
        resolved[name] = typing.Any if isinstance(value, Unknown) else value
    if resolved:
        cls.__annotations__ = resolved
    record.problem = problem
    return problem


def _default_gap(reading: Reading, cls: type, record: ClassRecord) -> Unknown | None:
    for name in record.annotations:
        value = record.names.get(name)
        if isinstance(value, dataclasses.Field):
            made = value.default_factory() if callable(value.default_factory) else value.default
            value = None if made is dataclasses.MISSING else made
        problem = find_unknown(reading.budget, value)
        if problem is not None:
            return problem
    return None


class _ModelField(FieldInfo):
    """One item of a pydantic model's `model_fields`."""

    annotation: Any = None


def _set_model_fields(reading: Reading, cls: Any) -> None:
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        record = reading.class_record(base)
        for name in record.annotations if record is not None else ():
            annotation = base.__annotations__[name]
            if name.startswith("_") or name == "model_config" or typing.get_origin(annotation) is typing.ClassVar:
                continue
            value = vars(base).get(name, MISSING)
            said = vars(value) if isinstance(value, FieldInfo) else {"default": value}
            fields[name] = _ModelField(**said)
    cls.model_fields = fields


def _disagreement(reading: Reading, cls: Any, record: ClassRecord) -> Unknown | None:
    """A field that pydantic 1 takes for optional and pydantic 2 for required."""
    hints = typing.get_type_hints(cls)
    for name, item in cls.model_fields.items():
        if item.default is MISSING and admits_none(hints[name]):
            reason = f"{cls.__name__}.{name} has no default: pydantic 1 and 2 disagree on whether it must be given"
            return reading.unknown(reason, record.node, record.scope)
    return None
