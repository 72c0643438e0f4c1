"""`input_schema`: the validator of a predictor's inputs, as a pydantic-core schema.

The schema is plain data: this package stays free of dependencies, and the server and the command line, which both
have pydantic, give it to `pydantic_core.SchemaValidator`. So the two cannot disagree.
"""

import difflib
import functools
from typing import Any, Dict, List, Set

from cog.schema.json_values import to_date, to_datetime
from cog.schema.spec import FieldSpec, PredictorSpec, TypeSpec

Schema = Dict[str, Any]

_NOTHING = object()

# What a file input may look like: any URL. Which schemes are fetched is decided where they are fetched.
URL_PATTERN = r"^[A-Za-z][A-Za-z0-9+.\-]*:"


# docs/decisions/030-validator-is-data.md
def input_schema(spec: PredictorSpec, *, unknown: str = "forbid") -> Schema:
    """The pydantic-core schema of the whole `input` object.

    Unknown names are errors of type `extra_forbidden`; with `unknown="ignore"` they are dropped.
    """
    return {
        "type": "typed-dict",
        "fields": {field.name: _field(field) for field in spec.inputs},
        "extra_behavior": unknown,
        "config": {"regex_engine": "python-re"},
    }


def _field(field: FieldSpec) -> Schema:
    return {"type": "typed-dict-field", "schema": _constrained(field), "required": field.required}


def _constrained(field: FieldSpec) -> Schema:
    spec = field.type
    plain = TypeSpec(**{**vars(spec), "nullable": False})
    if field.choices is not None and spec.kind not in ("list", "set"):
        schema = _literal(field.choices)
    elif field.choices is not None:
        item = _literal(field.choices)
        if spec.items[0].nullable:
            item = {"type": "nullable", "schema": item}
        schema = {"type": "list", "items_schema": item, "strict": True}
    else:
        schema = _type(plain)
    schema = _constrain(schema, field)
    return {"type": "nullable", "schema": schema} if spec.nullable else schema


def _constrain(schema: Schema, field: FieldSpec) -> Schema:
    if schema["type"] == "union":
        return {**schema, "choices": [_constrain(item, field) for item in schema["choices"]]}
    limits: Dict[str, Any] = {}
    if schema["type"] in ("int", "float"):
        limits = {name: getattr(field, name) for name in ("ge", "gt", "le", "lt", "multiple_of")}
    elif schema["type"] == "str":
        limits = {"min_length": field.min_length, "max_length": field.max_length, "pattern": field.regex}
    elif schema["type"] == "list":
        limits = {
            "min_length": field.min_length if field.min_items is None else field.min_items,
            "max_length": field.max_length if field.max_items is None else field.max_items,
        }
    return {**schema, **{name: value for name, value in limits.items() if value is not None}}


def _type(spec: TypeSpec) -> Schema:
    schema = _SCALARS[spec.kind] if spec.kind in _SCALARS else _container(spec)
    return {"type": "nullable", "schema": schema} if spec.nullable else schema


def _container(spec: TypeSpec) -> Schema:
    items = [_type(item) for item in spec.items]
    if spec.kind in ("list", "set"):
        return {"type": "list", "items_schema": items[0], "strict": True}
    if spec.kind == "tuple":
        return {"type": "tuple", "items_schema": items, "strict": False}
    if spec.kind == "dict":
        return {
            "type": "dict",
            "keys_schema": {"type": "str", "strict": True},
            "values_schema": items[0],
            "strict": True,
        }
    if spec.kind == "union":
        return {"type": "union", "choices": items}
    if spec.kind in ("literal", "enum"):
        return _literal(spec.values)
    fields = {field.name: _field(field) for field in spec.fields}
    return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid"}


def _literal(values: Any) -> Schema:
    literal = {"type": "literal", "expected": list(values)}
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return literal
    # For Python 1, 1.0 and True are equal, and a literal compares by that; in JSON they are three things.
    check = functools.partial(_only, kinds | ({int} if float in kinds else set()))
    return {"type": "function-before", "function": {"type": "no-info", "function": check}, "schema": literal}


def _only(kinds: Set[type], value: Any) -> Any:
    """The value if its type is one of `kinds`, otherwise something that no literal is equal to."""
    return value if type(value) in kinds else _NOTHING


def _check_datetime(value: str) -> str:
    to_datetime(value)
    return value


def _check_date(value: str) -> str:
    to_date(value)
    return value


def _checked_text(check: Any, message: str) -> Schema:
    return {
        "type": "custom-error",
        "schema": {
            "type": "function-after",
            "function": {"type": "no-info", "function": check},
            "schema": {"type": "str", "strict": True},
        },
        "custom_error_type": "format",
        "custom_error_message": message,
    }


_URL: Schema = {
    "type": "custom-error",
    "schema": {"type": "str", "strict": True, "pattern": URL_PATTERN},
    "custom_error_type": "url",
    "custom_error_message": "Input should be a URL, such as https: or data:",
}

_SCALARS: Dict[str, Schema] = {
    "str": {"type": "str", "strict": True},
    "secret": {"type": "str", "strict": True},
    "int": {"type": "int", "strict": True},
    "float": {"type": "float", "strict": True, "allow_inf_nan": False},
    "bool": {"type": "bool", "strict": True},
    "path": _URL,
    "file": _URL,
    "datetime": _checked_text(_check_datetime, "Input should be a date and time as ISO 8601 writes it"),
    "date": _checked_text(_check_date, "Input should be a date as ISO 8601 writes it"),
    "any": {"type": "any"},
    "none": {"type": "none"},
}


def clean_errors(errors: List[Dict[str, Any]], names: List[str]) -> List[Dict[str, Any]]:
    """Pydantic's errors as {"loc", "msg", "type"}, without the values, which may be secrets; unknown names get help."""
    result = []
    for error in errors:
        message = error["msg"]
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            close = difflib.get_close_matches(str(error["loc"][0]), names, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"the inputs are {', '.join(names) or 'none'}"
            message = f"Unknown input: {known}"
        result.append({"loc": list(error["loc"]), "msg": message, "type": error["type"]})
    return result
