"""`serve_model` and `execute_command`: a model's environment for as long as somebody is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cog_cli.console import console
from cog_cli.engines.base import Engine, Image, ModelEnded, RunOptions
from cog_cli.image.build import BuildOptions, order_build
from cog_cli.prediction.client import ModelClient
from cog_cli.project import Project


def serve_model(source: Project | str, choose: Callable[[], Engine], options: RunOptions, build: BuildOptions) -> None:
    """Serve a project, whose source is mounted so that an edit shows on restart, or an image, until Ctrl-C.

    Raises CogError if it ends by itself.
    """
    order = None if isinstance(source, str) else order_build(source, build)
    engine = choose()
    image = engine.find(str(source)) if order is None else engine.build(order)
    with engine.start(image, _with_gpus(options, image)) as model:
        try:
            with ModelClient(model) as client:
                console.info(f"starting the model at {model.url}")
                client.wait_ready(float("inf"))
                console.success(f"Serving at {model.url} (the manual: {model.url}/docs); Ctrl-C stops it")
            code = model.wait()
        except KeyboardInterrupt:
            # The way in which serving ends, not an interruption of something that wanted to end.
            console.info("stopping")
            return
    raise ModelEnded(f"the model ended with code {code}")


def execute_command(
    project: Project, choose: Callable[[], Engine], command: list[str], options: RunOptions, build: BuildOptions
) -> int:
    """Run `command` in the project's environment with our stdin and stdout; give its exit code."""
    order = order_build(project, build)
    engine = choose()
    image = engine.build(order)
    return engine.execute(image, command, _with_gpus(options, image))


def _with_gpus(options: RunOptions, image: Image) -> RunOptions:
    gpus = options.gpus or ("all" if image.wants_gpu else None)
    return replace(options, gpus=gpus, gpus_asked=options.gpus is not None)
