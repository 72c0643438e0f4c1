"""Pieces of JSON, joined, are JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cog_server.predictions.json_pieces import json_pieces

LONG = "A" * (1 << 20)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1, "b": [True, None, 1.5], "c": "x"},
        {"file": LONG},
        {"first": "x", "file": LONG, "last": [LONG, {"deep": LONG, "é": '"'}], "empty": [], "none": {}},
        {'key "quoted"\n': LONG},
        {"escaped": LONG + '"\\\n'},
        {"other": LONG + "é\U0001f600"},
        {"across": LONG[1:] + "\U0001f600\n" + LONG},
        [LONG, LONG],
    ],
    ids=range(9),
)
def test_pieces_joined_are_the_value(value: Any) -> None:
    assert json.loads(b"".join(json_pieces(value))) == value


def test_a_long_text_is_a_piece_of_its_own() -> None:
    assert LONG.encode() in json_pieces({"a": 1, "file": LONG})
    assert max(map(len, json_pieces({"file": LONG * 5}))) == len(LONG)


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert b"".join(json_pieces({"a": "\ud800"})) == b'{"a":"?"}'
