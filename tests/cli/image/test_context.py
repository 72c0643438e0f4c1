"""What a build is given to read: the staged folder, what is left out of the project, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cog_cli.errors import CogError
from cog_cli.image.context import LARGE_CONTEXT_BYTES, StagedContext, stage_context
from cog_cli.image.dockerignore import Ignore
from cog_cli.requirements.packages import Requirements
from tests.cli.image.project_cases import CASES, FOLDER, plan_for, requirements_of

MINIMAL = plan_for(FOLDER / "cpu-minimal")


def stage(project: Path, folder: Path) -> StagedContext:
    return stage_context(MINIMAL, Requirements(), project, folder)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Path to permissions and content of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode & 0o777, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


# --- what is staged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_everything_the_dockerfile_reads_from_cog_is_there(case: Path, tmp_path: Path) -> None:
    staged = stage_context(plan_for(case), requirements_of(case), case, tmp_path)

    text = staged.dockerfile.read_text()
    sources = {part.partition("source=")[2].split(",")[0] for part in text.split("--mount=")[1:] if "from=cog," in part}

    assert text == (case / "expected.Dockerfile").read_text()
    assert [name for name in sources if not (staged.cog_context / name).exists()] == []
    assert (staged.cog_context / "cog.yaml").exists() == ("--from=cog cog.yaml" in text)


def test_requirements_keep_their_paths_and_lose_only_what_cog_brings_itself(tmp_path: Path) -> None:
    case = FOLDER / "requirements-file"

    staged = stage_context(plan_for(case), requirements_of(case), case, tmp_path)

    files = {name: content for name, (mode, content) in tree(staged.cog_context / "requirements").items() if content}
    original = {name: (case / name).read_bytes() for name in files}
    assert sorted(files) == [
        "requirements/base.txt",
        "requirements/constraints.txt",
        "requirements/main.txt",
        "vendor/hello-1.0-py3-none-any.whl",
    ]
    assert {name for name in files if files[name] != original[name]} == {"requirements/main.txt"}
    assert files["requirements/main.txt"] == original["requirements/main.txt"].replace(b"cog>=0.9\n", b"")


def test_packages_of_cog_yaml_become_a_file(tmp_path: Path) -> None:
    case = FOLDER / "inline-packages"

    staged = stage_context(plan_for(case), requirements_of(case), case, tmp_path)

    lines = (staged.cog_context / "requirements" / ".cog-packages.txt").read_text().splitlines()
    assert lines == [
        "--extra-index-url https://pypi.org/simple",
        "uvicorn[standard]==0.34.0",
        "importlib-metadata>=8 ; python_version < '3.10'",
        "packaging>=24,<26",
    ]


def test_model_room_and_serve_room_are_two_folders_without_byte_code(tmp_path: Path) -> None:
    staged = stage(FOLDER / "cpu-minimal", tmp_path)

    library = staged.cog_context / "lib"
    assert sorted(path.relative_to(library).as_posix() for path in library.glob("*/*")) == [
        "model/cog",
        "server/cog_server",
    ]
    assert (library / "model" / "cog" / "version.py").exists()
    assert not [path for path in library.rglob("*") if path.name == "__pycache__" or path.suffix == ".pyc"]


def test_same_project_is_staged_the_same_whatever_the_umask(tmp_path: Path) -> None:
    first = stage(FOLDER / "cpu-minimal", tmp_path / "a")
    umask = os.umask(0o077)
    try:
        second = stage(FOLDER / "cpu-minimal", tmp_path / "b")
    finally:
        os.umask(umask)

    assert tree(first.cog_context) == tree(second.cog_context)


# A file that is as long as before and has the time stamp of before is not sent again by buildx: so times are left alone.
def test_staged_files_are_as_new_as_they_are(tmp_path: Path) -> None:
    old = tmp_path / "before"
    old.touch()

    staged = stage(FOLDER / "cpu-minimal", tmp_path / "staged")

    oldest = min(path.stat().st_mtime_ns for path in staged.cog_context.rglob("*") if path.is_file())
    assert oldest >= old.stat().st_mtime_ns


# --- the project -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_ignored"),
    [
        (".git/config", True),
        (".cog/venv/bin/python", True),
        (".venv/pyvenv.cfg", True),
        ("my-env/bin/python", True),
        ("pkg/__pycache__/a.cpython-311.pyc", True),
        ("data/.DS_Store", True),
        (".env", False),
        ("node_modules/x.js", False),
        (".github/workflows/ci.yml", False),
        ("weights/.git-lfs", False),
    ],
)
def test_what_no_model_needs_is_left_out(name: str, is_ignored: bool, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for path in (project / "my-env" / "pyvenv.cfg", project / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")

    staged = stage(project, tmp_path / "staged")

    lines = (tmp_path / "staged" / "Dockerfile.dockerignore").read_text().splitlines()
    assert Ignore(lines).excludes(name) == is_ignored
    assert staged.project_bytes == (0 if is_ignored else 5)


def test_the_projects_own_dockerignore_has_the_last_word(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / ".git" / "HEAD").write_text("main")
    (project / "data").write_text("much")
    (project / ".dockerignore").write_text("# mine\ndata\n.dockerignore\n!.git\n")

    staged = stage(project, tmp_path / "staged")

    assert (tmp_path / "staged" / "Dockerfile.dockerignore").read_text().endswith("\ndata\n.dockerignore\n!.git\n")
    assert staged.project_bytes == len("main")


def test_large_project_is_warned_about_with_its_largest_file(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with (project / "weights.bin").open("wb") as file:
        file.truncate(LARGE_CONTEXT_BYTES + 1)

    (warning,) = stage(project, tmp_path / "staged").warnings

    assert warning.startswith("the project is 1.1 GB")
    assert "weights.bin" in warning
    assert ".dockerignore" in warning


@pytest.mark.parametrize(
    ("target", "leads_out"),
    [("/data/weights", True), ("../weights", True), ("sub/../../x", True), ("predict.py", False), ("nowhere", False)],
)
def test_link_out_of_the_project_is_warned_about(target: str, leads_out: bool, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "weights").symlink_to(target)

    warnings = stage(project, tmp_path / "staged").warnings

    assert [warning.split(" is ")[0] for warning in warnings] == ["weights"] * leads_out


@pytest.mark.parametrize("target", ["self", "."])
def test_link_that_leads_in_a_circle_is_copied_as_a_link(target: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "self").symlink_to(target)

    assert stage(project, tmp_path / "staged").project_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["secret", "folder"])
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "sub" / "folder").mkdir(parents=True)
    (project / "sub" / "secret").write_text("x")
    (project / "sub" / name).chmod(0)
    # Root may read everything, so it becomes nobody, once it has imported what nobody may not.
    program = (
        "from tests.cli.image.test_context import *\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: stage(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except CogError as error: print(error.message, '|', error.hint)"
    )
    for above in (tmp_path, *tmp_path.parents[:3]):
        above.chmod(0o755)

    answer = subprocess.run(
        [sys.executable, "-c", program, project, tmp_path / "staged"],
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
    )

    assert answer.stdout.startswith(f"sub/{name} cannot be read: permission denied | "), answer.stderr


def test_other_config_is_copied_under_the_name_the_image_knows(tmp_path: Path) -> None:
    case = FOLDER / "other-config-name"

    staged = stage_context(plan_for(case), requirements_of(case), case, tmp_path)

    assert (staged.cog_context / "cog.yaml").read_bytes() == (case / "cog-gpu.yaml").read_bytes()


def test_nothing_to_install_stages_no_requirements(tmp_path: Path) -> None:
    staged = stage_context(replace(MINIMAL, install=None), Requirements(), FOLDER / "cpu-minimal", tmp_path)

    assert not (staged.cog_context / "requirements").exists()


# --- .dockerignore ---------------------------------------------------------------------------------------------------

FILES = (
    *("a", "b.txt", "dir/a", "dir/b.txt", "dir/sub/a", "dir/sub/c.py", "dir2/x", "[x]/y", "z/*", "x?", ".hid/a", "é/ž"),
    *("deep/1/2/3/a.log", "deep/keep", "space name/file", "#hash", "!bang", "back\\slash"),
)
PATTERNS = [
    ["*"],
    ["*", "!dir"],
    ["dir"],
    ["/dir/"],
    ["dir/*"],
    ["dir/*", "!dir/sub"],
    ["dir", "!dir/sub/c.py"],
    ["**/a"],
    ["**/*.txt"],
    ["**", "!**/a"],
    ["deep/**"],
    ["deep/**/a.log"],
    ["**/deep", "!deep/keep"],
    ["*/a"],
    ["dir?"],
    ["[a-b]*"],
    ["[^a-d]*"],
    ["\\[x\\]"],
    ["./dir/../dir2"],
    ["  b.txt  ", "# a comment", "", "#hash"],
    ["\\#hash", "\\!bang"],
    ["*name"],
    ["é"],
    ["!dir", "dir"],
    ["*", "!*/", "!**/a"],
    ["dir/**", "!dir/**/c.py"],
    ["**/sub/**"],
    ["a**"],
    ["d*r/su?"],
    ["z/\\*"],
]


def make_files(folder: Path) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.docker
def test_dockerignore_is_read_as_docker_reads_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    make_files(project)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    differences = {}

    for number, patterns in enumerate(PATTERNS):
        (tmp_path / "Dockerfile.dockerignore").write_text("\n".join(patterns) + "\n")
        output = tmp_path / str(number)
        subprocess.run(
            ["docker", "buildx", "build", "-q", "-f", dockerfile, "--output", f"type=local,dest={output}", project],
            check=True,
            capture_output=True,
        )
        sent = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
        ignore = Ignore(patterns)
        kept = {name for name in FILES if not ignore.excludes(name)}
        if kept != sent:
            differences[" ".join(patterns)] = (sorted(kept - sent), sorted(sent - kept))

    assert differences == {}


@pytest.mark.parametrize("patterns", PATTERNS, ids=" ".join)
def test_a_folder_is_skipped_only_if_nothing_in_it_is_kept(patterns: list[str]) -> None:
    ignore = Ignore(patterns)

    for name in FILES:
        for above in Path(name).parents[:-1]:
            assert not (ignore.excludes_all_below(above.as_posix()) and not ignore.excludes(name)), (above, name)


@pytest.mark.parametrize("line", ["!", "[a", "a\\"])
def test_pattern_that_docker_refuses_is_refused(line: str) -> None:
    with pytest.raises(CogError, match=r"^\.dockerignore: "):
        Ignore([line])
