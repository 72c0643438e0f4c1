"""`run_prediction`: one prediction, from words on the command line to output in files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cog_cli.console import console
from cog_cli.engines.base import STAYS_UP, Engine, Image, RunOptions
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOptions, order_build
from cog_cli.prediction.client import ModelClient
from cog_cli.prediction.inputs import check_words, read_inputs
from cog_cli.prediction.output_files import find_files
from cog_cli.prediction.outputs import OutputOptions, check_target, write_output, write_prediction
from cog_cli.project import Project

# Has the server say more of output files: their names, sizes and digests.
_INFO = "COG_OUTPUT_INFO"
_NOUNS = {"predict": "prediction", "train": "training"}


@dataclass(frozen=True)
class PredictOptions:
    """What the command line says about a prediction, or a training: `mode` is "predict" or "train".

    `document` is the input of `--json`, None without it.
    """

    inputs: tuple[str, ...] = ()
    document: str | None = None
    output: str | None = None
    environment: tuple[str, ...] = ()
    gpus: str | None = None
    setup_timeout_s: float = 300.0
    mode: str = "predict"

    @classmethod
    def read(cls, flags: Mapping[str, Any], *, mode: str = "predict") -> PredictOptions:
        """What the flags of `options.prediction_options` said; the others are not looked at."""
        return cls(
            inputs=flags["inputs"],
            document=flags["document"],
            output=flags["output"],
            environment=flags["environment"],
            gpus=flags["gpus"],
            setup_timeout_s=flags["setup_timeout"],
            mode=mode,
        )


def run_prediction(
    source: Project | str, choose: Callable[[], Engine], options: PredictOptions, build: BuildOptions
) -> None:
    """Run one prediction on a project, which is built first, or on an image, by its name.

    The input is checked before anything is built or started; `choose` gives the engine, when one is needed.
    Raises CogError, also if the prediction fails.
    """
    check_words(options.inputs, options.document)
    check_target(options.output)
    if isinstance(source, str):
        engine = choose()
        image = engine.find(source)
        given = read_inputs(options.inputs, options.document, image.spec_of(options.mode))
    else:
        order = order_build(source, build)
        is_training = options.mode == "train"
        if is_training and source.config.train is None:
            raise CogError("cog.yaml has no `train`", hint='Add e.g. `train: "train.py:train"`.')
        spec = order.train_spec if is_training else order.spec
        given = read_inputs(options.inputs, options.document, spec)
        engine = choose()
        image = engine.build(order)
        if spec is None:
            given = read_inputs(options.inputs, options.document, image.spec_of(options.mode))
    level = "debug" if console.is_debug else "error"
    run_options = RunOptions(
        environment=("LOG_FORMAT=console", STAYS_UP, f"COG_LOG_LEVEL={level}", f"{_INFO}=1", *_said(options)),
        gpus=options.gpus or ("all" if image.wants_gpu else None),
        gpus_asked=options.gpus is not None,
        mode=options.mode,
        on_log=console.write,
        on_notice=console.warn,
    )
    console.info("starting the model")
    token = _token(run_options)
    with (
        engine.start(image, run_options) as model,
        ModelClient(model, token=token, progress=build.progress) as client,
    ):
        client.wait_ready(options.setup_timeout_s)
        console.info(f"running the {_NOUNS[options.mode]}")
        document = client.predict(given.values, uploads=given.uploads, mode=options.mode)
    _show(document, image, options, progress=build.progress)


def _said(options: PredictOptions) -> tuple[str, ...]:
    """The environment that the person asked for, here or where cog was called."""
    here = os.environ.get(_INFO)
    return (*([f"{_INFO}={here}"] if here is not None else []), *options.environment)


def _token(options: RunOptions) -> str | None:
    """The token that the server will ask for, if the environment gives it one; the first of several."""
    given = dict(item.partition("=")[::2] for item in options.environment)
    value = given.get("COG_AUTH_TOKEN") or os.environ.get("COG_AUTH_TOKEN") or ""
    return next((part.strip() for part in re.split(r"[,\n]", value) if part.strip()), None)


def _show(document: dict[str, Any], image: Image, options: PredictOptions, *, progress: str) -> None:
    succeeded = document.get("status") == "succeeded"
    spec = image.spec_of(options.mode)
    output = OutputOptions(
        options.output,
        find_files(document, spec.output if spec is not None else None),
        is_text=spec is not None and spec.output.is_concatenated,
        progress=progress,
    )
    if options.document is not None:
        is_asked = any(item.partition("=")[0] == _INFO for item in _said(options))
        shown = {key: value for key, value in document.items() if key != "output_info" or is_asked}
        write_prediction(shown, output)
    elif succeeded:
        value = document.get("output")
        if options.mode == "train" and isinstance(value, dict) and set(value) == {"weights"}:
            value = value["weights"]
            files = {place[1:]: file for place, file in output.files.items() if place[:1] == ("weights",)}
            output = replace(output, files=files)
        write_output(value, output)
    if not succeeded:
        reason = document.get("error") or "no reason was given"
        raise CogError(f"the {_NOUNS[options.mode]} {document.get('status')}: {reason}")
