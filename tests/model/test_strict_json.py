"""JSON that two readers could understand differently is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cog.schema.strict_json import MAX_DEPTH, JSONError, loads

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_what_json_carries_comes_back(value: object) -> None:
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1"),
        (b"{", "line 1, column 2"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"1e999", "too large"),
        (b"1" * 4301, "4,300"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deep"),
        (b"[" * 100_000, "deep"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_json_is_refused_with_a_reason(text: bytes, words: str) -> None:
    with pytest.raises(JSONError, match=words):
        loads(text)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "-1e999", "1" * 4301])
def test_a_number_that_is_refused_has_a_place(number: str) -> None:
    with pytest.raises(JSONError) as caught:
        loads(f'{{"input": {{"b": "NaN", "a": [1, {{"c": {number}}}], "d": 1e999}}}}'.encode())

    assert caught.value.place == ["input", "a", 1, "c"]


def test_brackets_in_text_are_no_nesting() -> None:
    assert loads(b'"' + b"[" * 500 + b'"') == "[" * 500
