"""`check_output`: whether what `predict` gave back is what its annotation promises, in JSON's terms."""

from typing import Any, Iterator, List, Tuple

from cog.schema.spec import TypeSpec

Place = Tuple[Any, ...]

_NAMES = {
    "str": "str",
    "secret": "str",
    "datetime": "datetime",
    "date": "date",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "path": "a file",
    "file": "a file",
    "list": "a list",
    "set": "a set",
    "tuple": "a tuple",
    "dict": "a dict",
    "none": "None",
}


def check_output(spec: TypeSpec, plain: Any, files: List[Tuple[List[Any], str]]) -> None:
    """Check one output, or one item of an iterator's. `plain` is JSON data with None in the places of `files`.

    None passes everywhere, as it does in the existing Cog. Raises TypeError naming what was expected and what came.
    """
    places = {tuple(place) for place, _ in files}
    for place, wanted, got in _mismatches(spec, plain, (), places):
        shown = "output" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        raise TypeError(f"{shown} is {got}, but predict() is annotated to give {wanted}")


def _mismatches(spec: TypeSpec, value: Any, place: Place, files: Any) -> Iterator[Tuple[Place, str, str]]:
    kind = spec.kind
    if kind == "union":
        found = [list(_mismatches(item, value, place, files)) for item in spec.items]
        if all(found):
            yield place, " or ".join(_name(item) for item in spec.items), _describe(value)
    elif place in files:
        if kind not in ("path", "file", "str", "any"):
            yield place, _name(spec), "a file"
    elif value is None or kind == "any":
        return
    elif kind in ("literal", "enum"):
        if not any(value == each and type(value) is type(each) for each in spec.values):
            yield place, _name(spec), _describe(value)
    elif not _is(kind, value):
        yield place, _name(spec), _describe(value)
    elif kind in ("list", "set") and spec.items:
        for position, item in enumerate(value):
            yield from _mismatches(spec.items[0], item, (*place, position), files)
    elif kind == "tuple":
        for position, (item, inner) in enumerate(zip(spec.items, value)):
            yield from _mismatches(item, inner, (*place, position), files)
    elif kind == "dict" and spec.items:
        for key, item in value.items():
            yield from _mismatches(spec.items[0], item, (*place, key), files)
    elif kind == "object":
        for field in spec.fields:
            if field.name in value:
                yield from _mismatches(field.type, value[field.name], (*place, field.name), files)


def _is(kind: str, value: Any) -> bool:
    if kind in ("str", "secret", "datetime", "date"):
        return isinstance(value, str)
    if kind in ("path", "file"):
        return isinstance(value, str) and ":" in value  # A URL of the model's own.
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in ("list", "set", "tuple"):
        return isinstance(value, list)
    return kind in ("dict", "object") and isinstance(value, dict)


def _name(spec: TypeSpec) -> str:
    if spec.kind in ("literal", "enum"):
        return "one of " + ", ".join(map(repr, spec.values))
    return _NAMES.get(spec.kind) or spec.name or spec.kind


def _describe(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return repr(value)
    for kind, name in ((str, "str"), (int, "int"), (float, "float"), (list, "a list"), (dict, "a dict")):
        if isinstance(value, kind):
            return name
    return type(value).__name__
