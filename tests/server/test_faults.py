"""The fault matrix at a fraction of its size; `make faults` runs it whole and prints its figures."""

from __future__ import annotations

import pytest

from tests.faults import matrix
from tests.faults.lab import Fault, Lab
from tests.server.conftest import Serve

# Rows that others of the tests make already, at the size that they need.
_ELSEWHERE = {"C8", "B3"}


@pytest.mark.slow
@pytest.mark.parametrize("each", [each for each in matrix() if each.id not in _ELSEWHERE], ids=lambda each: each.id)
def test_a_fault_leaves_nothing_broken(each: Fault, serve: Serve) -> None:
    assert each.run(Lab(serve), max(1, round(each.size * 0.02)))
