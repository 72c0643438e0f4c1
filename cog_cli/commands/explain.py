from __future__ import annotations

import click

from cog_cli import options
from cog_cli.explain import explain
from cog_cli.project import load_project


@click.command("explain")
@options.file
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--platform", metavar="PLATFORM", callback=options.check_platform, help="linux/amd64 or linux/arm64.")
def command(file: str | None, as_json: bool, platform: str | None) -> int:
    """Print the versions that would be used, and why each was chosen."""
    return explain(lambda: load_project(file, predict_is_required=False), as_json=as_json, platform=platform)
