from __future__ import annotations

from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.base import STAYS_UP, RunOptions
from cog_cli.prediction.serve import serve_model
from cog_cli.project import load_project


@click.command("serve")
@click.argument("image", required=False)
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=8393, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--upload-url", metavar="URL", callback=options.check_url, help="Where to put output files.")
@options.run_options
def command(
    image: str | None,
    port: int,
    host: str,
    upload_url: str | None,
    environment: tuple[str, ...],
    gpus: str | None,
    file: str | None,
    **flags: Any,
) -> None:
    """Serve IMAGE, or the project in this folder, over HTTP until Ctrl-C."""
    source = image or load_project(file)
    run = RunOptions(
        environment=("LOG_FORMAT=console", STAYS_UP, *environment),
        gpus=gpus,
        host=host,
        port=port,
        source=None if isinstance(source, str) else source.root,
        upload_url=upload_url,
        on_log=console.write,
        on_notice=console.warn,
    )
    serve_model(source, options.defer_engine(**flags), run, options.gather(**flags))
