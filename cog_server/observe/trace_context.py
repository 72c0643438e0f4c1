"""`read_parent`: the trace that a request belongs to, as W3C Trace Context has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# www.w3.org/TR/trace-context: version 00 ends behind its flags; later ones may go on.
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_STATE = re.compile(r"[\x20-\x7e]{1,512}")


@dataclass(frozen=True)
class Parent:
    """A span of the caller's, ids in hexadecimal; `headers` are those that say so, to be handed on."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str
    headers: tuple[tuple[str, str], ...]


def read_parent(headers: Mapping[str, str]) -> Parent | None:
    """The request's trace context, None if there is none or it is malformed. A malformed tracestate is left out."""
    text, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    match = _PARENT.fullmatch(text)
    if match is None or (text.startswith("00") and match["rest"]):
        return None
    state = state if _STATE.fullmatch(state) else ""
    both = (("traceparent", text), *([("tracestate", state)] if state else ()))
    return Parent(match["trace"], match["span"], bool(int(match["flags"], 16) & 1), state, both)
