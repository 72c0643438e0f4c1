"""A wheel and an editable install both work, and the wheel has everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(REPOSITORY)], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def test_the_wheel_has_templates_tables_locks_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    for expected in (
        "cog_cli/templates/Dockerfile.j2",
        "cog_cli/templates/blocks/run.j2",
        "cog_cli/templates/init/predict.py",
        "cog_cli/config/cog.schema.json",
        "cog_cli/compat/torch.json",
        "cog_server/requirements.lock",
        "cog/worker/body.py",
    ):
        assert expected in names
    for package in ("cog", "cog_cli", "cog_server"):
        sources = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / package).rglob("*.py")}
        assert sources <= names, sources - names
    assert not [name for name in names if name.startswith(("tests/", "templates/", "benchmarks/"))]


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(path.relative_to(REPOSITORY))
        for package in ("cog", "cog_cli", "cog_server")
        for path in (REPOSITORY / package).rglob("*.py")
    }

    assert modules - names == set()


def test_an_installed_wheel_renders_the_same_dockerfile_and_predicts(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(environment)], check=True)
    python = environment / "bin" / "python"
    # The packages of this environment, but this wheel's code: an editable install of it is not seen from there.
    site = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Behind the wheel's own folder, so that the wheel wins.
    (Path(own) / "zz-dependencies.pth").write_text(site + "\n")
    folder = tmp_path / "model"
    folder.mkdir()
    variables = {**os.environ, "PYTHONPATH": ""}

    def cog(*arguments: str) -> str:
        command = [str(environment / "bin" / "cog"), *arguments]
        answer = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    where = "import cog_cli; print(cog_cli.__file__)"
    found = subprocess.run(
        [str(python), "-c", where], env=variables, cwd=folder, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(environment)), found.stdout
    cog("init")
    checkout = subprocess.run(
        [sys.executable, "-m", "cog_cli", "dockerfile"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert cog("dockerfile") == checkout.stdout
    assert json.loads(cog("schema"))["info"]["title"] == "Cog"
    assert cog("predict", "--engine", "local", "--python", str(python), "-i", "text=wheel") == "hello wheel\n"
