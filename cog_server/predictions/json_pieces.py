"""`json_pieces`: JSON in pieces, so that a long text is never in an encoder whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

_LONG = 1 << 20


def json_pieces(value: Any) -> list[bytes]:
    """Give JSON data as bytes of JSON, to be joined. A lone surrogate becomes `?`.

    A file in a `data:` URL is a text of many megabytes: any encoder holds it three times at once, as text, in its
    buffer, and as bytes.
    """
    return list(_pieces(value)) if _has_long_text(value) else [encode_json(value)]


def encode_json(value: Any) -> bytes:
    """Give JSON data as JSON. A lone surrogate becomes `?`."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _has_long_text(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) >= _LONG
    if isinstance(value, dict):
        return any(map(_has_long_text, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_long_text, value))


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, str) and len(value) >= _LONG:
        yield b'"'
        for start in range(0, len(value), _LONG):
            yield encode_json(value[start : start + _LONG])[1:-1]
        yield b'"'
    elif isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            yield (b"," if index else b"{") + encode_json(key) + b":"
            yield from _pieces(item)
        yield b"}" if value else b"{}"
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield b"," if index else b"["
            yield from _pieces(item)
        yield b"]" if value else b"[]"
    else:
        yield encode_json(value)
