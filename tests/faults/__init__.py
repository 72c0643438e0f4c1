"""The fault matrix: what breaks on purpose, against a real server, and what it must come to.

`python -m tests.faults` (`make faults`) runs every fault at its full size and prints its figures; the tests run each at
a fraction of it. A fault is a function of a `Lab` that gives its figure as text, and raises AssertionError if a promise
is broken.
"""

from __future__ import annotations

import importlib

from tests.faults.lab import FAULTS, Fault

_ROOMS = ("worker", "outputs", "clients", "life", "webhooks", "files")


def matrix() -> list[Fault]:
    """Every fault, in the order of their ids."""
    for room in _ROOMS:
        importlib.import_module(f"tests.faults.{room}")
    return sorted(FAULTS, key=lambda each: (each.id[0], int(each.id[1:])))
