"""`OomKills`: which kills of workers were the kernel's, for want of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

_FILES = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


class OomKills:
    """Reads the kernel's count for this container, or wherever we are, and tells whose kills are in it."""

    def __init__(self, files: Sequence[Path] = _FILES) -> None:
        self._files = files
        self._claimed = 0

    def count(self) -> int:
        """How often the kernel has killed for want of memory; 0 if it does not say.

        Source: `oom_kill` of memory.events, docs.kernel.org/admin-guide/cgroup-v2.html; version 1: memory.oom_control.
        """
        for path in self._files:
            with contextlib.suppress(OSError, ValueError):
                for line in path.read_text().splitlines():
                    name, _, number = line.partition(" ")
                    if name == "oom_kill":
                        return int(number)
        return 0

    def claim(self, *, since: int) -> bool:
        """Whether there was one since the count was `since` that no other worker has claimed; it is the caller's."""
        claimed = max(since, self._claimed)
        if self.count() <= claimed:
            return False
        self._claimed = claimed + 1
        return True
