"""`object_fields`: the fields of a class that is a JSON object: models, dataclasses, named tuples, typed dicts.

Pydantic models of both majors are recognised without importing pydantic.
"""

import dataclasses
import sys
import typing
from typing import Any, Callable, Dict, List, Optional, Tuple

from cog.input import MISSING, FieldInfo, as_field_info
from cog.model import BaseModel, ModelField, admits_none
from cog.schema.spec import SignatureError

# The default of a field that may be left out and then has no value at all (a TypedDict's NotRequired key).
ABSENT: Any = object()

Fields = List[Tuple[str, Any, Any]]


def object_fields(cls: Any) -> Optional[Fields]:
    """List an object type's fields as (name, annotation, default), or None if `cls` is no object type.

    A default is a plain value, an `Input(...)` or pydantic's `Field(...)`, MISSING (required) or ABSENT.
    """
    for test, read in _OBJECT_KINDS:
        if test(cls):
            return read(cls)
    return None


def constructor_names(cls: Any) -> Dict[str, str]:
    """The keyword of each field in the class's constructor, where it is another: pydantic's aliases."""
    found: Dict[str, str] = {}
    if _is_pydantic(cls):
        for name, item in (getattr(cls, "model_fields", None) or cls.__fields__).items():
            alias = getattr(item, "validation_alias", None) or getattr(item, "alias", None)
            if isinstance(alias, str):
                found[name] = alias
    return found


def _hints(cls: Any) -> Dict[str, Any]:
    try:
        if sys.version_info >= (3, 9):
            return typing.get_type_hints(cls, include_extras=True)
        return typing.get_type_hints(cls)
    except NameError as error:
        raise SignatureError(undefined_name(error)) from error


def undefined_name(error: NameError) -> str:
    """`X is not defined`, of a NameError; Python before 3.10 tells the name in the message only."""
    parts = str(error).split("'")
    return f"{parts[1]} is not defined" if len(parts) == 3 else str(error)


def _is_pydantic(cls: Any) -> bool:
    return any(base.__module__.split(".")[0] == "pydantic" and base.__name__ == "BaseModel" for base in cls.__mro__)


def _read_pydantic(cls: Any) -> Fields:
    hints = _hints(cls)
    if hasattr(cls, "model_fields"):  # pydantic 2
        return [(name, hints.get(name, item.annotation), item) for name, item in cls.model_fields.items()]
    return [
        (name, hints.get(name, item.outer_type_), _pydantic_1_default(item)) for name, item in cls.__fields__.items()
    ]


def _pydantic_1_default(item: Any) -> FieldInfo:
    info = as_field_info(item.field_info) or FieldInfo()
    if item.required:
        return dataclasses.replace(info, default=MISSING)
    return info if info.default is not MISSING else dataclasses.replace(info, default=item.default)


def _read_model(cls: Any) -> Fields:
    _hints(cls)
    return [(item.name, item.annotation, _none_if_optional(item)) for item in cls.model_fields_()]


def _none_if_optional(field: ModelField) -> Any:
    info = field.default if isinstance(field.default, FieldInfo) else FieldInfo(default=field.default)
    if info.default is MISSING and admits_none(field.annotation):
        return dataclasses.replace(info, default=None)
    return field.default


def _read_dataclass(cls: Any) -> Fields:
    hints = _hints(cls)
    result: Fields = []
    for item in dataclasses.fields(cls):
        default: Any = MISSING
        if item.default is not dataclasses.MISSING:
            default = item.default
        elif item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        result.append((item.name, hints[item.name], default))
    return result


def _read_named_tuple(cls: Any) -> Fields:
    hints = _hints(cls)
    return [(name, hints.get(name, Any), cls._field_defaults.get(name, MISSING)) for name in cls._fields]


def _read_typed_dict(cls: Any) -> Fields:
    # Python 3.8 knows only whether all of the keys are required.
    required = getattr(cls, "__required_keys__", frozenset(cls.__annotations__ if cls.__total__ else ()))
    hints = {name: _strip_requirement(hint) for name, hint in _hints(cls).items()}
    return [(name, hint, MISSING if name in required else ABSENT) for name, hint in hints.items()]


def _strip_requirement(hint: Any) -> Any:
    """`Required[T]`, `NotRequired[T]` and `ReadOnly[T]` as T."""
    origin = str(typing.get_origin(hint))
    return typing.get_args(hint)[0] if origin.endswith(("Required", "ReadOnly")) else hint


_OBJECT_KINDS: List[Tuple[Callable[[Any], bool], Callable[[Any], Fields]]] = [
    (lambda cls: issubclass(cls, BaseModel), _read_model),
    (_is_pydantic, _read_pydantic),
    (dataclasses.is_dataclass, _read_dataclass),
    (lambda cls: issubclass(cls, tuple) and hasattr(cls, "_fields"), _read_named_tuple),
    (lambda cls: issubclass(cls, dict) and hasattr(cls, "__total__"), _read_typed_dict),
]
