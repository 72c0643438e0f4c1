from __future__ import annotations

import re
from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.base import RunOptions
from cog_cli.prediction.serve import execute_command
from cog_cli.project import load_project

_PORT = re.compile(r"(\d{1,5}:)?\d{1,5}")


def _ports(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _PORT.fullmatch(value) or not all(0 < int(part) < 65536 for part in value.split(":")):
            raise click.BadParameter(f"{value!r}: the form is PORT or HOST_PORT:PORT, each from 1 to 65535")
    return values


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command_line", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-p", "--publish", metavar="PORT", multiple=True, callback=_ports, help="Open a port to this machine.")
@options.run_options
def command(
    command_line: tuple[str, ...],
    publish: tuple[str, ...],
    environment: tuple[str, ...],
    gpus: str | None,
    file: str | None,
    **flags: Any,
) -> int:
    """Run COMMAND in the model's environment, with this terminal; its exit code is ours."""
    project = load_project(file, predict_is_required=False)
    run = RunOptions(environment=environment, gpus=gpus, source=project.root, published=publish, on_notice=console.warn)
    return execute_command(project, options.defer_engine(**flags), list(command_line), run, options.gather(**flags))
