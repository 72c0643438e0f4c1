"""Values on their way into `predict` and out of it: JSON to the annotated types, and what was returned to JSON."""

import base64
import copy
import dataclasses
import datetime
import enum
import io
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
import typing
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from cog.input import MISSING, FieldInfo
from cog.model import BaseModel
from cog.reading.annotations import bare, object_fields, type_spec, union_members
from cog.reading.objects import constructor_names
from cog.schema.json_values import is_value_of, to_date, to_datetime
from cog.schema.outputs import check_output
from cog.schema.spec import TypeSpec
from cog.types import Path, Secret

_MAX_DEPTH = 100
_ANY = TypeSpec("any")
Decoder = Callable[[Any], Any]


class LocalFile(str):
    """The path of a file that was fetched: in a union, no other text is one."""


def make_decoder(annotation: Any) -> Decoder:
    """Give the function that turns valid JSON data into a value of `annotation`; files are local paths by then."""
    spec = type_spec(annotation, "")
    decode = _SIMPLE.get(spec.kind) or _structure_decoder(annotation, spec)
    return lambda value: None if value is None else decode(value)


def make_default(default: Any, decode: Decoder) -> Callable[[], Any]:
    """Give the function that makes an input's default anew each time: the model may change what it is given."""
    if _is_json(default):
        return lambda: decode(copy.deepcopy(default))
    # Already a value of the type: an Enum member, a Path, an object.
    return lambda: copy.deepcopy(default)


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


class Encoded(NamedTuple):
    """An output as JSON. `files` has the place of each file in it (keys and indexes) and its local path.

    At such a place the JSON has null.
    """

    body: bytes
    files: List[Tuple[List[Any], str]]


_LONG_CHARS = 1024
_ESCAPED = bytes(range(32)) + b'"\\'
# Made once: json.dumps() makes one for each call that says how.
_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode


def encode_output(value: Any, folder: str, *, spec: TypeSpec = _ANY, is_final: bool = True) -> Encoded:
    """Encode what `predict` gave back; values that are made into files are written to `folder`.

    Unless it is final, files are copied there too: the model goes on, and may change them before they are read.
    Raises TypeError or ValueError naming the place in the output that has no JSON form, or is not as `spec` says.
    """
    files: List[Tuple[List[Any], str]] = []
    plain = _Encoder(folder, files, is_final).encode(_as_files(spec, value), [], 0)
    check_output(spec, plain, files)
    return Encoded(_json_of(plain), files)


def _json_of(plain: Any) -> bytes:
    if type(plain) is str and len(plain) >= _LONG_CHARS:
        # Mostly nothing in it has to be escaped, and to see that takes a quarter of the time.
        text = plain.encode()
        if len(text.translate(None, _ESCAPED)) == len(text):
            return b'"' + text + b'"'
    return _encode_json(plain).encode()


def _as_files(spec: TypeSpec, value: Any) -> Any:
    """Texts in the place of files are their paths, as older models give them; a URL is a URL."""
    if spec.kind in ("path", "file") and isinstance(value, str) and not _URL.match(value):
        return pathlib.Path(value)
    if spec.kind == "list" and isinstance(value, list):
        return [_as_files(spec.items[0], item) for item in value]
    return value


def _structure_decoder(annotation: Any, spec: TypeSpec) -> Decoder:
    members = union_members(annotation)
    if members:
        # `Optional[T]`, or members that are all the same in JSON, is no union there.
        return _union_decoder(members) if spec.kind == "union" else make_decoder(members[0])
    annotation = bare(annotation)
    arguments = list(typing.get_args(annotation))
    kind = typing.get_origin(annotation) or annotation
    if spec.kind == "enum":
        return lambda value: annotation(value)
    if spec.kind == "object":
        return _object_decoder(kind)
    if spec.kind == "tuple":
        decoders = [make_decoder(item) for item in arguments]
        return lambda value: tuple(decode(item) for decode, item in zip(decoders, value))
    # A tuple of any length is of its element and `...`.
    last = arguments[0 if kind is tuple else -1] if arguments else None
    element = _same if last is None or isinstance(last, typing.TypeVar) else make_decoder(last)
    if spec.kind == "dict":
        return lambda value: {key: element(item) for key, item in value.items()}
    assert spec.kind in ("list", "set"), spec
    make = frozenset if kind is frozenset else set if spec.kind == "set" else tuple if kind is tuple else list
    return lambda value: make(element(item) for item in value)


def _same(value: Any) -> Any:
    return value


_SIMPLE: Dict[str, Decoder] = {
    "str": _same,
    "int": int,
    "float": float,
    "bool": _same,
    "any": _same,
    "none": _same,
    "literal": _same,
    "path": Path,
    "secret": Secret,
    "file": lambda value: open(value, "rb"),
    "datetime": to_datetime,
    "date": to_date,
}


def _union_decoder(members: List[Any]) -> Decoder:
    choices = [(type_spec(member, ""), _same if member is float else make_decoder(member)) for member in members]

    def decode(value: Any) -> Any:
        # Any text may be a file of a default only: nobody fetched it.
        for is_file in (_is_local_file, _is_any):
            for spec, decoder in choices:
                if is_value_of(spec, value, is_file=is_file):
                    return decoder(value)
        raise TypeError(f"{value!r} fits no member of the union")

    return decode


def _is_local_file(text: str) -> bool:
    return isinstance(text, LocalFile)


def _is_any(text: str) -> bool:
    return True


def _object_decoder(cls: Any) -> Decoder:
    found = object_fields(cls)
    assert found is not None, f"{cls} has no fields"
    decoders = {name: make_decoder(annotation) for name, annotation, _ in found}
    keywords = constructor_names(cls)
    # Defaults of other forms are known to the class itself.
    defaults = {
        name: make_default(info.default, decoders[name])
        for name, _, info in found
        if isinstance(info, FieldInfo) and info.default is not MISSING
    }

    def decode(value: Any) -> Any:
        values = {name: default() for name, default in defaults.items() if name not in value}
        values.update({name: decoders[name](item) for name, item in value.items()})
        return cls(**{keywords.get(name, name): item for name, item in values.items()})

    return decode


def _is_json(value: Any) -> bool:
    """Whether it is JSON data itself; an Enum member or a named tuple is more than the text or list it also is."""
    if isinstance(value, dict):
        return type(value) is dict and all(map(_is_json, value.values()))
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(_is_json, value))
    return value is None or type(value) in (str, int, float, bool)


class _Encoder:
    def __init__(self, folder: str, files: List[Tuple[List[Any], str]], is_final: bool) -> None:
        self.folder = folder
        self.files = files
        self.is_final = is_final

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
        is_file = hasattr(value, "read")  # An open file is an iterator of its lines too.
        if isinstance(value, (list, tuple, set, frozenset)) or (hasattr(value, "__next__") and not is_file):
            return [self.encode(item, [*place, index], depth + 1) for index, item in enumerate(value)]
        return self._by_protocol(value, place, depth)

    def _by_protocol(self, value: Any, place: List[Any], depth: int) -> Any:
        """Arrays, tensors, pictures and open files, recognised by what they can do."""
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            return self.encode(value.tolist(), place, depth + 1)
        if type(value).__module__.split(".")[0] == "PIL" and hasattr(value, "save"):
            path = self._new_file("output.png")
            value.save(path)
            self.files.append((place, path))
            return None
        if hasattr(value, "read") and isinstance(getattr(value, "name", None), str):
            value.flush() if hasattr(value, "flush") and not value.closed and value.writable() else None
            return self._file(value.name, place)
        if isinstance(value, (io.BytesIO, io.StringIO)):
            return self.encode(value.getvalue(), place, depth + 1)
        raise TypeError(f"{_show(place)} is a {type(value).__name__}, which has no JSON form")

    def _file(self, path: str, place: List[Any]) -> None:
        if not os.path.exists(path):
            raise FileNotFoundError(f"{_show(place)} is the file {path}, which does not exist")
        if not os.path.isfile(path):
            raise ValueError(f"{_show(place)} is {path}, which is not a regular file")
        if not self.is_final:
            copy_path = self._new_file(os.path.basename(path))
            shutil.copyfile(path, copy_path)
            path = copy_path
        self.files.append((place, os.path.abspath(path)))

    def _new_file(self, name: str) -> str:
        """A place for a file: in a folder of its own, so that it keeps its name."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        return os.path.join(tempfile.mkdtemp(dir=self.folder), name)

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
        computed = getattr(getattr(type(value), "__pydantic_decorators__", None), "computed_fields", {})
        # Values beyond the fields: in the instance itself (1) or beside it (2).
        extra = getattr(value, "__pydantic_extra__", vars(value)) or {}
        return {
            name: getattr(value, name) for name in [*names, *(each for each in extra if each not in names), *computed]
        }
    return None


def _clean_text(value: str, place: List[Any]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{_show(place)} is text with a lone surrogate, which UTF-8 cannot carry") from error
    return value


def _show(place: List[Any]) -> str:
    return "output" + "".join(f"[{item}]" if isinstance(item, int) else f".{item}" for item in place)
