from __future__ import annotations

from typing import Any

import click

from cog_cli import options
from cog_cli.prediction.predict import PredictOptions, run_prediction
from cog_cli.project import load_project


@click.command("train")
@click.argument("image", required=False)
@options.prediction_options(
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        default="weights",
        show_default=True,
        help="Where to write the weights: a file, or a FOLDER/.",
    )
)
def command(image: str | None, file: str | None, **flags: Any) -> None:
    """Run a training on IMAGE, or on the project in this folder, which is built first.

    The weights are written to the file of -o; the training's log goes to stderr.
    """
    wanted = PredictOptions.read(flags, mode="train")
    source = image or load_project(file)
    run_prediction(source, options.defer_engine(**flags), wanted, options.gather(**flags))
