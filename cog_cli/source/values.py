"""What stands in for values that only running the project would make, and how such a gap is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cog.spec import SignatureError

# A name or attribute that does not exist, which is not the same as one whose value is unknown.
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()


class Undecidable(SignatureError):
    """The source alone cannot tell the signature; live objects can. Never raised for the user's own mistakes."""


class StandInCalled(Exception):
    """Python called a function of the project while a stand-in class was made. Its body is not run, so give up."""


class GiveUp(Exception):
    """A statement whose effect cannot be followed, e.g. a `return` under a condition that is not known."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.reason)
        self.unknown = unknown


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


class Unknown:
    """A value that is not known, and why.

    `path` is the dotted name of a thing from a package (`torch.inference_mode()`, calls with their parentheses), so
    that the few that matter are recognised. `is_error`: the project itself could not make this value either.
    `aliases`: known objects that this may be, or hold; a change of the unknown may be a change of them.
    """

    __slots__ = ("aliases", "is_error", "path", "place", "reason")

    def __init__(
        self, reason: str, place: Place, *, path: str = "", is_error: bool = False, aliases: tuple[Any, ...] = ()
    ) -> None:
        self.reason = reason
        self.place = place
        self.path = path
        self.is_error = is_error
        self.aliases = aliases

    def with_aliases(self, values: Iterable[Any]) -> Unknown:
        """The same gap, which may be one of `values` or hold them."""
        added = [item for item in values if _is_changeable(item)]
        if not added:
            return self
        return Unknown(self.reason, self.place, path=self.path, is_error=self.is_error, aliases=(*self.aliases, *added))

    def __repr__(self) -> str:
        return f"Unknown({self.reason!r})"

    def to_error(self, name: str) -> SignatureError:
        """The exception to raise when the signature needs this value for the parameter `name`."""
        place = {"file": self.place.file or None, "line": self.place.line, "column": self.place.column}
        if self.is_error:
            return SignatureError(self.reason, name=name, **place)  # type: ignore[arg-type]  # str and int by name
        return Undecidable(
            f"cannot be known without running the code: {self.reason}",
            name=name,
            hint="cog reads it from the built image instead. A plain value here lets it do so without one.",
            **place,  # type: ignore[arg-type]  # str and int by name
        )


def _is_changeable(value: Any) -> bool:
    if isinstance(value, Unknown):
        return bool(value.aliases)
    return value is not None and not isinstance(value, (str, int, float, bool, bytes, Place))


class Stream:
    """The items of a generator expression, `zip(...)` and the like, which can be taken once."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class LazyImport:
    """A name bound by an import. What it imports is looked at when the name is used, often never."""

    __slots__ = ("_resolve", "_value")

    def __init__(self, resolve: Callable[[], Any]) -> None:
        self._resolve = resolve
        self._value: Any = ABSENT

    def value(self) -> Any:
        """What is imported; Unknown if that cannot be told."""
        if self._value is ABSENT:
            self._value = self._resolve()
        return self._value


def force(value: Any) -> Any:
    """The value itself, imported if it has to be."""
    return value.value() if isinstance(value, LazyImport) else value


@dataclass(frozen=True)
class Native:
    """A function of ours that the project may call, such as the decorator that `cog.concurrent(...)` gives."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class KnownModule:
    """A module whose names are real objects here: `typing`, `cog` ... See vocabulary.py."""

    path: str
