"""`Input(...)`: what a predictor says about one parameter beyond its type."""

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Union

Number = Union[int, float]

# Which constraints bound a value, its characters, its items.
NUMBERS = ("ge", "gt", "le", "lt", "multiple_of")
LENGTHS = ("min_length", "max_length")
COUNTS = ("min_items", "max_items")


class _Missing:
    """The type of `MISSING`: no default was given, which is not the same as a default of None."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()


@dataclass(frozen=True)
class FieldInfo:
    """What `Input()` holds. All constraints are optional; `default` is MISSING for a required input."""

    default: Any = MISSING
    title: Optional[str] = None
    description: Optional[str] = None
    ge: Optional[Number] = None
    gt: Optional[Number] = None
    le: Optional[Number] = None
    lt: Optional[Number] = None
    multiple_of: Optional[Number] = None
    min_length: Optional[int] = None
    max_length: Optional[int] = None
    min_items: Optional[int] = None
    max_items: Optional[int] = None
    regex: Optional[str] = None
    choices: Optional[Sequence[Any]] = None
    deprecated: Optional[bool] = None
    accept: Optional[str] = None
    examples: Optional[Sequence[Any]] = None
    order: Optional[int] = None


def Input(  # noqa: N802 - the name every model imports
    default: Any = MISSING,
    *,
    description: Optional[str] = None,
    title: Optional[str] = None,
    ge: Optional[Number] = None,
    gt: Optional[Number] = None,
    le: Optional[Number] = None,
    lt: Optional[Number] = None,
    multiple_of: Optional[Number] = None,
    min_length: Optional[int] = None,
    max_length: Optional[int] = None,
    min_items: Optional[int] = None,
    max_items: Optional[int] = None,
    regex: Optional[str] = None,
    choices: Optional[Sequence[Any]] = None,
    deprecated: Optional[bool] = None,
    accept: Optional[str] = None,
    examples: Optional[Sequence[Any]] = None,
    order: Optional[int] = None,
) -> Any:
    """Describe an input of `predict`.

    Without `default` (or with `...`) the input is required; with `default=None` it is optional, whatever its type.
    Lengths count characters (str); items count elements (list). `choices` are the allowed values, at least one.
    """
    return FieldInfo(
        default=MISSING if default is ... else default,
        title=title,
        description=description,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        multiple_of=multiple_of,
        min_length=min_length,
        max_length=max_length,
        min_items=min_items,
        max_items=max_items,
        regex=regex,
        choices=None if choices is None else _as_list(choices),
        deprecated=deprecated,
        accept=accept,
        examples=examples,
        order=order,
    )


def _as_list(values: Any) -> List[Any]:
    # The order of a set changes from run to run; the API document must not.
    return sorted(values, key=repr) if isinstance(values, (set, frozenset)) else list(values)


def as_field_info(value: Any) -> Optional[FieldInfo]:
    """Give `Input(...)` as it is, a `Field(...)` of pydantic 1 or 2 translated, anything else as None."""
    if isinstance(value, FieldInfo):
        return value
    kind = type(value)
    if kind.__name__ != "FieldInfo" or kind.__module__.split(".")[0] != "pydantic":
        return None
    default = value.default
    if callable(getattr(value, "default_factory", None)):
        default = value.default_factory()
    elif default is ... or type(default).__name__ in ("PydanticUndefinedType", "UndefinedType"):
        default = MISSING
    return FieldInfo(default=default, **_pydantic_constraints(value))


def _pydantic_constraints(value: Any) -> Dict[str, Any]:
    """The constraints of a pydantic FieldInfo: attributes in version 1, `metadata` objects in version 2."""
    holders = [value, *getattr(value, "metadata", ())]
    names = {name: (name,) for name in (*NUMBERS, *LENGTHS, *COUNTS, "title", "description", "examples")}
    result: Dict[str, Any] = {}
    for target, sources in {**names, "regex": ("regex", "pattern")}.items():
        found = [getattr(holder, name, None) for holder in holders for name in sources]
        result[target] = next((item for item in found if item is not None and not callable(item)), None)
    extra = getattr(value, "extra", None) or {}  # where pydantic 1 keeps what it does not know
    if getattr(value, "deprecated", None) or extra.get("deprecated"):
        result["deprecated"] = True
    result["examples"] = result["examples"] or extra.get("examples")
    if isinstance(result["regex"], re.Pattern):
        result["regex"] = result["regex"].pattern
    return result


__all__: List[str] = ["COUNTS", "LENGTHS", "MISSING", "NUMBERS", "FieldInfo", "Input", "as_field_info"]
