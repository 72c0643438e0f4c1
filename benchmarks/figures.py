"""`Figure`: one thing that was measured, and the table of all."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Figure:
    """One row of the table. `target` is "" where there is none."""

    what: str
    value: str
    target: str
    command: str


def print_figures(figures: Sequence[Figure]) -> None:
    """Print the machine and the table."""
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    rows = [("what", "measured", "target", "command"), *((f.what, f.value, f.target, f.command) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
