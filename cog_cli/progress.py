"""`BuildProgress`: BuildKit's plain progress, shown as the terminal allows and kept for when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from rich.console import Console as RichConsole
from rich.status import Status

from cog_cli.console import console

_VERTEX = re.compile(r"^#\d+ \[(?P<name>[^\]]*)\] (?P<what>.*)$")
MAX_KEPT_LINES = 20_000


class BuildProgress:
    """`mode` is auto, tty, plain or quiet: one live line on a terminal, every line elsewhere, or nothing."""

    def __init__(self, mode: str) -> None:
        wanted = os.environ.get("BUILDKIT_PROGRESS", "auto") if mode == "auto" else mode
        is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._mode = ("tty" if is_live else "plain") if wanted == "auto" else wanted
        self._started = time.monotonic()

    def follow(self, process: subprocess.Popen[bytes]) -> list[str]:
        """Show the process's output until it closes it; give its last lines."""
        assert process.stdout is not None
        kept: list[str] = []
        live = self._live()
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                kept.append(line)
                if len(kept) > MAX_KEPT_LINES:
                    del kept[: MAX_KEPT_LINES // 2]
                if live is not None:
                    self._update(live, line)
                elif self._mode == "plain":
                    console.write(line + "\n")
        finally:
            if live is not None:
                live.stop()
        return kept

    def _live(self) -> Status | None:
        if self._mode != "tty":
            return None
        screen = RichConsole(stderr=True, no_color=not console.has_color, highlight=False)
        status = screen.status("starting the build")
        status.start()
        return status

    def _update(self, live: Status, line: str) -> None:
        match = _VERTEX.match(line)
        if match and not match["name"].startswith("internal"):
            elapsed = time.monotonic() - self._started
            what = match["what"].replace("[", "\\[")[:100]
            live.update(f"{match['name']}: {what} ({elapsed:.0f} s)")
