"""The engine port: what the commands ask of Docker, of the host itself, or of a fake in a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cog.schema.spec import PredictorSpec
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOrder
from cog_cli.image.labels import LABEL_CONFIG, LABEL_SIGNATURE, LABEL_TRAIN_SIGNATURE

# For servers that a command of ours waits for: they say themselves why there is no model, rather than end.
STAYS_UP = "COG_EXIT_ON_DEFUNCT=off"


class ImageNotFound(CogError):
    """There is no such image, here or in the registry its name points to."""


class GpuNotAvailable(CogError):
    """The engine has no GPU to give."""


class ModelEnded(CogError):
    """The model's process ended while somebody waited for it."""


@dataclass(frozen=True)
class Image:
    """A built model. `name` is what to call it; `size_bytes` counts all layers, uncompressed."""

    name: str
    id: str
    size_bytes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def wants_gpu(self) -> bool:
        """Whether its cog.yaml says `gpu: true`."""
        config = self._label_json(LABEL_CONFIG)
        build = config.get("build") if isinstance(config, dict) else None
        return isinstance(build, dict) and build.get("gpu") is True

    @property
    def spec(self) -> PredictorSpec | None:
        """The predictor's spec, if the image was built by this tool."""
        return self.spec_of("predict")

    def spec_of(self, mode: str) -> PredictorSpec | None:
        """The spec of "predict" or "train", if the image has it and was built by this tool."""
        signature = self._label_json(LABEL_TRAIN_SIGNATURE if mode == "train" else LABEL_SIGNATURE)
        return PredictorSpec.from_json(signature) if isinstance(signature, dict) else None

    def _label_json(self, name: str) -> Any:
        try:
            return json.loads(self.labels.get(name, "null"))
        except ValueError:
            return None


@dataclass(frozen=True)
class RunOptions:
    """How a model is run. `port` is on `host`, 0 for any free one; `gpus` is "all", a number or `device=...`.

    `gpus_asked`: the user named GPUs, so that doing without is an error. `source`: the project's folder, to be seen
    in the image at /src. `upload_url` is where the server puts output files, as this machine names it. `on_log` takes
    the model's text, in pieces, on a thread of the engine's.
    """

    environment: tuple[str, ...] = ()
    gpus: str | None = None
    gpus_asked: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    source: Path | None = None
    upload_url: str | None = None
    mode: str = "predict"
    published: tuple[str, ...] = ()
    on_log: Callable[[str], None] = lambda text: None
    on_notice: Callable[[str], None] = lambda text: None


class RunningModel(Protocol):
    """A model that was started. `url` is where it listens, without a slash at the end."""

    url: str

    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""

    def wait(self) -> int:
        """Wait for its end and give the exit code."""


class Engine(Protocol):
    """Builds and runs. Every method raises CogError in the user's words."""

    name: str

    def build(self, order: BuildOrder) -> Image:
        """Build the order's image, or find that it is built already."""

    def find(self, name: str) -> Image:
        """The image of this name; pulls it if it is not here. Raises ImageNotFound."""

    def start(self, image: Image, options: RunOptions) -> AbstractContextManager[RunningModel]:
        """Start the image's server. Leaving the context stops it and leaves nothing behind."""

    def execute(self, image: Image, command: list[str], options: RunOptions) -> int:
        """Run a command in the image with this process's stdin and stdout; give its exit code."""

    def push(self, name: str, on_text: Callable[[str], None]) -> None:
        """Send the image of this name to its registry."""
