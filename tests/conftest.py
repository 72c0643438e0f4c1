"""What every test may use: a project folder, the command as a process, engines, and what this machine can do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.environments import Interpreters

# The same examples in every run of CI: a find there is a find of the change. Elsewhere each run looks further.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Started in the background, as some runners of CI do, SIGINT would be ignored here and in all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent

# No test asks an index of the outside world; those of the index bring their own.
os.environ["COG_OFFLINE"] = "1"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AZURITE = REPOSITORY / "tests/lab/azurite/node_modules/azurite/dist/src/blob/main.js"

# What must be there rather than skipped, as words: CI sets it.
REQUIRED = frozenset(os.environ.get("COG_TEST_REQUIRES", "").split())


def examples(usual: int) -> int:
    """How many examples a test of properties tries: as usual, or COG_TEST_EXAMPLES for a longer look."""
    return int(os.environ.get("COG_TEST_EXAMPLES", usual))


def docker_answers() -> bool:
    """Whether an engine answers, with buildx."""
    if shutil.which("docker") is None:
        return False
    for command in (["docker", "info"], ["docker", "buildx", "version"]):
        if subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0:
            return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot do, unless it is required."""
    wants = {mark.name for item in items for mark in item.iter_markers()}
    missing = {
        "docker": "docker" in wants and "docker" not in REQUIRED and not docker_answers(),
        "azurite": "azurite" in wants
        and "azurite" not in REQUIRED
        and not (AZURITE.exists() and shutil.which("node") is not None),
        "browser": "browser" in wants and "browser" not in REQUIRED and CHROMIUM is None,
    }
    for item in items:
        for name, is_missing in missing.items():
            if is_missing and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"no {name} here; `make lab` brings one up"))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write the files of a project; `None` leaves a default one out."""

    def write(files: dict[str, str | None] | None = None) -> Path:
        content: dict[str, str | None] = {
            "cog.yaml": 'build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\n',
            "predict.py": (
                "from cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
                "    def predict(self, text: str) -> str:\n        return 'hello ' + text\n"
            ),
            **(files or {}),
        }
        folder = tmp_path / "project"
        for name, text in content.items():
            if text is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return folder

    return write


Cog = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cog() -> Cog:
    """Run `cog` as a process, as a person does."""

    def run(
        *arguments: str,
        folder: Path,
        environment: dict[str, str] | None = None,
        stdin: str = "",
        timeout_s: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cog_cli", *arguments],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", **(environment or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> Interpreters:
    """The Pythons of models, with and without packages, each made once."""
    return Interpreters(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="session", autouse=True)
def certificates() -> Iterator[None]:
    """On a network that signs TLS anew, builds trust what this machine trusts."""
    bundle = os.environ.get("SSL_CERT_FILE")
    added = bundle is not None and "COG_CA_CERT" not in os.environ
    # The commands that tests start keep their byte code, as in any installation.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if added and bundle is not None:
        os.environ["COG_CA_CERT"] = bundle
    yield
    if added:
        del os.environ["COG_CA_CERT"]
