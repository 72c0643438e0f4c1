from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from cog_cli import options
from cog_cli.config.grammar import check_image
from cog_cli.console import console
from cog_cli.engines.docker import DockerEngine
from cog_cli.image.build import order_build
from cog_cli.project import load_project, push_name


@click.command("push")
@click.argument("name", required=False, callback=options.checked(check_image))
@options.file
@options.build_options
def command(name: str | None, file: str | None, **flags: Any) -> None:
    """Build the image and send it to its registry as NAME (default: `image` of cog.yaml)."""
    project = load_project(file)
    order = order_build(project, replace(options.gather(**flags), tag=push_name(project, name)))
    engine = DockerEngine()
    image = engine.build(order)
    engine.push(image.name, console.write)
    console.success(f"Pushed {image.name}")
    console.result(image.name)
