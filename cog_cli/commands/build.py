from __future__ import annotations

from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.docker import DockerEngine
from cog_cli.image.build import order_build
from cog_cli.project import load_project
from cog_cli.sizes import show_size


@click.command("build")
@options.tag
@options.file
@options.build_options
@options.target_host
def command(tag: str | None, file: str | None, **flags: Any) -> None:
    """Build a Docker image from cog.yaml."""
    order = order_build(load_project(file), options.gather(tag, **flags))
    image = DockerEngine().build(order)
    console.success(f"Built {image.name} ({show_size(image.size_bytes)})")
    console.result(image.name)
