"""What every test may use: a project folder, the command as a process, engines, and what this machine can do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cog_cli.versions import UV_IMAGE
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


def why_not_docker() -> str | None:
    """Why nothing can be built here: no engine, no buildx, or an image of every build that cannot be had."""
    if _ask_docker("info") is None or _ask_docker("buildx", "version") is None:
        return "no docker here; `make lab` brings one up"
    for image in (UV_IMAGE, *(f"python:{version}-slim-bookworm" for version in ("3.11", "3.12"))):
        # Some 50 MB each, where they are not here already.
        if _ask_docker("image", "inspect", image) is None and _ask_docker("pull", "--quiet", image) is None:
            return f"the Docker engine neither has {image} nor can pull it; `make lab` brings up one that does"
    return None


def why_not_lab() -> str | None:
    labels = _ask_docker("info", "--format", "{{json .Labels}}") or ""
    return None if '"cog-lab=true"' in labels else "needs the Docker engine of `make lab`, not somebody's own"


def why_not_azurite() -> str | None:
    is_here = AZURITE.exists() and shutil.which("node") is not None
    return None if is_here else "no azurite here; `make lab` installs it"


def why_not_browser() -> str | None:
    return None if CHROMIUM is not None else "no browser here; `make lab` installs one"


def _ask_docker(*arguments: str) -> str | None:
    """What `docker` prints; None if it fails."""
    if shutil.which("docker") is None:
        return None
    with contextlib.suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
        return answer.stdout if answer.returncode == 0 else None
    return None


# What a test may ask for by its mark -> why it is not here.
NEEDS = {"docker": why_not_docker, "lab": why_not_lab, "azurite": why_not_azurite, "browser": why_not_browser}


_WHY_NOT = pytest.StashKey[str | None]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot do, unless it is required; the longest files come first."""
    wants = {mark.name for item in items for mark in item.iter_markers()}
    missing = {name: why_not() for name, why_not in NEEDS.items() if name in wants and name not in REQUIRED}
    for item in items:
        reasons = [why for name, why in missing.items() if why is not None and item.get_closest_marker(name)]
        item.stash[_WHY_NOT] = reasons[0] if reasons else None
    # None of them is left when the other processes are done.
    items.sort(
        key=lambda item: next((at for at, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Here and not by a mark: all that are skipped for one reason are one line then.
    why = item.stash[_WHY_NOT]
    if why is not None:
        pytest.skip(why)


# The engine's tests take turns: they look at what is in it, and they are a load to each other.
INTEGRATION = "tests/integration/"
LONGEST = (INTEGRATION, "tests/server/test_faults.py")


# Not `--dist loadgroup`: with pytest 9.2, pytest-xdist 3.8 does not see the groups, and says nothing of it.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Each file is run by one process, and the files of the integration by the same."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return INTEGRATION if nodeid.startswith(INTEGRATION) else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def own_files() -> dict[str, str]:
    """What is in every project, for those who need theirs to be unlike any other."""
    return {}


@pytest.fixture
def project_name() -> str:
    return "project"


@pytest.fixture
def project(tmp_path: Path, project_name: str, own_files: dict[str, str]) -> Callable[..., Path]:
    """Write the files of a project; `None` leaves a default one out."""

    def write(files: dict[str, str | None] | None = None) -> Path:
        content: dict[str, str | None] = {
            "cog.yaml": 'build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\n',
            "predict.py": (
                "from cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
                "    def predict(self, text: str) -> str:\n        return 'hello ' + text\n"
            ),
            **own_files,
            **(files or {}),
        }
        folder = tmp_path / project_name
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
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same for all its processes: what is made there is made with `made_once`."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def interpreters(shared_folder: Path) -> Interpreters:
    """The Pythons of models, with and without packages, each made once."""
    return Interpreters(shared_folder)


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
