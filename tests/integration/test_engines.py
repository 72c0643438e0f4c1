"""One suite for every engine: what the port promises, the fake, the host and Docker keep."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from cog_cli.engines.base import Engine, Image, ImageNotFound, RunOptions
from cog_cli.engines.docker import DockerEngine
from cog_cli.engines.local import LocalEngine
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOptions, BuildOrder, order_build
from cog_cli.image.labels import LABEL_CONFIG, LABEL_SCHEMA
from cog_cli.prediction.client import ModelClient
from cog_cli.project import load_project
from tests.conftest import Cog
from tests.fakes.engine import FakeEngine
from tests.integration.names import PREFIX, image_name

NAME = image_name("suite")
PREDICTOR = """
import os
from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def setup(self) -> None:
        if os.environ.get("BROKEN"):
            raise RuntimeError("no weights")
        self.word = "hello"

    def predict(self, text: str = Input(default="world"), fail: bool = False) -> str:
        print("log of", text)
        if fail:
            raise ValueError("asked to fail")
        return f"{self.word} {text} {os.environ.get('MOOD', '')}".strip()
"""


@pytest.fixture(scope="module", params=["fake", "local", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return {"fake": FakeEngine, "local": LocalEngine, "docker": DockerEngine}[request.param]()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Its default image has a name of this run.
    folder = tmp_path_factory.mktemp(PREFIX)
    (folder / "cog.yaml").write_text('build:\n  python_version: "3.11"\npredict: "greet.py:Predictor"\n')
    (folder / "greet.py").write_text(PREDICTOR)
    return folder


@pytest.fixture(scope="module")
def image(engine: Engine, folder: Path) -> Image:
    return engine.build(_order(folder))


def _order(folder: Path) -> BuildOrder:
    options = BuildOptions(tag=NAME, progress="quiet", ca_cert=os.environ.get("COG_CA_CERT"))
    return order_build(load_project(str(folder / "cog.yaml")), options)


def test_a_built_image_says_what_it_is(image: Image) -> None:
    assert image.name == NAME
    assert json.loads(image.labels[LABEL_CONFIG])["predict"] == "greet.py:Predictor"
    assert "text" in json.loads(image.labels[LABEL_SCHEMA])["components"]["schemas"]["Input"]["properties"]
    assert image.spec is not None
    assert not image.wants_gpu


def test_a_second_build_of_the_same_is_the_same_image(image: Image, engine: Engine, folder: Path) -> None:
    again = engine.build(_order(folder))

    assert again.id == image.id


def test_an_unknown_image_is_not_found(engine: Engine) -> None:
    with pytest.raises(ImageNotFound, match="cog-test-no-such-image"):
        engine.find("cog-test-no-such-image")


def test_a_started_model_predicts_and_its_log_comes_through(engine: Engine, image: Image) -> None:
    log: list[str] = []

    with engine.start(image, RunOptions(environment=("LOG_FORMAT=console", "MOOD=:)"), on_log=log.append)) as model:
        with ModelClient(model) as client:
            client.wait_ready(60)
            document = client.predict({"text": "you"})
        assert model.exit_code() is None

    assert (document["status"], document["output"].removesuffix(" :)")) == ("succeeded", "hello you")
    assert "log of you" in "".join(log)


def test_a_prediction_that_fails_says_why(engine: Engine, image: Image) -> None:
    with engine.start(image, RunOptions()) as model, ModelClient(model) as client:
        client.wait_ready(60)
        document = client.predict({"fail": True})

    assert (document["status"], document["error"]) == ("failed", "asked to fail")


def test_leaving_the_context_ends_the_model(engine: Engine, image: Image) -> None:
    with engine.start(image, RunOptions()) as model, ModelClient(model) as client:
        client.wait_ready(60)
        url = model.url

    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/health-check", trust_env=False, timeout=2)


def test_a_setup_that_fails_is_an_error_with_its_reason(
    engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "1")

    with engine.start(image, RunOptions(environment=("BROKEN=1",))) as model, ModelClient(model) as client:
        with pytest.raises(CogError, match="no weights"):
            client.wait_ready(60)


@pytest.mark.parametrize("code", [0, 7])
def test_a_command_runs_in_the_environment_and_its_exit_code_comes_back(
    engine: Engine, image: Image, code: int
) -> None:
    command = ["python3", "-c", f"import os, sys; sys.exit({code} if os.environ['GIVEN'] == 'yes' else 99)"]

    assert engine.execute(image, command, RunOptions(environment=("GIVEN=yes",))) == code


def test_pushing_what_is_not_there_is_an_error(engine: Engine) -> None:
    with pytest.raises(CogError, match="cog-test-no-such-image"):
        engine.push("cog-test-no-such-image", lambda text: None)


@pytest.mark.parametrize("name", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_the_command_gives_the_same_output_on_each_engine(name: str, folder: Path, cog: Cog) -> None:
    answer = cog("predict", "--engine", name, "-i", "text=there", folder=folder)

    assert (answer.returncode, answer.stdout) == (0, "hello there\n"), answer.stderr
    assert "log of there" in answer.stderr


def test_the_local_engine_starts_as_many_workers_as_the_project_asks_for(tmp_path: Path, cog: Cog) -> None:
    (tmp_path / "cog.yaml").write_text('concurrency: {workers: 2}\npredict: "place.py:predict"\n')
    (tmp_path / "place.py").write_text("import os\ndef predict() -> str:\n    return os.environ['COG_WORKERS']\n")

    answer = cog("predict", "--engine", "local", "--python", sys.executable, folder=tmp_path)

    assert (answer.returncode, answer.stdout) == (0, "2\n"), answer.stderr


def test_a_token_in_the_environment_opens_the_model_that_it_closes(folder: Path, cog: Cog) -> None:
    answer = cog(
        *("predict", "--engine", "local", "-i", "text=you"), folder=folder, environment={"COG_AUTH_TOKEN": "tok3n"}
    )

    assert (answer.returncode, answer.stdout) == (0, "hello you\n"), answer.stderr
    assert "tok3n" not in answer.stderr
