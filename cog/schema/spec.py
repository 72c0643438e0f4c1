"""`PredictorSpec`: a predictor's signature as plain data, the one source of the OpenAPI document and the validator.

Everything here survives a round trip through JSON, so that the spec can cross a process border or lie in an image.
"""

from dataclasses import dataclass, fields
from typing import Any, Dict, List, Optional, Tuple

# The vocabulary of `TypeSpec.kind`.
SCALARS = ("str", "int", "float", "bool", "path", "file", "secret", "datetime", "date", "any", "none")
CONTAINERS = ("list", "set", "tuple", "dict", "union", "literal", "enum", "object")


class SignatureError(Exception):
    """The predictor's signature cannot be an API; says which parameter, why and what to write.

    `line` and `column` are 1-based and None when the signature was read from live objects. `others` are the problems
    found beside this one.
    """

    others: Tuple["SignatureError", ...] = ()

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        hint: Optional[str] = None,
        file: Optional[str] = None,
        line: Optional[int] = None,
        column: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.hint = hint
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        name = f"`{self.name}`: " if self.name else ""
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{name}{self.message}{hint}"

    def text(self) -> str:
        """This problem and the others, each on lines of its own."""
        return "\n".join(map(str, (self, *self.others)))


@dataclass(frozen=True)
class TypeSpec:
    """One type. Which fields count depends on `kind`.

    `items`: the element (list, set), each position (tuple), the value (dict) or the members (union).
    `values`: the allowed JSON values (literal, enum). `name` and `fields`: the class (enum, object).
    `nullable`: None is allowed too.
    """

    kind: str
    items: Tuple["TypeSpec", ...] = ()
    values: Tuple[Any, ...] = ()
    name: Optional[str] = None
    fields: Tuple["FieldSpec", ...] = ()
    nullable: bool = False


@dataclass(frozen=True)
class FieldSpec:
    """One named value: an input of the predictor, or a field of an object.

    `default` is JSON data and counts only if not `required`. Lengths count characters (str) or items (list).
    `default_is_unknown`: there is one, which the source alone could not tell.
    """

    name: str
    type: TypeSpec
    required: bool = True
    default: Any = None
    title: Optional[str] = None
    description: Optional[str] = None
    ge: Optional[float] = None
    gt: Optional[float] = None
    le: Optional[float] = None
    lt: Optional[float] = None
    multiple_of: Optional[float] = None
    min_length: Optional[int] = None
    max_length: Optional[int] = None
    min_items: Optional[int] = None
    max_items: Optional[int] = None
    regex: Optional[str] = None
    choices: Optional[Tuple[Any, ...]] = None
    deprecated: bool = False
    accept: Optional[str] = None
    examples: Optional[Tuple[Any, ...]] = None
    default_is_unknown: bool = False


@dataclass(frozen=True)
class OutputSpec:
    """What `predict` gives back. An iterator yields values of `type`; the texts of a concatenated one are one text."""

    type: TypeSpec
    is_iterator: bool = False
    is_concatenated: bool = False


@dataclass(frozen=True)
class PredictorSpec:
    """A predictor as its callers see it. `mode` is "predict" or "train"; inputs keep the order of the signature.

    One whose `predict` takes lists of up to `batch_size` inputs is described by what one caller sends and gets.
    """

    inputs: Tuple[FieldSpec, ...]
    output: OutputSpec
    mode: str = "predict"
    is_async: bool = False
    max_concurrency: int = 1
    batch_size: Optional[int] = None
    batch_wait_ms: float = 0

    def to_json(self) -> Dict[str, Any]:
        """Give the spec as JSON data; fields at their default are left out."""
        return {**_to_json(self)}

    @staticmethod
    def from_json(data: Dict[str, Any]) -> "PredictorSpec":
        """Read what `to_json` wrote."""
        output = data["output"]
        return PredictorSpec(
            inputs=tuple(_field_from_json(item) for item in data["inputs"]),
            output=OutputSpec(**{**output, "type": _type_from_json(output["type"])}),
            mode=data.get("mode", "predict"),
            is_async=data.get("is_async", False),
            max_concurrency=data.get("max_concurrency", 1),
            batch_size=data.get("batch_size"),
            batch_wait_ms=data.get("batch_wait_ms", 0),
        )


_ALWAYS = {"inputs", "output", "name", "type", "kind", "default"}


def _to_json(value: Any) -> Any:
    if isinstance(value, (TypeSpec, FieldSpec, OutputSpec, PredictorSpec)):
        result: Dict[str, Any] = {}
        for entry in fields(value):
            item = getattr(value, entry.name)
            if (entry.name in _ALWAYS and item is not None) or item != entry.default:
                result[entry.name] = _to_json(item)
        return result
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _type_from_json(data: Dict[str, Any]) -> TypeSpec:
    return TypeSpec(
        kind=data["kind"],
        items=tuple(_type_from_json(item) for item in data.get("items", ())),
        values=tuple(data.get("values", ())),
        name=data.get("name"),
        fields=tuple(_field_from_json(item) for item in data.get("fields", ())),
        nullable=data.get("nullable", False),
    )


def _field_from_json(data: Dict[str, Any]) -> FieldSpec:
    parts: Dict[str, Any] = {**data, "type": _type_from_json(data["type"])}
    for name in ("choices", "examples"):
        if name in parts:
            parts[name] = tuple(parts[name])
    return FieldSpec(**parts)


__all__: List[str] = ["CONTAINERS", "SCALARS", "FieldSpec", "OutputSpec", "PredictorSpec", "SignatureError", "TypeSpec"]
