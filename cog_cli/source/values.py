"""What stands in for values that only running the project would make, and how such a gap is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cog.schema.spec import SignatureError

# A name or attribute that does not exist, which is not the same as one whose value is unknown.
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()
_HINT = "cog reads it from the built image instead. A plain value here lets it do so without one."


class Undecidable(SignatureError):
    """The source alone cannot tell the signature; live objects can. Never raised for the user's own mistakes."""


class StandInCalled(Exception):
    """Python called a function of the project while a stand-in class was made. Its body is not run, so give up."""


class OutOfSteps(Exception):
    """The reading costs too much; nothing more is evaluated."""


class Unsure(Exception):
    """An operation that is not followed on these values; its text says why."""


class Blocked(Exception):
    """An operation needs a value that is unknown, so its result is unknown for the same reason."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.reason)
        self.unknown = unknown


@dataclass(frozen=True)
class Place:
    """A place in the project's source; `line` and `column` are 1-based, columns count characters."""

    file: str = ""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, eq=False)
class Unknown:
    """A value that is not known, and why.

    `path` is the dotted name of a thing from a package (`torch.inference_mode()`, calls with their parentheses).
    `is_error`: the project itself could not make this value either. `options`: it is one of these, if it is known.
    """

    reason: str
    place: Place
    path: str = ""
    is_error: bool = False
    options: tuple[Any, ...] = ()

    def to_error(self, name: str) -> SignatureError:
        """The exception to raise when the signature needs this value for the parameter `name`."""
        place: dict[str, Any] = {"file": self.place.file or None, "line": self.place.line, "column": self.place.column}
        if self.is_error:
            return SignatureError(self.reason, name=name, **place)
        return Undecidable(f"cannot be known without running the code: {self.reason}", name=name, hint=_HINT, **place)


@dataclass(frozen=True)
class Native:
    """A function of ours that the project may call, such as the decorator that `cog.concurrent(...)` gives."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class KnownModule:
    """A module whose names are real objects here: `typing`, `cog` ... See vocabulary.py."""

    path: str
