from __future__ import annotations

import json

import click

from cog.schema.openapi import openapi_document
from cog_cli import options
from cog_cli.console import console
from cog_cli.project import load_project, require_spec


@click.command("schema")
@options.file
@click.option("--train", "is_training", is_flag=True, help="Of the training, not the prediction.")
def command(file: str | None, is_training: bool) -> None:
    """Print the OpenAPI document of the model, without building or importing it."""
    mode = "train" if is_training else "predict"
    document = openapi_document(require_spec(load_project(file), mode=mode))
    console.result(json.dumps(document, indent=2, ensure_ascii=False))
