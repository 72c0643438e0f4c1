"""`TransferProgress`: a bar for what is sent or fetched, where a person sees it and waits for it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from cog_cli.console import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN_AFTER_S = 1.0


class TransferProgress:
    """On a terminal, and only if it takes longer than a second; elsewhere nothing. Use as a context manager.

    `mode` is that of `--progress`: plain and quiet mean no bar. `total_bytes` is None if nobody knows.
    """

    def __init__(self, what: str, total_bytes: int | None, *, mode: str = "auto") -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._is_wanted = mode in ("auto", "tty") and _is_seen()
        self._started = time.monotonic()
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> TransferProgress:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away."""
        self._is_wanted = False
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None

    def advance(self, count: int) -> None:
        """So many bytes more are there."""
        self._done_bytes += count
        if self._bar is None and self._is_wanted and time.monotonic() - self._started > _SHOWN_AFTER_S:
            self._bar = self._show()
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=self._done_bytes)

    def _show(self) -> tuple[Progress, TaskID]:
        # Here, because most transfers end before they need it, and it takes a tenth of a second to load.
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        screen = RichConsole(stderr=True, no_color=not console.has_color, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
        )
        progress = Progress(*columns, console=screen, transient=True)
        progress.start()
        return progress, progress.add_task(self._what, total=self._total_bytes)


def _is_seen() -> bool:
    """Some runners of CI give a terminal to the logs that nobody watches."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
