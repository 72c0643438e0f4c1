"""`type_spec`: an annotation as a `TypeSpec`."""

import collections.abc
import dataclasses
import datetime
import enum
import io
import pathlib
import sys
import types
import typing
from typing import Any, Dict, List, Tuple

from cog.input import MISSING, as_field_info
from cog.reading.fields import field_info, field_spec, has_constraints, is_optional, split_annotated
from cog.reading.objects import ABSENT, object_fields
from cog.schema.spec import FieldSpec, SignatureError, TypeSpec
from cog.types import AsyncConcatenateIterator, ConcatenateIterator, File, Opaque, Secret

_MAX_DEPTH = 20
_MAX_TYPES = 5000

_SCALARS: Dict[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    datetime.datetime: "datetime",
    datetime.date: "date",
    Any: "any",
    type(None): "none",
    None: "none",
}

_LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

# Origin of an iterator annotation -> (is the iterator asynchronous, do its items concatenate).
ITERATORS: Dict[Any, Tuple[bool, bool]] = {
    collections.abc.Iterator: (False, False),
    collections.abc.Iterable: (False, False),
    collections.abc.Generator: (False, False),
    collections.abc.AsyncIterator: (True, False),
    collections.abc.AsyncIterable: (True, False),
    collections.abc.AsyncGenerator: (True, False),
    ConcatenateIterator: (False, True),
    AsyncConcatenateIterator: (True, True),
}

SUPPORTED = (
    "str, int, float, bool, Path, Secret, datetime, date, Literal, Enum, list, set, tuple, dict, Optional, Any, models"
)


def type_spec(annotation: Any, name: str, *, is_output: bool = False) -> TypeSpec:
    """Translate `annotation`; `name` is the parameter or field it belongs to, for errors.

    Raises SignatureError for a type that has no JSON form.
    """
    return _Translator(is_output).translate(annotation, name, is_whole=True)


class _Translator:
    def __init__(self, is_output: bool) -> None:
        self.is_output = is_output
        self.open_classes: List[Any] = []
        self.depth = 0
        self.count = 0

    def translate(self, annotation: Any, name: str, *, is_whole: bool = False) -> TypeSpec:
        """`is_whole`: the type of a parameter or field itself, whose `Annotated` constraints are read elsewhere."""
        self.count += 1
        if self.depth > _MAX_DEPTH or self.count > _MAX_TYPES:
            raise SignatureError("the type is nested too deeply", name=name)
        self.depth += 1
        try:
            return self._translate(annotation, name, is_whole)
        finally:
            self.depth -= 1

    def _translate(self, annotation: Any, name: str, is_whole: bool) -> TypeSpec:
        annotation, metadata = split_annotated(annotation)
        if any(item is Opaque or isinstance(item, Opaque) for item in metadata):
            return TypeSpec("any")
        if not is_whole and not self.is_output:
            _refuse_constraints(metadata, name)
        plain = _unalias(annotation)
        if plain is not annotation:
            return self.translate(plain, name)
        if _is_hashable(annotation) and annotation in _SCALARS:
            return TypeSpec(_SCALARS[annotation])
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin, name, is_whole)
        if isinstance(annotation, type):
            return self._plain_class(annotation, name)
        return self._from_special(annotation, name)

    def _generic(self, annotation: Any, origin: Any, name: str, is_whole: bool) -> TypeSpec:
        arguments = typing.get_args(annotation)
        if origin is typing.Union or origin is getattr(types, "UnionType", None):
            return self._union(arguments, name, is_whole)
        if origin is typing.Literal or origin is getattr(_typing_extensions(), "Literal", None):
            return _literal(arguments, name)
        if origin is tuple and arguments and (len(arguments) != 2 or arguments[1] is not ...):
            if arguments == ((),):  # what Python before 3.11 makes of Tuple[()]
                arguments = ()
            else:
                return TypeSpec("tuple", items=tuple(self.translate(item, name) for item in arguments))
        if origin in _LISTS or origin is tuple:
            return TypeSpec("list", items=(self._element(arguments, name, "tuple" if origin is tuple else "list"),))
        if origin in _SETS:
            return TypeSpec("set", items=(self._element(arguments, name, "set"),))
        if origin in _DICTS:
            return self._dict(arguments, name)
        return self._plain_class(origin, name)

    def _element(self, arguments: Tuple[Any, ...], name: str, kind: str) -> TypeSpec:
        if arguments and not isinstance(arguments[0], typing.TypeVar):
            return self.translate(arguments[0], name)
        if not self.is_output:
            raise SignatureError(
                f"{kind} needs an element type",
                name=name,
                hint=f"For example `{kind.title()}[str]`, or `{kind.title()}[Any]` for any JSON.",
            )
        return TypeSpec("any")

    def _dict(self, arguments: Tuple[Any, ...], name: str) -> TypeSpec:
        if len(arguments) != 2 or isinstance(arguments[0], typing.TypeVar):
            return TypeSpec("dict", items=(TypeSpec("any"),))
        if arguments[0] is not str and arguments[0] is not Any:
            raise SignatureError(f"the keys of a dict must be str, not {_show(arguments[0])}", name=name)
        return TypeSpec("dict", items=(self.translate(arguments[1], name),))

    def _union(self, arguments: Tuple[Any, ...], name: str, is_whole: bool) -> TypeSpec:
        nullable = any(item is type(None) or item is None for item in arguments)
        given = [item for item in arguments if item is not type(None) and item is not None]
        is_whole = is_whole and len(given) == 1
        members: List[TypeSpec] = []
        for spec in [self.translate(item, name, is_whole=is_whole) for item in given]:
            # A member behind an alias may itself be a union, or nullable: one flat union says the same.
            nullable = nullable or spec.nullable
            members.extend(spec.items if spec.kind == "union" else [dataclasses.replace(spec, nullable=False)])
        # Not by hash: the default of an object's field may be a list.
        unique = list({repr(spec): spec for spec in members}.values())
        if len(unique) == 1:
            return dataclasses.replace(unique[0], nullable=nullable)
        return TypeSpec("union", items=tuple(unique), nullable=nullable)

    def _plain_class(self, cls: Any, name: str) -> TypeSpec:
        if issubclass(cls, enum.Enum):
            return _enum(cls, name)
        if issubclass(cls, (pathlib.PurePath,)):
            return TypeSpec("path")
        if issubclass(cls, Secret):
            return TypeSpec("secret")
        if issubclass(cls, (File, io.IOBase)):
            return TypeSpec("file")
        if cls in _LISTS or cls is tuple:
            return TypeSpec("list", items=(self._element((), name, "tuple" if cls is tuple else "list"),))
        if cls in _SETS:
            return TypeSpec("set", items=(self._element((), name, "set"),))
        if cls in _DICTS:
            return TypeSpec("dict", items=(TypeSpec("any"),))
        try:
            found = object_fields(cls)
        except SignatureError as error:
            error.name = error.name or name
            raise
        if found is not None:
            return self._object(cls, found, name)
        if self.is_output:
            # Whatever the encoder knows by protocol (arrays, tensors, pictures) is JSON at the end.
            return TypeSpec("any")
        raise _unsupported(cls, name)

    def _object(self, cls: Any, found: List[Tuple[str, Any, Any]], name: str) -> TypeSpec:
        if cls in self.open_classes:
            raise SignatureError(f"{cls.__name__} contains itself, which the API document cannot describe", name=name)
        self.open_classes.append(cls)
        fields = tuple(self._field(*item, label=f"{name}.{item[0]}" if name else item[0]) for item in found)
        self.open_classes.pop()
        return TypeSpec("object", name=cls.__name__, fields=fields)

    def _field(self, name: str, annotation: Any, default: Any, *, label: str) -> FieldSpec:
        spec = self.translate(annotation, label, is_whole=True)
        info = field_info(MISSING if default is ABSENT else default, annotation, label)
        if self.is_output:
            # What comes back is told by its types; limits and defaults say what may be sent. A field that may be None
            # may also be left out: pydantic 1, cog.BaseModel and the older schemas agree on that.
            required = info.default is MISSING and default is not ABSENT and not is_optional(spec)
            return FieldSpec(name=name, type=spec, required=required, title=info.title, description=info.description)
        made = field_spec(name, spec, info, label=label)
        return dataclasses.replace(made, required=False) if default is ABSENT else made

    def _from_special(self, annotation: Any, name: str) -> TypeSpec:
        bare = getattr(annotation, "__origin__", None)
        if bare is not None and bare is not annotation:
            return self.translate(bare, name)
        raise _unsupported(annotation, name)


def _refuse_constraints(metadata: Tuple[Any, ...], name: str) -> None:
    for info in map(as_field_info, metadata):
        if info is not None and has_constraints(info):
            raise SignatureError("constraints inside a list, dict or union are not supported", name=name)


def _unsupported(annotation: Any, name: str) -> SignatureError:
    return SignatureError(f"type {_show(annotation)} is not supported", name=name, hint=f"Use one of {SUPPORTED}.")


def _literal(arguments: Tuple[Any, ...], name: str) -> TypeSpec:
    given: List[Any] = []
    for item in arguments:
        # Python 3.8 keeps a Literal inside a Literal.
        given.extend(typing.get_args(item) if typing.get_origin(item) is typing.Literal else [item])
    values = [item for item in given if item is not None]
    for item in values:
        if not isinstance(item, (str, int)) or isinstance(item, enum.Enum):
            raise SignatureError(f"Literal values must be str, int or bool, not {item!r}", name=name)
    unique = list({(type(item), item): item for item in values}.values())
    return TypeSpec("literal", values=tuple(unique), nullable=len(values) < len(given))


def _enum(cls: Any, name: str) -> TypeSpec:
    values = tuple(member.value for member in cls)
    if not values:
        raise SignatureError(f"the enum {cls.__name__} has no members", name=name)
    for value in values:
        if not isinstance(value, (str, int, float)):
            raise SignatureError(f"{cls.__name__} has the value {value!r}: it must be str, int or float", name=name)
    return TypeSpec("enum", values=values, name=cls.__name__)


def _typing_extensions() -> Any:
    """The user's typing_extensions if their code imported it; its Literal is another object on old Pythons."""
    return sys.modules.get("typing_extensions")


def _unalias(annotation: Any) -> Any:
    """Follow NewType and `type X = ...` to the type behind."""
    for _ in range(_MAX_DEPTH):
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            break
    return annotation


def bare(annotation: Any) -> Any:
    """The type behind `Annotated`, NewType and `type X = ...`, in any order."""
    for _ in range(_MAX_DEPTH):
        plain = _unalias(split_annotated(annotation)[0])
        if plain is annotation:
            break
        annotation = plain
    return annotation


def union_members(annotation: Any) -> List[Any]:
    """What a union is of, without None and with the unions inside it opened; nothing for what is no union."""
    annotation = bare(annotation)
    origin = typing.get_origin(annotation)
    if origin is not typing.Union and (origin is None or origin is not getattr(types, "UnionType", None)):
        return []
    given = [item for item in typing.get_args(annotation) if item is not type(None)]
    return [member for item in given for member in union_members(item) or [item]]


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _show(annotation: Any) -> str:
    return getattr(annotation, "__qualname__", None) or str(annotation)


__all__ = ["ITERATORS", "bare", "is_optional", "object_fields", "split_annotated", "type_spec", "union_members"]
