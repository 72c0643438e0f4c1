"""`Input(...)`: what a predictor says about one parameter beyond its type."""

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Union

Number = Union[int, float]


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


__all__: List[str] = ["MISSING", "FieldInfo", "Input"]
