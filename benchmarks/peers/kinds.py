"""The kinds of servers: a row of the tables each, and how one is started and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.peers.environments import REPOSITORY
from benchmarks.peers.workloads import WORKLOADS, Workload

APPS = Path(__file__).resolve().parent / "apps"
HOST = "127.0.0.1"
ALL = tuple(WORKLOADS)
_FILES_AND_TEXT = ("W1", "W2", "W3", "W4")


@dataclass(frozen=True)
class Kind:
    """A row of the tables. `command`, `path` and `variables` are templates: {bin}, {model}, {port}, {scratch}.

    `app` is the folder that it serves. `models` replaces a workload's model; `shape` makes the body of an input.
    `needs_schema`: it does not look at the types of predict() itself, but at the document that a build leaves there.
    """

    name: str
    environment: str
    app: Path
    command: tuple[str, ...]
    path: str
    workloads: tuple[str, ...] = ALL
    variables: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    shape: Callable[[str, dict[str, object]], object] = lambda _, given: given
    needs_schema: bool = False

    def body(self, workload: Workload, given: dict[str, object]) -> bytes:
        return json.dumps(self.shape(workload.name, given)).encode()

    def model(self, workload: Workload) -> str:
        return self.models.get(workload.name, workload.model)

    def address(self, workload: Workload) -> str:
        return self.path.format(model=self.model(workload))


def _in_input(_: str, given: dict[str, object]) -> object:
    return {"input": given}


def _in_list(workload: str, given: dict[str, object]) -> object:
    return {name: [value] for name, value in given.items()} if workload == "W6" else given


_COG = Kind(
    "cog",
    environment="cog",
    app=APPS / "cog",
    command=("{bin}/python", "-m", "cog.server.http", "--host", HOST),
    path="/predictions",
    workloads=(*_FILES_AND_TEXT, "W6"),
    variables={"PORT": "{port}", "COG_PREDICT_TYPE_STUB": "predict.py:{model}", "COG_LOG_LEVEL": "warning"},
    shape=_in_input,
    needs_schema=True,
)
_OURS = Kind(
    "ours",
    environment="ours",
    app=APPS / "cog",
    command=("{bin}/python", "-m", "cog_server", "--host", HOST),
    path="/predictions",
    workloads=(*_FILES_AND_TEXT, "W6"),
    variables={
        "PORT": "{port}",
        "COG_PREDICT": "predict.py:{model}",
        "COG_MODEL_PATH": str(REPOSITORY),
        "PYTHONPATH": f"{APPS / 'model'}:{REPOSITORY}",
        "COG_LOG_LEVEL": "warning",
    },
    shape=_in_input,
)
_ASYNC = {"COG_MAX_CONCURRENCY": "64"}
_ASYNC_MODELS = {"W1": "AsyncText", "W2": "AsyncText", "W3": "AsyncFileIn", "W4": "AsyncFileOut"}
_FASTAPI = Kind(
    "fastapi",
    environment="fastapi",
    app=APPS / "fastapi",
    command=(
        *("{bin}/python", "-m", "uvicorn", "serve:app", "--host", HOST, "--port", "{port}"),
        *("--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"),
    ),
    path="/{model}",
    workloads=(*_FILES_AND_TEXT, "W6"),
)

# In the order in which they are measured.
KINDS = {
    kind.name: kind
    for kind in (
        _OURS,
        replace(
            _OURS,
            name="ours-async",
            workloads=("W1", "W5"),
            variables={**_OURS.variables, **_ASYNC},
            models=_ASYNC_MODELS,
        ),
        replace(
            _OURS,
            name="ours-batched",
            workloads=("W6",),
            variables={**_OURS.variables, "COG_PREDICT": "batched.py:{model}"},
        ),
        _COG,
        replace(
            _COG,
            name="cog-async",
            workloads=(*_FILES_AND_TEXT, "W5"),
            variables={**_COG.variables, **_ASYNC},
            models=_ASYNC_MODELS,
        ),
        Kind(
            "mosec",
            environment="mosec",
            app=APPS / "mosec",
            command=(
                *("{bin}/python", "serve.py", "{model}", "--address", HOST, "--port", "{port}"),
                *("--log-level", "warning"),
            ),
            path="/inference",
        ),
        replace(_FASTAPI, name="fastapi-async", path="/async/{model}", workloads=ALL),
        _FASTAPI,
        Kind(
            "litserve",
            environment="litserve",
            app=APPS / "litserve",
            command=("{bin}/python", "serve.py", "{model}", "{port}"),
            path="/predict",
        ),
        Kind(
            "bentoml",
            environment="bentoml",
            app=APPS / "bentoml",
            command=("{bin}/bentoml", "serve", "serve:{model}", "--host", HOST, "--port", "{port}", "--quiet"),
            path="/predict",
            variables={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{scratch}"},
            shape=_in_list,
        ),
    )
}
