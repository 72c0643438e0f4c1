"""Defaults, choices and examples as JSON data, and whether such data is a value of a `TypeSpec`."""

import dataclasses
import datetime
import enum
import functools
import math
import pathlib
import re
from typing import Any, Callable, Dict, Tuple

from cog.schema.spec import SignatureError, TypeSpec

_PYTHON_TYPES: Dict[str, Tuple[type, ...]] = {
    "str": (str,),
    "secret": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


_MAX_DEPTH = 100


def json_value(value: Any, name: str, depth: int = 0) -> Any:
    """Give the JSON form of a default, choice or example; `name` is the parameter it belongs to.

    Raises SignatureError for a value without one, such as an object, bytes or NaN.
    """
    if depth > _MAX_DEPTH:
        raise SignatureError("its default is nested too deeply, or contains itself", name=name)
    depth += 1
    if isinstance(value, enum.Enum):
        return json_value(value.value, name, depth)
    if isinstance(value, pathlib.PurePath):
        return value.as_posix()
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if hasattr(value, "_asdict"):  # a NamedTuple is an object in the API, not a list
        return json_value(value._asdict(), name, depth)
    if isinstance(value, (set, frozenset)):
        # The order of a set changes from run to run; the document must not.
        return sorted((json_value(item, name, depth) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [json_value(item, name, depth) for item in value]
    if isinstance(value, dict):
        return {_json_key(key, name): json_value(item, name, depth) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _json_object(value, name, depth)


def _json_key(key: Any, name: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if not isinstance(key, str):
        raise SignatureError(f"the key {key!r} in its default is not a str", name=name)
    return key


def _json_object(value: Any, name: str, depth: int) -> Any:
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: json_value(getattr(value, item.name), name, depth) for item in dataclasses.fields(value)}
    if type(value).__module__ == "numpy" and callable(getattr(value, "tolist", None)):
        return json_value(value.tolist(), name, depth)
    dump = getattr(value, "model_dump", None) or getattr(value, "dict", None)
    if callable(dump) and not isinstance(value, type):
        return json_value(dump(), name, depth)
    raise SignatureError(f"the value {value!r} has no JSON form", name=name)


def is_value_of(spec: TypeSpec, value: Any, *, is_file: Callable[[str], bool] = lambda text: True) -> bool:
    """Whether JSON data is a value of `spec`. An int is a float too; a bool is not an int.

    `is_file` says which texts are files, where not every text may be one.
    """
    fits = functools.partial(is_value_of, is_file=is_file)
    if value is None:
        return spec.nullable or spec.kind in ("none", "any")
    if spec.kind == "any":
        return True
    if spec.kind in ("path", "file"):
        return isinstance(value, str) and is_file(value)
    wanted = _PYTHON_TYPES.get(spec.kind)
    if wanted is not None:
        return isinstance(value, wanted) and (not isinstance(value, bool) or bool in wanted)
    if spec.kind in ("datetime", "date"):
        return isinstance(value, str) and _is_iso(spec.kind, value)
    if spec.kind in ("literal", "enum"):
        return any(type(item) is type(value) and item == value for item in spec.values)
    if spec.kind == "union":
        return any(fits(item, value) for item in spec.items)
    if spec.kind in ("list", "set"):
        return isinstance(value, list) and all(fits(spec.items[0], item) for item in value)
    if spec.kind == "tuple":
        return (
            isinstance(value, list)
            and len(value) == len(spec.items)
            and all(fits(member, item) for member, item in zip(spec.items, value))
        )
    if spec.kind == "dict":
        return isinstance(value, dict) and all(fits(spec.items[0], item) for item in value.values())
    return spec.kind == "object" and isinstance(value, dict) and _is_object(spec, value, fits)


def _is_object(spec: TypeSpec, value: Dict[str, Any], fits: Callable[[TypeSpec, Any], bool]) -> bool:
    known = {field.name: field for field in spec.fields}
    if any(name not in known for name in value):
        return False
    return all(fits(field.type, value[name]) if name in value else not field.required for name, field in known.items())


def to_datetime(text: str) -> datetime.datetime:
    """Read a date and time as ISO 8601 writes it in full: alike on every Python. Raises ValueError."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a date and time")
    day, clock, seconds, fraction, offset = found.groups()
    if clock is None:
        return datetime.datetime.fromisoformat(day)
    fraction = ((fraction or "") + "000000")[:6]
    offset = "+00:00" if offset in ("Z", "z") else offset or ""
    return datetime.datetime.fromisoformat(f"{day}T{clock}:{seconds or '00'}.{fraction}{offset}")


def to_date(text: str) -> datetime.date:
    """Read a date as YYYY-MM-DD. Raises ValueError."""
    if _DAY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a date")
    return datetime.date.fromisoformat(text)


# Newer Pythons read more forms than older ones: what the server takes, the model's Python must read too.
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?([Zz]|[+-]\d\d:\d\d(?::\d\d)?)?)?", re.ASCII
)


def _is_iso(kind: str, text: str) -> bool:
    try:
        to_date(text) if kind == "date" else to_datetime(text)
    except ValueError:
        return False
    return True


def type_phrase(spec: TypeSpec) -> str:
    """Name a type for a message, with its article: `an int`, `a list of str`, `one of 'a', 'b'`."""
    if spec.kind in ("literal", "enum"):
        return "one of " + ", ".join(repr(item) for item in spec.values)
    if spec.kind == "union":
        return " or ".join(type_phrase(item) for item in spec.items)
    noun = _noun(spec)
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def _noun(spec: TypeSpec) -> str:
    if spec.kind in ("list", "set", "dict") and spec.items[0].kind != "any":
        return f"{spec.kind} of {_noun(spec.items[0])}"
    if spec.kind == "tuple":
        return f"tuple of {len(spec.items)}"
    return spec.name or {"path": "Path", "file": "File", "secret": "Secret"}.get(spec.kind, spec.kind)
