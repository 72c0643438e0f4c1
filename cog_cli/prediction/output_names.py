"""`OutputNames`: where the files of one run go, and never two of them to one place."""

from __future__ import annotations

from pathlib import Path

from cog.file_names import numbered


class OutputNames:
    """Names that were given are not given again; files of earlier runs are none of its concern."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: Path) -> Path:
        """The path, or with a number before its extension if it is taken: `out.png`, `out-1.png`, `out-2.png`."""
        result, number = path, 0
        # Some file systems take a.png and A.png for one.
        while str(result).casefold() in self._taken:
            number += 1
            result = path.with_name(numbered(path.name, number))
        self._taken.add(str(result).casefold())
        return result
