"""`Budget`: how much evaluation one reading may cost, so that no source can hang it or fill the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_STEPS = 400_000
MAX_PIECE_STEPS = 150_000
# Deepest nesting of expressions, statements and calls together; each level costs about five Python frames.
MAX_DEPTH = 80
# Characters of a text, items of a container.
MAX_SIZE = 200_000
MAX_BITS = 20_000


class OutOfSteps(Exception):
    """A top-level statement costs too much; all that it binds is unknown."""


class TooMuch(Exception):
    """One value is too large, or nested too deeply, to be made here; it alone is unknown."""


class Budget:
    """Steps spent so far, the limit that holds at the moment, and the present depth."""

    def __init__(self) -> None:
        self.steps = 0
        self.limit = MAX_STEPS
        self.depth = 0

    @property
    def is_spent(self) -> bool:
        """Whether nothing more can be evaluated at all."""
        return self.steps > MAX_STEPS

    def spend(self, steps: int = 1) -> None:
        """Count `steps` of about a microsecond. Raises OutOfSteps."""
        self.steps += steps
        if self.steps > self.limit:
            raise OutOfSteps("it takes too many steps to evaluate")

    def check_size(self, size: float) -> None:
        """Refuse a text or container of `size` before it is made. Raises TooMuch."""
        if size > MAX_SIZE:
            raise TooMuch("it is too large to evaluate")
        self.spend(int(size) // 64)

    def enter(self) -> None:
        """Go one level down; whoever calls it takes 1 off `depth` again. Raises TooMuch."""
        if self.depth >= MAX_DEPTH:
            raise TooMuch("it is nested too deeply to evaluate")
        self.depth += 1

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Give one top-level statement its own share, so that a costly one does not starve the rest."""
        before, self.limit = self.limit, min(MAX_STEPS, self.steps + MAX_PIECE_STEPS)
        try:
            yield
        finally:
            self.limit = before
