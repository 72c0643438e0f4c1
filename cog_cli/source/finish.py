"""`find_gap`: the first unknown thing in an annotation; on the way the classes in it are made complete."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from cog.input import MISSING, FieldInfo
from cog.model import admits_none
from cog_cli.source.reading import ClassRecord, LazyAnnotation, Reading
from cog_cli.source.resolve import resolve
from cog_cli.source.values import Unknown
from cog_cli.source.vocabulary import PydanticBase


def find_gap(reading: Reading, annotation: Any, *, is_output: bool) -> Unknown | None:
    """Why `annotation` (resolved, see resolve.py) is not fully known; None if it is.

    Afterwards every stand-in class in it has its final `__annotations__`, without texts that typing would evaluate.
    """
    stack, seen = [(annotation, False)], set()
    while stack:
        item, is_value = stack.pop()
        reading.budget.spend()
        problem = item if isinstance(item, Unknown) else reading.taint_of(item)
        if problem is not None:
            return problem
        if is_value or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (str, typing.ForwardRef)):
            return Unknown(f"the forward reference {item!r} is not followed", reading.nowhere)
        metadata = getattr(item, "__metadata__", None)
        if metadata is not None:
            problem = reading.find_unknown(list(metadata))
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
            problem = problem or reading.taint_of(base) or _default_gap(reading, base, inherited)
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
    for name, annotation in record.annotations.items():
        value: Any = annotation
        if isinstance(annotation, LazyAnnotation):
            value = reading.evaluate(annotation.node, annotation.scope)
            value = resolve(reading, value, record.scope, annotation.node)
        if isinstance(value, Unknown) and not name.startswith("_"):
            problem = problem or value
        resolved[name] = typing.Any if isinstance(value, Unknown) else value
    if resolved:
        cls.__annotations__ = resolved
    record.problem = problem
    return problem


def _default_gap(reading: Reading, cls: type, record: ClassRecord) -> Unknown | None:
    for name in record.annotations:
        value = record.scope.names.get(name)
        problem = reading.find_unknown(vars(cls).get(name))  # assigned later
        if problem is not None:
            return problem
        if isinstance(value, dataclasses.Field):
            made = value.default_factory() if callable(value.default_factory) else value.default
            value = None if made is dataclasses.MISSING else made
        problem = reading.find_unknown(value)
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
