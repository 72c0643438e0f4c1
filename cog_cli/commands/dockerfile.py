from __future__ import annotations

from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.image.build import resolve_for
from cog_cli.image.dockerfile import render
from cog_cli.image.plan import PlanOptions, make_plan
from cog_cli.project import load_project


@click.command("dockerfile")
@options.file
@options.build_options
@options.target_host
def command(file: str | None, **flags: Any) -> None:
    """Print the Dockerfile that would be built."""
    project = load_project(file)
    wanted = options.gather(**flags)
    resolved = resolve_for(project, wanted)
    plan_options = PlanOptions(ca_cert=wanted.ca_cert is not None, config_name=project.config_name)
    plan = make_plan(project.config, resolved.stack, resolved.requirements, plan_options)
    console.result(render(plan), newline=False)
