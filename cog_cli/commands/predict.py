from __future__ import annotations

from typing import Any

import click

from cog_cli import options
from cog_cli.prediction.predict import PredictOptions, run_prediction
from cog_cli.project import load_project


@click.command("predict")
@click.argument("image", required=False)
@options.prediction_options(
    click.option(
        "-o", "--output", metavar="FILE", help="Where to write the output: a file, or a FOLDER/ for all files."
    )
)
def command(image: str | None, file: str | None, **flags: Any) -> None:
    """Run a prediction on IMAGE, or on the project in this folder, which is built first.

    Text goes to stdout, a file to output.EXT, anything else as JSON to stdout; the model's log goes to stderr.
    Files are sent as they are, lists by repeating -i; a URL is fetched by the model's server.
    """
    source = image or load_project(file)
    run_prediction(source, options.defer_engine(**flags), PredictOptions.read(flags), options.gather(**flags))
