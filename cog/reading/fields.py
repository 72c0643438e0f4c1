"""`field_info`, `field_spec`: a default, its `Input(...)` or pydantic `Field(...)` and its type as one `FieldSpec`."""

import dataclasses
import inspect
import math
import re
import typing
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from cog.input import COUNTS, LENGTHS, MISSING, NUMBERS, FieldInfo, as_field_info
from cog.schema.json_values import is_value_of, json_value, type_phrase
from cog.schema.spec import FieldSpec, SignatureError, TypeSpec

_CONSTRAINTS = (*NUMBERS, *LENGTHS, *COUNTS, "regex", "choices", "accept")

_NUMERIC = frozenset({"int", "float", "any"})
_TEXTUAL = frozenset({"str", "secret", "any"})
_COUNTED = frozenset({"list", "set", "any"})
_CHOSEN = frozenset({"str", "int", "float", "bool", "any"})


def split_annotated(annotation: Any) -> Tuple[Any, Tuple[Any, ...]]:
    """Take `Annotated[T, a, b]` apart into T and (a, b); anything else into itself and ()."""
    metadata = getattr(annotation, "__metadata__", None)
    if metadata is not None and hasattr(annotation, "__origin__"):
        return annotation.__origin__, tuple(metadata)
    return annotation, ()


def field_info(default: Any, annotation: Any, name: str) -> FieldInfo:
    """Bring a default of any form (`inspect.Parameter.empty` for none) and `Annotated` metadata to one FieldInfo.

    Raises SignatureError, naming `name`, for a default that cannot be made.
    """
    try:
        marks = [item for item in map(as_field_info, _metadata(annotation)) if item is not None]
        if default is not inspect.Parameter.empty:
            marks.append(as_field_info(default) or FieldInfo(default=default))
    except TypeError as error:
        raise SignatureError(f"its default_factory cannot be called: {error}", name=name) from error
    merged: Dict[str, Any] = {}
    for mark in marks:
        for part in dataclasses.fields(mark):
            value = getattr(mark, part.name)
            if value is not (MISSING if part.name == "default" else None):
                merged[part.name] = value
    return FieldInfo(**merged)


def _metadata(annotation: Any) -> Tuple[Any, ...]:
    metadata = split_annotated(annotation)[1]
    if metadata:
        return metadata
    # `Optional[Annotated[T, ...]]`; Python before 3.11 makes it of `x: Annotated[T, ...] = None`.
    members = [item for item in typing.get_args(annotation) if item is not type(None)]
    if len(members) == 1 and len(typing.get_args(annotation)) == 2 and type(None) in typing.get_args(annotation):
        return split_annotated(members[0])[1]
    return ()


def has_constraints(info: FieldInfo) -> bool:
    """Whether `info` limits the values, beyond describing them."""
    return any(getattr(info, name) is not None for name in _CONSTRAINTS)


def is_optional(spec: TypeSpec) -> bool:
    """Whether None is among the values."""
    return spec.nullable or spec.kind in ("none", "any")


def field_spec(name: str, type_spec: TypeSpec, info: FieldInfo, *, label: str = "") -> FieldSpec:
    """Put one field together. `label` is its path for messages (`settings.size`), by default `name`.

    Raises SignatureError where type, constraints and default contradict each other.
    """
    label = label or name
    required = info.default is MISSING
    if not required and info.default is None and not is_optional(type_spec):
        # `x: str = Input(default=None)` has always meant an optional input.
        type_spec = dataclasses.replace(type_spec, nullable=True)
    choices = _json_list(info, "choices", label)
    if choices is not None and None in choices:
        # `choices=[None, "a"]` says that it may be left out.
        choices = tuple(item for item in choices if item is not None)
        type_spec = dataclasses.replace(type_spec, nullable=True)
    result = FieldSpec(
        name=name,
        type=type_spec,
        required=required,
        default=None if required else json_value(info.default, label),
        **{part: getattr(info, part) for part in (*NUMBERS, *LENGTHS, *COUNTS, "regex", "accept")},
        **{part: getattr(info, part) for part in ("title", "description")},
        choices=choices,
        examples=_json_list(info, "examples", label),
        deprecated=bool(info.deprecated),
    )
    result = _count_items(result)
    _check_words(result, label)
    _check_numbers(result, label)
    _check_lengths(result, label)
    _check_choices(result, label)
    _check_default(result, label)
    return result


def _json_list(info: FieldInfo, part: str, label: str) -> Optional[Tuple[Any, ...]]:
    value = getattr(info, part)
    if value is not None and not isinstance(value, (list, tuple)):
        raise SignatureError(f"{part} must be a list, not {type(value).__name__}", name=label)
    return None if value is None else tuple(json_value(list(value), label))


def _kinds(spec: TypeSpec) -> FrozenSet[str]:
    return frozenset(item.kind for item in spec.items) if spec.kind == "union" else frozenset({spec.kind})


def _count_items(spec: FieldSpec) -> FieldSpec:
    """Say `min_length` of a list as `min_items`: pydantic 2 has only the first word, pydantic 1 only the second."""
    if not _kinds(spec.type) & {"list", "set"} or _kinds(spec.type) & _TEXTUAL:
        return spec
    return dataclasses.replace(
        spec,
        min_items=spec.min_length if spec.min_items is None else spec.min_items,
        max_items=spec.max_length if spec.max_items is None else spec.max_items,
        min_length=None,
        max_length=None,
    )


def _check_words(spec: FieldSpec, label: str) -> None:
    for name in ("title", "description", "regex", "accept"):
        value = getattr(spec, name)
        if value is not None and not isinstance(value, str):
            raise SignatureError(f"{name} must be a str, not {type(value).__name__}", name=label)
    if spec.regex is not None:
        _need_kind(spec, "regex", _TEXTUAL, label)
        try:
            re.compile(spec.regex)
        except (re.error, OverflowError, RecursionError) as error:
            raise SignatureError(f"regex {spec.regex!r} is not a regular expression: {error}", name=label) from error
    if spec.accept is not None:
        if not _kinds(_item(spec.type)) & {"path", "file"}:
            raise SignatureError(f"accept has no meaning for {_show(spec.type)}: it is for Path", name=label)


def _check_numbers(spec: FieldSpec, label: str) -> None:
    for name in NUMBERS:
        value = getattr(spec, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SignatureError(f"{name} must be a number, not {value!r}", name=label)
        _need_kind(spec, name, _NUMERIC, label)
    if spec.multiple_of is not None and spec.multiple_of <= 0:
        raise SignatureError(f"multiple_of must be more than 0, not {spec.multiple_of}", name=label)
    for low_name, high_name in (("ge", "le"), ("ge", "lt"), ("gt", "le"), ("gt", "lt")):
        low, high = getattr(spec, low_name), getattr(spec, high_name)
        if low is None or high is None:
            continue
        if low > high or (low == high and (low_name, high_name) != ("ge", "le")):
            raise SignatureError(f"no number fits {low_name}={low} and {high_name}={high}", name=label)


def _check_lengths(spec: FieldSpec, label: str) -> None:
    for low_name, high_name, kinds in ((*LENGTHS, _TEXTUAL), (*COUNTS, _COUNTED)):
        for name in (low_name, high_name):
            value = getattr(spec, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise SignatureError(f"{name} must be a whole number of at least 0, not {value!r}", name=label)
            _need_kind(spec, name, kinds, label)
        low, high = getattr(spec, low_name), getattr(spec, high_name)
        if low is not None and high is not None and low > high:
            raise SignatureError(f"nothing fits {low_name}={low} and {high_name}={high}", name=label)


def _need_kind(spec: FieldSpec, constraint: str, kinds: FrozenSet[str], label: str) -> None:
    if not _kinds(spec.type) & kinds:
        raise SignatureError(f"{constraint} has no meaning for {_show(spec.type)}", name=label)


def _show(spec: TypeSpec) -> str:
    return spec.kind if spec.kind in ("literal", "enum", "object") else type_phrase(spec)


def _check_choices(spec: FieldSpec, label: str) -> None:
    if spec.choices is None:
        return
    inner = _item(spec.type)
    if not _kinds(inner) & _CHOSEN:
        raise SignatureError(f"choices has no meaning for {_show(spec.type)}", name=label)
    if not spec.choices:
        raise SignatureError("choices is empty", name=label, hint="Give at least one value, or leave choices out.")
    if len({_sort_of(item) for item in spec.choices}) > 1:
        raise SignatureError(f"choices are of mixed types: {list(spec.choices)}", name=label)
    for item in spec.choices:
        if not is_value_of(dataclasses.replace(inner, nullable=False), item):
            raise SignatureError(f"the choice {item!r} is not {type_phrase(inner)}", name=label)


def _item(spec: TypeSpec) -> TypeSpec:
    """What `choices` and `accept` speak of: each item of a list or set, otherwise the value."""
    return spec.items[0] if spec.kind in ("list", "set") else spec


def _sort_of(value: Any) -> type:
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def _check_default(spec: FieldSpec, label: str) -> None:
    if spec.required or spec.default is None:
        return
    if not is_value_of(spec.type, spec.default):
        raise SignatureError(f"the default {spec.default!r} is not {type_phrase(spec.type)}", name=label)
    problem = _violation(spec, spec.default)
    if problem:
        raise SignatureError(f"the default {spec.default!r} {problem}", name=label)


def _violation(spec: FieldSpec, value: Any) -> Optional[str]:
    if spec.choices is not None:
        chosen: List[Any] = value if isinstance(value, list) else [value]
        if any(item not in spec.choices for item in chosen):
            return f"is not among the choices {list(spec.choices)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_violation(spec, value)
    if isinstance(value, str):
        if spec.min_length is not None and len(value) < spec.min_length:
            return f"is shorter than min_length={spec.min_length}"
        if spec.max_length is not None and len(value) > spec.max_length:
            return f"is longer than max_length={spec.max_length}"
        # Not against `regex`: a pattern that backtracks would hang the build.
    if isinstance(value, list):
        if spec.min_items is not None and len(value) < spec.min_items:
            return f"has fewer items than min_items={spec.min_items}"
        if spec.max_items is not None and len(value) > spec.max_items:
            return f"has more items than max_items={spec.max_items}"
    return None


def _number_violation(spec: FieldSpec, value: float) -> Optional[str]:
    if spec.ge is not None and value < spec.ge:
        return f"is less than ge={spec.ge}"
    if spec.gt is not None and value <= spec.gt:
        return f"is not greater than gt={spec.gt}"
    if spec.le is not None and value > spec.le:
        return f"is greater than le={spec.le}"
    if spec.lt is not None and value >= spec.lt:
        return f"is not less than lt={spec.lt}"
    if spec.multiple_of is not None and not _is_multiple(value, spec.multiple_of):
        return f"is not a multiple of {spec.multiple_of}"
    return None


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        quotient = value / step
    except OverflowError:
        return True
    return abs(quotient - round(quotient)) < 1e-9 * max(1.0, abs(quotient))
