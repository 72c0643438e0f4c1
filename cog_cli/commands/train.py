from __future__ import annotations

from functools import partial
from typing import Any

import click

from cog_cli import options
from cog_cli.console import console
from cog_cli.engines.choose import choose_engine
from cog_cli.prediction.predict import PredictOptions, run_prediction
from cog_cli.project import load_project


@click.command("train")
@click.argument("image", required=False)
@click.option("-i", "--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input; name=@FILE for a file.")
@click.option("--json", "document", metavar="JSON", help="The whole input: JSON, @FILE, or - for stdin.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="weights",
    show_default=True,
    help="Where to write the weights: a file, or a FOLDER/.",
)
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
    output: str,
    environment: tuple[str, ...],
    gpus: str | None,
    setup_timeout: float,
    engine: str | None,
    python: str | None,
    file: str | None,
    **flags: Any,
) -> None:
    """Run a training on IMAGE, or on the project in this folder, which is built first.

    The weights are written to the file of -o; the training's log goes to stderr.
    """
    wanted = PredictOptions(inputs, document, output, environment, gpus, setup_timeout, mode="train")
    source = image or load_project(file)
    choose = partial(choose_engine, engine, python=python, on_notice=console.warn)
    run_prediction(source, choose, wanted, options.gather(**flags))
