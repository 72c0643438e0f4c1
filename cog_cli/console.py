"""Talk to the person: results on stdout, everything else on stderr. Light, because every command loads it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import click


@dataclass
class Console:
    """How to talk; set once from the global flags."""

    is_debug: bool = False
    no_color: bool = False

    @property
    def has_color(self) -> bool:
        """Colour only for a terminal that wants it."""
        refused = self.no_color or os.environ.get("NO_COLOR") or os.environ.get("COG_NO_COLOR")
        return not refused and os.environ.get("TERM") != "dumb" and sys.stderr.isatty()

    def info(self, text: str) -> None:
        """Say what happens."""
        self._say(text)

    def success(self, text: str) -> None:
        """Say what was done."""
        self._say(text, "green")

    def warn(self, text: str) -> None:
        """Say what may surprise."""
        self._say(f"warning: {text}", "yellow")

    def error(self, text: str) -> None:
        """Say what failed."""
        self._say(f"error: {text}" if not text.startswith("error") else text, "red")

    def debug(self, text: str) -> None:
        """Say it only with --debug."""
        if self.is_debug:
            self._say(text, "bright_black")

    def write(self, text: str) -> None:
        """Put text of somebody else (logs, build output) on stderr as it is."""
        click.echo(text, err=True, nl=False, color=self.has_color)

    def result(self, text: str, *, newline: bool = True) -> None:
        """Put the command's result on stdout."""
        click.echo(text, nl=newline, color=False)

    def _say(self, text: str, color: str | None = None) -> None:
        styled = click.style(text, fg=color) if color else text
        click.echo(styled, err=True, color=self.has_color)


console = Console()
