"""`attribute`: `value.name` on modules, stand-in classes, enums and the few objects whose attributes are known."""

from __future__ import annotations

import ast
import datetime
import pathlib
import types
from dataclasses import is_dataclass
from enum import Enum, EnumMeta
from typing import Any

from cog.input import FieldInfo
from cog_cli.source.methods import path_attribute
from cog_cli.source.modules import SourceModule
from cog_cli.source.packages import describe_member, package_value
from cog_cli.source.reading import Reading
from cog_cli.source.scope import Scope
from cog_cli.source.values import ABSENT, KnownModule, Native, Unknown, Unsure
from cog_cli.source.vocabulary import find_known

_CONSTANTS: set[tuple[type, str]] = {
    (datetime.datetime, "min"),
    (datetime.datetime, "max"),
    (datetime.date, "min"),
    (datetime.date, "max"),
    (datetime.timezone, "utc"),
}
_SPECIAL = frozenset({"__name__", "__members__", "__doc__"})


def attribute(reading: Reading, value: Any, name: str, node: ast.AST, scope: Scope) -> Any:
    """`value.name`. Raises Unsure, or what Python raises."""
    if isinstance(value, Unknown):
        return describe_member(value, name, scope.module.place(node))
    taint = reading.taint_of(value)
    if taint is not None:
        return taint
    if isinstance(value, KnownModule):
        found = find_known(value.path, name)
        return package_value(f"{value.path}.{name}", scope.module.place(node)) if found is ABSENT else found
    if isinstance(value, SourceModule):
        found = value.attribute(name)
        return reading.failure(f"{value.source.name} has no `{name}`", node, scope) if found is ABSENT else found
    if name.startswith("__") and name not in _SPECIAL:
        raise Unsure(f"`{name}` is not evaluated")
    if isinstance(value, type):
        return _class_attribute(reading, value, name)
    if isinstance(type(value), EnumMeta) and name in ("value", "name"):
        return getattr(value, name)
    if isinstance(value, FieldInfo) and name in FieldInfo.__dataclass_fields__:
        return getattr(value, name)
    if isinstance(value, pathlib.PurePath):
        return path_attribute(value, name)
    is_made = reading.class_record(type(value)) is not None and not isinstance(value, Enum)
    if is_made or is_named_tuple(type(value)):
        return _instance_attribute(value, name)
    if reading.function_record(value) is not None and name in vars(value):
        return vars(value)[name]
    raise Unsure(f"`.{name}` of a {type(value).__name__} is not known")


def _class_attribute(reading: Reading, cls: type, name: str) -> Any:
    if reading.class_record(cls) is None and not isinstance(cls, EnumMeta):
        if (cls, name) in _CONSTANTS:
            return getattr(cls, name)
        if (cls, name) == (dict, "fromkeys"):
            return Native(dict.fromkeys)
        raise Unsure(f"`{cls.__name__}.{name}` is not evaluated")
    found = getattr(cls, name)
    if isinstance(found, (property, types.MemberDescriptorType, types.GetSetDescriptorType)):
        raise Unsure(f"`{cls.__name__}.{name}` is not a value")
    return found


def _instance_attribute(value: Any, name: str) -> Any:
    fields = getattr(value, "_fields", ()) or (value.__dataclass_fields__ if is_dataclass(value) else ())
    if name not in fields:
        raise Unsure(f"`.{name}` of a {type(value).__name__} is not known")
    return getattr(value, name)


def is_named_tuple(cls: type) -> bool:
    """Whether a class is a NamedTuple, by whichever spelling."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")
