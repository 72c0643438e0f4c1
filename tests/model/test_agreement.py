"""The validator and the document agree: what one takes, the other describes."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import SchemaValidator, ValidationError

from cog.schema.openapi import openapi_document
from cog.schema.spec import FieldSpec, OutputSpec, PredictorSpec, TypeSpec
from cog.schema.validation import URL_PATTERN, make_validator
from tests.conftest import examples

_SCALARS = st.sampled_from(["str", "int", "float", "bool", "path", "secret", "any", "date", "datetime"])
_NAMES = st.sampled_from(["a", "b", "c", "d"])
_TEXTS = st.sampled_from(
    ["", "x", "red", "data:,x", "http://h/x", "2026-01-02", "2026-01-02T03:04:05", "ÄÖ", "long text"]
)
_NUMBERS = st.integers(-5, 5) | st.sampled_from([0.5, -1.5, 1e300, 2**53 + 1])


def types() -> st.SearchStrategy[TypeSpec]:
    scalar = _SCALARS.map(TypeSpec)
    literal = st.lists(st.sampled_from(["red", "x", 1, 2, True]), min_size=1, max_size=3, unique_by=repr)
    plain = scalar | literal.map(lambda values: TypeSpec("literal", values=tuple(values)))
    nested = st.recursive(plain, _containers, max_leaves=4)
    return _nullable(nested)


def _nullable(spec: st.SearchStrategy[TypeSpec]) -> st.SearchStrategy[TypeSpec]:
    return st.builds(lambda item, nullable: TypeSpec(**{**vars(item), "nullable": nullable}), spec, st.booleans())


def _containers(inner: st.SearchStrategy[TypeSpec]) -> st.SearchStrategy[TypeSpec]:
    # A tuple has one type in each position: the document's version of JSON Schema cannot say more than `anyOf`.
    return st.one_of(
        inner.map(lambda item: TypeSpec("list", items=(item,))),
        inner.map(lambda item: TypeSpec("set", items=(item,))),
        inner.map(lambda item: TypeSpec("dict", items=(item,))),
        st.tuples(inner, st.integers(1, 3)).map(lambda pair: TypeSpec("tuple", items=(pair[0],) * pair[1])),
        st.lists(inner, min_size=2, max_size=3, unique=True).map(lambda items: TypeSpec("union", items=tuple(items))),
        st.lists(st.tuples(_NAMES, _nullable(inner), st.booleans()), max_size=3, unique_by=lambda item: item[0]).map(
            _object
        ),
    )


def _object(fields: list[tuple[str, TypeSpec, bool]]) -> TypeSpec:
    specs = tuple(FieldSpec(name, spec, required=required) for name, spec, required in fields)
    return TypeSpec("object", name="Thing", fields=specs)


@st.composite
def fields(draw: st.DrawFn, name: str) -> FieldSpec:
    spec = draw(types())
    words: dict[str, Any] = {}
    if spec.kind in ("int", "float"):
        for word in draw(st.sets(st.sampled_from(["ge", "gt", "le", "lt"]), max_size=2)):
            words[word] = draw(st.integers(-4, 4))
    elif spec.kind == "str":
        words = draw(st.sampled_from([{}, {"min_length": 1}, {"max_length": 3}, {"regex": "^[a-z]+$"}]))
    elif spec.kind in ("list", "set"):
        words = draw(st.sampled_from([{}, {"min_items": 1}, {"max_items": 2}]))
    if spec.kind == "str" and not words and draw(st.booleans()):
        words = {"choices": ("red", "x")}
    if spec.kind in ("list", "set") and spec.items[0].kind in ("str", "int") and draw(st.booleans()):
        words = {**words, "choices": ("red", "x") if spec.items[0].kind == "str" else (1, -2)}
    return FieldSpec(name, spec, required=draw(st.booleans()), **words)


_SPECS = st.tuples(fields("a"), fields("b")).map(lambda inputs: PredictorSpec(inputs, OutputSpec(TypeSpec("str"))))
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(_SPECS, st.lists(st.fixed_dictionaries({}, optional={"a": _VALUES, "b": _VALUES}), min_size=5, max_size=10))
def test_the_validator_takes_what_the_document_describes(spec: PredictorSpec, values: list[dict[str, Any]]) -> None:
    validator = make_validator(SchemaValidator, spec)
    document = openapi_document(spec)
    schema = {
        **as_json_schema(document["components"]["schemas"]["Input"]),
        "components": as_json_schema(document["components"]),
    }
    # OpenAPI 3.0 is of JSON Schema's fourth draft: 1.0 is no integer there, exclusive bounds are booleans.
    describes = jsonschema.Draft4Validator(schema, format_checker=_FORMATS)

    for value in values:
        assert _takes(validator, value) == describes.is_valid(value), (value, schema)


def as_json_schema(node: Any) -> Any:
    """OpenAPI's `nullable` in JSON Schema's own words."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [rest, {"type": "null"}]} if node.get("nullable") is True else rest


def _takes(validator: SchemaValidator, value: Any) -> bool:
    try:
        validator.validate_python(value)
    except ValidationError:
        return False
    return True


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("uri")
def _is_url(value: object) -> bool:
    return not isinstance(value, str) or re.search(URL_PATTERN, value) is not None


@_FORMATS.checks("date")
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None


@_FORMATS.checks("date-time")
def _is_datetime(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"\d{4}-\d\d-\d\d(T[\d:]+)?", value) is not None
