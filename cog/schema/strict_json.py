"""`loads`: JSON as RFC 8259 has it, and nothing that two readers could understand differently."""

import json
from typing import Any, Dict, List, Tuple

MAX_DEPTH = 100


class JSONError(ValueError):
    """The text is not acceptable JSON; says what is wrong and, where known, the line and column."""


def loads(text: bytes) -> Any:
    """Parse UTF-8 JSON. Raises JSONError.

    Beyond the grammar it refuses: NaN and Infinity, numbers too large for a double or of more than 4,300 digits,
    duplicate keys, nesting over 100, other encodings than UTF-8.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JSONError(f"is not valid UTF-8 (byte {error.start})") from error
    if decoded.startswith("\ufeff"):
        raise JSONError("begins with a byte order mark")
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(decoded)
    try:
        return _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        raise JSONError(f"is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise JSONError(f"has the key {key[:100]!r} twice in one object")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Any:
    raise JSONError(f"has {name}, which is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JSONError(f"has the number {text[:40]}, which is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > 4300:
        raise JSONError(f"has a whole number of {len(text)} digits; 4,300 are the limit")
    return int(text)


# Made once: json.loads() makes one for each call that has hooks.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
)


def _check_depth(text: str) -> None:
    depth = 0
    inside = False
    escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise JSONError(f"is nested more than {MAX_DEPTH} deep")
        elif char in "]}":
            depth -= 1
