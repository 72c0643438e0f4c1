"""The fast reader of large bodies agrees with the strict one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cog.schema.strict_json import JSONError, loads
from cog_server.http.routes.large_json import MIN_BYTES, loads_large

_FILLER = "A" * MIN_BYTES
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES, st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",", "  :")]))
def test_both_read_the_same(value: Any, separators: tuple[str, str]) -> None:
    text = json.dumps({"filler": _FILLER, "value": value}, separators=separators).encode()

    assert loads_large(text) == loads(text)


@pytest.mark.parametrize(
    "rest",
    [
        '"a": 1, "a": 2',
        '"a": 1, "\\u0061": 2',
        '"a": 1, "b\\":": 2, "a": 3',
        '"a": 1e999',
        '"a": NaN',
        '"a": -Infinity',
        '"a": ' + "1" * 5000,
        '"a": ' + "[" * 101 + "]" * 101,
        '"a": "\\ud800',
        '"a": 01',
        '"a": [1,]',
    ],
)
def test_what_is_refused_is_refused_in_large_bodies_too(rest: str) -> None:
    text = f'{{"filler": "{_FILLER}", {rest}}}'.encode()

    with pytest.raises(JSONError) as strict:
        loads(text)
    with pytest.raises(JSONError) as large:
        loads_large(text)

    assert str(large.value) == str(strict.value)


def test_a_lone_surrogate_is_read_alike() -> None:
    text = f'{{"filler": "{_FILLER}", "a": "\\ud800"}}'.encode()

    assert loads_large(text) == loads(text)
