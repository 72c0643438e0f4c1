"""cog.lock: what it holds, when it is out of date, and that a locked build installs exactly it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cog_cli.compat.stack import BaseImage
from cog_cli.engines.image_digests import check_images, identify_image
from cog_cli.errors import CogError
from cog_cli.image.dockerfile import render
from cog_cli.image.lock import parse_compiled, write_lock
from cog_cli.image.lock_file import Lock, LockedPackage, inputs_of, read_lock, resolve_locked
from cog_cli.image.plan import PlanOptions, make_plan
from cog_cli.project import Project, load_project, resolve
from tests.conftest import Cog

CONFIG = """
build:
  python_version: "3.11"
  python_requirements: requirements.txt
predict: "predict.py:Predictor"
"""
DIGEST = "sha256:" + "a" * 64
WriteProject = Callable[..., Path]


@pytest.fixture
def folder(project: WriteProject, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "cog.yaml": CONFIG,
        "requirements.txt": "--extra-index-url https://me:secret@example.com/simple\nsix>=1.16\n./own\n",
        "own/pyproject.toml": '[project]\nname = "own"\nversion = "1"\n',
    }
    folder = project(files)
    monkeypatch.chdir(folder)
    return folder


def lock_of(project: Project, *, digest: str | None = DIGEST, unhashed: tuple[str, ...] = ("./own",)) -> Lock:
    """A lock as `cog lock` would write it, without asking anybody."""
    resolved = resolve(project)
    image = BaseImage(resolved.stack.base_image, digest=digest)
    packages = (LockedPackage("six==1.16.0", ("sha256:1", "sha256:2")),)
    lock = Lock(
        "linux/amd64", inputs_of(project, resolved.requirements), (image,), resolved.stack, (), packages, unhashed
    )
    (project.root / "cog.lock").write_text(lock.to_text())
    return lock


def test_a_lock_is_read_as_it_was_written(folder: Path) -> None:
    lock = lock_of(load_project())

    assert read_lock(load_project()) == lock
    assert lock.to_text() == read_lock(load_project()).to_text()
    assert list(json.loads(lock.to_text())) == sorted(json.loads(lock.to_text()))


def test_a_locked_build_is_on_the_digest_and_installs_no_other_package(folder: Path) -> None:
    project = load_project()
    lock_of(project, unhashed=())

    resolved = resolve_locked(project, read_lock(project), platform="linux/amd64")

    plan = make_plan(project.config, resolved.stack, resolved.requirements, PlanOptions())
    assert plan.base_image == f"python:3.11-slim-bookworm@{DIGEST}"
    assert plan.install is not None
    assert plan.install.written == (
        (
            ".cog-packages.txt",
            (
                "--extra-index-url https://me:secret@example.com/simple",
                "six==1.16.0 --hash=sha256:1 --hash=sha256:2",
            ),
        ),
    )
    assert "--no-deps" in plan.install.command
    assert "--require-hashes" in plan.install.command
    assert "secret@" not in render(plan)


def test_what_has_no_hash_is_installed_beside_what_has(folder: Path) -> None:
    project = load_project()
    lock_of(project)

    resolved = resolve_locked(project, read_lock(project), platform="linux/amd64")

    assert resolved.stack.packages[-1] == "./own"
    assert "--require-hashes" not in resolved.stack.install_args


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("requirements.txt", "six==1.17.0\n./own\n", "requirements.txt"),
        ("own/pyproject.toml", '[project]\nname = "own"\nversion = "2"\n', "own"),
        ("own/new.py", "x = 1\n", "own"),
        ("cog.yaml", CONFIG.replace("3.11", "3.12"), "`build.python_version`"),
        ("cog.yaml", CONFIG.replace("predict:", "  run: [echo]\npredict:"), "`build.run`"),
    ],
)
def test_a_project_that_moved_on_is_refused_by_name(folder: Path, file: str, content: str, named: str) -> None:
    lock_of(load_project())
    (folder / file).write_text(content)
    project = load_project()

    with pytest.raises(CogError, match=f"out of date: {named} changed") as caught:
        resolve_locked(project, read_lock(project), platform="linux/amd64")

    assert "`cog lock`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("cog.yaml", "# a comment\n" + CONFIG),
        ("cog.yaml", CONFIG.replace("predict.py:Predictor", "other.py:Predictor")),
        ("own/__pycache__/x.pyc", "compiled"),
        ("predict.py", "# edited"),
    ],
)
def test_an_edit_that_changes_no_package_asks_for_no_new_lock(folder: Path, file: str, content: str) -> None:
    lock_of(load_project())
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(content)
    project = load_project()

    assert resolve_locked(project, read_lock(project), platform="linux/amd64").stack.packages


def test_a_lock_for_another_platform_is_refused(folder: Path) -> None:
    lock_of(load_project())

    with pytest.raises(CogError, match="is for linux/amd64, not linux/arm64"):
        resolve_locked(load_project(), read_lock(load_project()), platform="linux/arm64")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no cog.lock"),
        ("", "not JSON"),
        ("[]", "of version None"),
        ('{"version": 99}', "of version 99"),
        ('{"version": 1, "platform": 7}', "damaged at `"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_damaged_lock_is_one_error_that_says_what_to_do(folder: Path, text: str | None, said: str) -> None:
    if text is not None:
        (folder / "cog.lock").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(CogError, match=said) as caught:
        read_lock(load_project())

    assert "`cog lock`" in (caught.value.hint or "")


def test_output_of_the_resolver_is_parted_into_what_has_a_hash_and_what_has_not() -> None:
    text = """--only-binary numpy

six==1.16.0 \\
    --hash=sha256:2 \\
    --hash=sha256:1
./own
thing @ git+https://github.com/me/thing@0123456789
file:///work/x/wheels/a-1-py3-none-any.whl \\
    --hash=sha256:3
b @ file:///work/x/wheels/b-1-py3-none-any.whl
"""

    options, packages, unhashed = parse_compiled(text, Path("/work/x"))

    assert options == ["--only-binary numpy"]
    assert packages == [
        LockedPackage("./wheels/a-1-py3-none-any.whl", ("sha256:3",)),
        LockedPackage("six==1.16.0", ("sha256:1", "sha256:2")),
    ]
    assert unhashed == ["./own", "./wheels/b-1-py3-none-any.whl", "thing @ git+https://github.com/me/thing@0123456789"]


def test_a_name_with_a_digest_is_known_without_asking() -> None:
    assert identify_image(f"example.com/x@{DIGEST}").reference == f"example.com/x@{DIGEST}"


def test_an_image_known_by_its_digest_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    check_images((BaseImage("python:3.11", digest=DIGEST), BaseImage("python:3.12")))
    with pytest.raises(CogError, match=r"python:3\.13 is not here"):
        check_images((BaseImage("python:3.13", id=DIGEST),))


def test_a_lock_that_cannot_be_made_leaves_the_old_one(folder: Path) -> None:
    (folder / "requirements.txt").write_text("--no-index\nno-such-package-4711\n")
    (folder / "cog.lock").write_text("old")

    with pytest.raises(CogError, match=r"packages of `build\.python_requirements` cannot be locked"):
        write_lock(load_project(), platform="linux/amd64", ca_cert=None, is_offline=True, identify=BaseImage)

    assert (folder / "cog.lock").read_text() == "old"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".cog")] == []


def test_without_packages_there_is_nothing_to_ask(project: WriteProject, cog: Cog) -> None:
    folder = project()

    first = cog("lock", folder=folder, environment={"PATH": "/nowhere"})
    text = (folder / "cog.lock").read_text()
    second = cog("lock", folder=folder, environment={"PATH": "/nowhere"})

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert (folder / "cog.lock").read_text() == text
    assert "no digest" in first.stderr
    answer = cog("dockerfile", "--locked", folder=folder)
    assert answer.stdout == cog("dockerfile", folder=folder).stdout


def test_locked_and_another_base_image_exclude_each_other(project: WriteProject, cog: Cog) -> None:
    answer = cog("dockerfile", "--locked", "--base-image", "python:3.12", folder=project())

    assert answer.returncode == 2
    assert "exclude each other" in answer.stderr
