from __future__ import annotations

from functools import partial
from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.choose import choose_engine
from cog_cli.prediction.predict import PredictOptions, run_prediction
from cog_cli.project import load_project


@click.command("predict")
@click.argument("image", required=False)
@click.option("-i", "--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input; name=@FILE for a file.")
@click.option("--json", "document", metavar="JSON", help="The whole input: JSON, @FILE, or - for stdin.")
@click.option("-o", "--output", metavar="FILE", help="Where to write the output: a file, or a FOLDER/ for all files.")
@options.environment
@options.gpus
@options.setup_timeout
@options.engine
@options.python
@options.file
@options.build_options
def command(
    image: str | None,
    inputs: tuple[str, ...],
    document: str | None,
    output: str | None,
    environment: tuple[str, ...],
    gpus: str | None,
    setup_timeout: float,
    engine: str | None,
    python: str | None,
    file: str | None,
    **flags: Any,
) -> None:
    """Run a prediction on IMAGE, or on the project in this folder, which is built first.

    Text goes to stdout, a file to output.EXT, anything else as JSON to stdout; the model's log goes to stderr.
    Files are sent as they are, lists by repeating -i; a URL is fetched by the model's server.
    """
    wanted = PredictOptions(inputs, document, output, environment, gpus, setup_timeout)
    source = image or load_project(file)
    choose = partial(choose_engine, engine, python=python, on_notice=console.warn)
    run_prediction(source, choose, wanted, options.gather(**flags))
