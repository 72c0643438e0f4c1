"""A fake of our own port: the model runs in this process, behind real HTTP. It passes the suite of the real engines."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cog.worker.convert import encode_output
from cog.worker.model import Model
from cog_cli.engines.base import Image, ImageNotFound, RunningModel, RunOptions
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOrder
from cog_cli.image.labels import image_labels


class FakeEngine:
    name = "fake"

    def __init__(self) -> None:
        self.images: dict[str, tuple[Image, Path, str]] = {}
        self.pushed: list[str] = []

    def build(self, order: BuildOrder) -> Image:
        project = order.project
        spec = order.spec or Model(project.config.predict or "", str(project.root), "predict").spec
        labels = image_labels(project.config, spec, order.train_spec, "", project.root) | dict(order.options.labels)
        image = Image(order.name, f"fake:{order.name}", 1, labels)
        self.images[order.name] = (image, project.root, project.config.predict or "")
        return image

    def find(self, name: str) -> Image:
        if name not in self.images:
            raise ImageNotFound(f"there is no image {name}")
        return self.images[name][0]

    @contextlib.contextmanager
    def start(self, image: Image, options: RunOptions) -> Iterator[RunningModel]:
        _, root, reference = self.images[image.name]
        model = _FakeModel(root, reference, options)
        try:
            yield model
        finally:
            model.stop()

    def execute(self, image: Image, command: list[str], options: RunOptions) -> int:
        root = self.images[image.name][1]
        variables = dict(item.partition("=")[::2] for item in options.environment)
        return subprocess.run(command, cwd=root, env={**os.environ, **variables}, check=False).returncode

    def push(self, name: str, on_text: Callable[[str], None]) -> None:
        if name not in self.images:
            raise CogError(f"there is no image {name}")
        self.pushed.append(name)


class _FakeModel:
    def __init__(self, root: Path, reference: str, options: RunOptions) -> None:
        self.health: dict[str, Any] = {"status": "READY"}
        self._options = options
        self._root = root
        self._ended = threading.Event()
        try:
            self._model = Model(reference, str(root), options.mode)
            setup = self._model.make()
            if setup is not None:
                setup()
        except Exception as error:
            options.on_log(traceback.format_exc())
            self.health = {"status": "SETUP_FAILED", "reason": str(error)}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(fake.health)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-type"] != "application/json":
                    self._answer({"error": "JSON only"}, 415)
                else:
                    self._answer(fake.predict(json.loads(body)["input"]))

            def _answer(self, document: dict[str, Any], status: int = 200) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((options.host, options.port), Handler)
        self.url = f"http://{options.host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = {"id": "fake", "input": given, "output": None, "error": None, "metrics": {}}
        try:
            with contextlib.redirect_stdout(_Lines(self._options.on_log)):
                value = self._model.predict(**self._model.decode(json.dumps(given).encode(), []))
                document["output"] = json.loads(encode_output(value, str(self._root)).body)
            document["status"] = "succeeded"
        except Exception as error:
            document.update(status="failed", error=str(error))
        return document

    def exit_code(self) -> int | None:
        return 0 if self._ended.is_set() else None

    def wait(self) -> int:
        self._ended.wait()
        return 0

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._ended.set()


class _Lines:
    def __init__(self, on_log: Callable[[str], None]) -> None:
        self.write = on_log

    def flush(self) -> None:
        pass
