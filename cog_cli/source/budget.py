"""`Budget`: how much evaluation one reading may cost, so that no source can hang it or fill the machine."""

from __future__ import annotations

MAX_STEPS = 1_000_000
# Deepest nesting of expressions and names together; each level costs up to ten Python frames.
MAX_DEPTH = 60
# Characters of a text, items of a container.
MAX_SIZE = 200_000
MAX_BITS = 20_000


class OutOfSteps(Exception):
    """The reading costs too much; nothing more is evaluated."""


class TooMuch(Exception):
    """One value is too large, or nested too deeply, to be made here; it alone is unknown."""


class Budget:
    """Steps spent so far, and the present depth."""

    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0

    def spend(self, steps: int = 1) -> None:
        """Count `steps` of about a microsecond. Raises OutOfSteps."""
        self.steps += steps
        if self.steps > MAX_STEPS:
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
