from __future__ import annotations

import click

from cog_cli import options
from cog_cli.explain import explain
from cog_cli.hosts import find_host
from cog_cli.project import load_project


@click.command("explain")
@options.file
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--platform", metavar="PLATFORM", callback=options.check_platform, help="linux/amd64 or linux/arm64.")
@options.target_host
@options.offline
def command(
    file: str | None,
    as_json: bool,
    platform: str | None,
    driver: str | None,
    gpu_arch: str | None,
    gpu: str | None,
    asks_here: bool,
    is_offline: bool,
) -> int:
    """Print the versions that would be used, and why each was chosen."""
    host = find_host(driver=driver, gpu_arch=gpu_arch, gpu=gpu, asks_here=asks_here)
    return explain(
        lambda: load_project(file, predict_is_required=False),
        as_json=as_json,
        platform=platform,
        host=host,
        is_offline=is_offline,
    )
