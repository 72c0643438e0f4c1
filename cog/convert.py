"""Values on their way into `predict` and out of it: JSON to the annotated types, and what was returned to JSON."""

import base64
import dataclasses
import datetime
import enum
import json
import math
import os
import pathlib
import tempfile
import typing
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from cog.annotations import object_fields, split_annotated, type_spec
from cog.input import MISSING, FieldInfo
from cog.model import BaseModel
from cog.spec import TypeSpec
from cog.types import Path, Secret

_MAX_DEPTH = 100
Decoder = Callable[[Any], Any]


def make_decoder(annotation: Any) -> Decoder:
    """Give the function that turns valid JSON data into a value of `annotation`; files are local paths by then."""
    spec = type_spec(annotation, "")
    return _decoder(annotation, spec)


class Encoded(NamedTuple):
    """An output as JSON. `files` has the place of each file in it (keys and indexes) and its local path.

    At such a place the JSON has null.
    """

    body: bytes
    files: List[Tuple[List[Any], str]]


def encode_output(value: Any, folder: str) -> Encoded:
    """Encode what `predict` gave back; values that are made into files are written to `folder`.

    Raises TypeError or ValueError naming the place in the output that has no JSON form.
    """
    files: List[Tuple[List[Any], str]] = []
    plain = _Encoder(folder, files).encode(value, [], 0)
    return Encoded(json.dumps(plain, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode(), files)


def _decoder(annotation: Any, spec: TypeSpec) -> Decoder:
    annotation, _ = split_annotated(annotation)
    return _not_none(_plain_decoder(annotation, spec))


def _not_none(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _plain_decoder(annotation: Any, spec: TypeSpec) -> Decoder:
    simple = _SIMPLE.get(spec.kind)
    if simple is not None:
        return simple
    arguments = [item for item in typing.get_args(annotation) if item is not type(None)]
    if spec.kind == "union":
        return _union_decoder(arguments)
    if len(arguments) == 1 and spec.nullable and type_spec(arguments[0], "").kind == spec.kind:
        return _plain_decoder(split_annotated(arguments[0])[0], spec)
    annotation = getattr(annotation, "__supertype__", annotation)
    if spec.kind == "enum":
        return lambda value: annotation(value)
    if spec.kind == "object":
        return _object_decoder(annotation)
    if spec.kind == "tuple":
        decoders = [make_decoder(item) for item in arguments]
        return lambda value: tuple(decode(item) for decode, item in zip(decoders, value))
    if spec.kind == "dict":
        element = make_decoder(arguments[-1]) if arguments and not _is_open(arguments) else _same
        return lambda value: {key: element(item) for key, item in value.items()}
    first = make_decoder(arguments[0]) if arguments and not _is_open(arguments[:1]) else _same
    if spec.kind == "set":
        return lambda value: {first(item) for item in value}
    if spec.kind == "list":
        if typing.get_origin(annotation) is tuple or annotation is tuple:
            return lambda value: tuple(first(item) for item in value)
        return lambda value: [first(item) for item in value]
    return _same


def _is_open(arguments: List[Any]) -> bool:
    return isinstance(arguments[-1], typing.TypeVar)


def _same(value: Any) -> Any:
    return value


def _to_datetime(value: str) -> datetime.datetime:
    # Before Python 3.11 fromisoformat does not know the Z that JSON clients write.
    return datetime.datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value)


_SIMPLE: Dict[str, Decoder] = {
    "str": _same,
    "int": int,
    "float": float,
    "bool": _same,
    "any": _same,
    "literal": _same,
    "path": Path,
    "secret": Secret,
    "file": lambda value: open(value, "rb"),
    "datetime": _to_datetime,
    "date": datetime.date.fromisoformat,
}

_JSON_KINDS: Dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "set": lambda value: isinstance(value, list),
    "tuple": lambda value: isinstance(value, list),
    "dict": lambda value: isinstance(value, dict),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}


def _union_decoder(members: List[Any]) -> Decoder:
    specs = [type_spec(item, "") for item in members]
    choices = [(spec, _decoder(member, spec)) for member, spec in zip(members, specs)]

    def decode(value: Any) -> Any:
        failure: Optional[Exception] = None
        for spec, decoder in choices:
            fits = _JSON_KINDS.get(spec.kind, lambda item: isinstance(item, str))
            if spec.kind in ("literal", "enum"):
                fits = spec.values.__contains__
            if fits(value):
                try:
                    return decoder(value)
                except (TypeError, ValueError) as error:
                    failure = error
        raise failure or TypeError(f"{value!r} fits no member of the union")

    return decode


def _object_decoder(cls: Any) -> Decoder:
    found = object_fields(cls)
    assert found is not None, f"{cls} has no fields"
    decoders = {name: make_decoder(annotation) for name, annotation, _ in found}
    defaults = {
        name: default.default if isinstance(default, FieldInfo) else default
        for name, _, default in found
        if isinstance(default, FieldInfo)
    }

    def decode(value: Any) -> Any:
        values = {name: default for name, default in defaults.items() if default is not MISSING}
        values.update({name: decoders[name](item) for name, item in value.items()})
        return cls(**values)

    return decode


class _Encoder:
    def __init__(self, folder: str, files: List[Tuple[List[Any], str]]) -> None:
        self.folder = folder
        self.files = files

    def encode(self, value: Any, place: List[Any], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError(f"{_show(place[:3])} is nested more than {_MAX_DEPTH} deep, or contains itself")
        if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
            return _clean_text(value, place) if isinstance(value, str) else value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{_show(place)} is {value}, which JSON cannot carry")
            return value
        if isinstance(value, pathlib.PurePath):
            return self._file(str(value), place)
        if isinstance(value, enum.Enum):
            return self.encode(value.value, place, depth + 1)
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, Secret):
            return str(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return "data:application/octet-stream;base64," + base64.b64encode(bytes(value)).decode()
        fields = _fields_of(value)
        if fields is not None:
            return {self._key(key, place): self.encode(item, [*place, key], depth + 1) for key, item in fields.items()}
        if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "__next__"):
            return [self.encode(item, [*place, index], depth + 1) for index, item in enumerate(value)]
        return self._by_protocol(value, place, depth)

    def _by_protocol(self, value: Any, place: List[Any], depth: int) -> Any:
        """Arrays, tensors, pictures and open files, recognised by what they can do."""
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            return self.encode(value.tolist(), place, depth + 1)
        if type(value).__module__.split(".")[0] == "PIL" and hasattr(value, "save"):
            handle, path = tempfile.mkstemp(suffix=".png", prefix="output-", dir=self.folder)
            os.close(handle)
            value.save(path)
            return self._file(path, place)
        if hasattr(value, "read") and isinstance(getattr(value, "name", None), str):
            value.flush() if hasattr(value, "flush") and not value.closed and value.writable() else None
            return self._file(value.name, place)
        raise TypeError(f"{_show(place)} is a {type(value).__name__}, which has no JSON form")

    def _file(self, path: str, place: List[Any]) -> None:
        if not os.path.exists(path):
            raise FileNotFoundError(f"{_show(place)} is the file {path}, which does not exist")
        if not os.path.isfile(path):
            raise ValueError(f"{_show(place)} is {path}, which is not a regular file")
        self.files.append((place, os.path.abspath(path)))

    def _key(self, key: Any, place: List[Any]) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if not isinstance(key, (str, int)):
            raise TypeError(f"{_show(place)} has the key {key!r}: the keys of an object must be str")
        return str(key)


def _fields_of(value: Any) -> Optional[Dict[Any, Any]]:
    if isinstance(value, dict):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value))
    names = getattr(type(value), "model_fields", None) or getattr(type(value), "__fields__", None)
    if isinstance(names, dict):  # pydantic, either major: attributes, not model_dump(), which would copy paths to text
        return {name: getattr(value, name) for name in names}
    return None


def _clean_text(value: str, place: List[Any]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{_show(place)} is text with a lone surrogate, which UTF-8 cannot carry") from error
    return value


def _show(place: List[Any]) -> str:
    return "output" + "".join(f"[{item}]" if isinstance(item, int) else f".{item}" for item in place)
