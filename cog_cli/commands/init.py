from __future__ import annotations

from pathlib import Path

import click

from cog_cli.console import console
from cog_cli.scaffold import write_scaffold


@click.command("init")
def command() -> None:
    """Write cog.yaml, predict.py, requirements.txt and .dockerignore here; never over a file that is there."""
    for name, is_new in write_scaffold(Path.cwd()):
        console.info(f"{'created' if is_new else 'kept   '} {name}")
    console.success("Done. Try: cog predict -i text=world")
