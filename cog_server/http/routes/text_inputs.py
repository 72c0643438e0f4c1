"""`input_of_words`: an input from names and texts, as queries and forms have them, each read as its input's type."""

from __future__ import annotations

from collections.abc import Iterable

from cog.schema.spec import FieldSpec, PredictorSpec
from cog.schema.strict_json import JSONError, loads

_TEXTS = ("str", "path", "file", "secret", "datetime", "date")
_LISTS = ("list", "set", "tuple")
# What a browser sends for a ticked box, and what people type.
_BOOLEANS = {"on": True, "yes": True, "off": False, "no": False}


def input_of_words(spec: PredictorSpec, words: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The input; a repeated name makes a list. What cannot be read stays text, which the validator then refuses."""
    fields = {item.name: item for item in spec.inputs}
    result: dict[str, object] = {}
    for name, text in words:
        item = fields.get(name)
        value = text if item is None else _value(item, text)
        if item is not None and item.type.kind in _LISTS and not isinstance(value, list):
            earlier = result.get(name)
            value = [*earlier, value] if isinstance(earlier, list) else [value]
        result[name] = value
    return result


def _value(item: FieldSpec, text: str) -> object:
    kind = item.type.items[0].kind if item.type.kind in ("list", "set") else item.type.kind
    if kind in _TEXTS and not text.startswith("["):
        return text
    if kind == "bool" and text in _BOOLEANS:
        return _BOOLEANS[text]
    try:
        return loads(text.encode("utf-8", "replace"))
    except JSONError:
        return text
