"""`input_schema`: the validator of a predictor's inputs, as a pydantic-core schema.

The schema is plain data: this package stays free of dependencies, and the server and the command line, which both
have pydantic, give it to `pydantic_core.SchemaValidator`. So the two cannot disagree.
"""

import copy
import difflib
import functools
from typing import Any, Callable, Dict, List, Sequence, Set, Tuple

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


def make_validator(make: Callable[[Schema], Any], spec: PredictorSpec, *, unknown: str = "forbid") -> Any:
    """What `make`, which is pydantic-core's `SchemaValidator`, gives for `input_schema`.

    A regular expression is matched in linear time wherever the engine for that knows it. Python's own, which may take
    hours for forty characters (`(a+)+$`), is left for lookaround and backreferences.
    """
    return make(_with_engines(input_schema(spec, unknown=unknown), make))


def _with_engines(schema: Any, make: Callable[[Schema], Any]) -> Any:
    if isinstance(schema, list):
        return [_with_engines(item, make) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _with_engines(item, make) for key, item in schema.items()}
    if schema.get("type") != "str" or "pattern" not in schema:
        return result
    linear = {**result, "regex_engine": "rust-regex"}
    try:
        make(linear)
    except Exception:  # pydantic-core's SchemaError, which is not known here
        return result
    return linear


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
    if schema["type"] == "function-wrap":
        return {**schema, "schema": _constrain(schema["schema"], field)}
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
        # A float would make 1.0 of 1, which is for the member to take that the model's author meant it for.
        return {"type": "union", "choices": [_kept(item) if item["type"] == "float" else item for item in items]}
    if spec.kind in ("literal", "enum"):
        return _literal(spec.values)
    fields = {field.name: _field(field) for field in spec.fields}
    return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid"}


def _kept(schema: Schema) -> Schema:
    """The schema of the same values, which gives each as it was sent."""
    return {"type": "function-wrap", "function": {"type": "no-info", "function": _as_sent}, "schema": schema}


def _as_sent(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


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


def check_input(validate: Callable[[Any], Any], value: Any, names: List[str]) -> Tuple[Any, List[Dict[str, Any]]]:
    """The input as `validate`, of a `SchemaValidator`, gives it, and what is wrong with it as {"loc", "msg", "type"}.

    A whole float (20.0) is an int where one is asked for. `names` are those of the inputs.
    """
    try:
        return validate(value), []
    except ValueError as error:
        found = _errors(error)
    # Only an input that is refused is looked at: what is right costs nothing.
    whole: Any = copy.copy(value)
    copied: Set[int] = set()
    for item in found:
        if item["type"] == "int_type":
            _make_whole(whole, item["loc"], copied)
    try:
        return validate(whole), []
    except ValueError as error:
        return value, clean_errors(_errors(error), names)


def _errors(error: Any) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = error.errors(include_url=False, include_input=False)
    return found


def _make_whole(value: Any, place: Sequence[Any], copied: Set[int]) -> None:
    """Make the float at `place` an int, in containers that are copied once; a union's member is no place."""
    for key in place:
        is_place = isinstance(value, dict) and key in value
        if not is_place and not (isinstance(value, list) and isinstance(key, int) and key < len(value)):
            continue
        if isinstance(value[key], float) and value[key].is_integer():
            value[key] = int(value[key])
            return
        if isinstance(value[key], (dict, list)) and id(value[key]) not in copied:
            value[key] = copy.copy(value[key])
            copied.add(id(value[key]))
        value = value[key]


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
