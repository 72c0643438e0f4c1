"""`ReadyFile`: a file that is there as long as predictions are taken, for a Kubernetes probe that runs a command."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("cog.server")


class ReadyFile:
    """Keeps the file at `path` in step with what it is told. A folder that cannot be written is said once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_broken = False

    def set(self, is_ready: bool) -> None:
        """Make the file, or delete it."""
        try:
            if is_ready:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            if not self._is_broken:
                log.warning("%s cannot be written, use /readyz: %s", self._path, error.strerror)
            self._is_broken = True
