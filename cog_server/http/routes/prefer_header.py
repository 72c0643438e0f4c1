"""`read_preference`: what a client says in `Prefer` about waiting (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PREFERENCE = re.compile(r'\s*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?[^,]*')
_MAX_WAIT_S = 24 * 3600


@dataclass(frozen=True)
class Preference:
    """`respond_async`: answer at once; otherwise `wait_s`: answer after so many seconds at most, None for no limit."""

    respond_async: bool = False
    wait_s: float | None = None

    @property
    def is_detached(self) -> bool:
        """Whether the client expects to come back for the result: its prediction must go on without it."""
        return self.respond_async or self.wait_s is not None


def read_preference(values: Iterable[str]) -> Preference:
    """Read the values of all `Prefer` headers. What is unknown or malformed is ignored; the first of a name counts."""
    found: dict[str, str] = {}
    for match in (match for value in values for match in _PREFERENCE.finditer(value)):
        found.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3] or "")
    wait = found.get("wait", "")
    seconds = min(int(wait), _MAX_WAIT_S) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Preference("respond-async" in found, seconds)
