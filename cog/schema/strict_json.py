"""`loads`: JSON as RFC 8259 has it, and nothing that two readers could understand differently."""

import json
import math
from typing import Any, Dict, List, Sequence, Tuple

MAX_DEPTH = 100
_MAX_DIGITS = 4300


class JSONError(ValueError):
    """The text is not acceptable JSON; says what is wrong and, where known, the line and column.

    `place` is where in the data it is, keys and indexes; empty where that is not known.
    """

    def __init__(self, message: str, place: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.place = list(place)


class NotUTF8(JSONError):
    """The bytes are no text in UTF-8."""


class _NumberError(JSONError):
    """A number that no reader could take."""


def loads(text: bytes) -> Any:
    """Parse UTF-8 JSON. Raises JSONError.

    Beyond the grammar it refuses: NaN and Infinity, numbers too large for a double or of more than 4,300 digits,
    duplicate keys, nesting over 100, other encodings than UTF-8.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotUTF8(f"is not valid UTF-8 (byte {error.start})") from error
    if decoded.startswith("\ufeff"):
        raise JSONError("begins with a byte order mark")
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(decoded)
    try:
        return _DECODER.decode(decoded)
    except _NumberError as error:
        raise JSONError(str(error), _place_of_number(decoded)) from error
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
    raise _NumberError(f"has {name}, which is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _NumberError(f"has the number {text[:40]}, which is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _NumberError(f"has a whole number of {len(text)} digits; 4,300 are the limit")
    return int(text)


def _place_of_number(text: str) -> List[Any]:
    """Where the first number is that was refused: it is infinite for a reader that takes all."""

    def integer(digits: str) -> float:
        return math.inf if len(digits) > _MAX_DIGITS else 0

    try:
        value = json.loads(text, parse_int=integer, parse_constant=lambda name: math.inf)
    except ValueError:
        return []
    stack: List[Tuple[List[Any], Any]] = [([], value)]
    while stack:
        place, item = stack.pop()
        if item in (math.inf, -math.inf):
            return place
        parts = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        stack.extend(reversed([([*place, key], part) for key, part in parts]))
    return []


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
