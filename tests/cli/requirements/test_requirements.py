"""Reading requirements: what pip and uv would read, and a clear word where they would fail."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from uv import find_uv_bin

from cog_cli.config import Build
from cog_cli.errors import ConfigError
from cog_cli.requirements.lines import Requirement, parse_requirement
from cog_cli.requirements.packages import Requirements, StagedFile, read_requirements


def locate(key: str) -> str:
    return f"cog.yaml:{key}"


def read(root: Path, *packages: str, file: str | None = None) -> Requirements:
    build = Build.model_construct(python_packages=packages, python_requirements=file)
    return read_requirements(build, root, locate=locate)


def read_file(root: Path, text: str | bytes, name: str = "r.txt") -> Requirements:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(root, file=name)


def refusal(root: Path, text: str | bytes, name: str = "r.txt") -> str:
    with pytest.raises(ConfigError) as caught:
        read_file(root, text, name)
    return str(caught.value)


def test_project_without_packages_needs_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == Requirements()


# --- one requirement ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "extras", "specifier"),
    [
        ("numpy", "numpy", set(), ""),
        ("Ruamel.Yaml == 0.18.6", "ruamel-yaml", set(), "==0.18.6"),
        ("opencv_python>=4,<5", "opencv-python", set(), ">=4,<5"),
        ("requests[Socks,security]~=2.31", "requests", {"socks", "security"}, "~=2.31"),
        ("torch===2.5.1", "torch", set(), "===2.5.1"),
        ("torch==2.5.1+cu121", "torch", set(), "==2.5.1+cu121"),
        ("jax[cuda12_pip]", "jax", {"cuda12-pip"}, ""),
        ("numpy (>=1.0)", "numpy", set(), ">=1.0"),
        ("git+https://github.com/huggingface/transformers@2d1602a", "", set(), ""),
        ("git+https://example.org/x.git#egg=My_Pkg[a]&subdirectory=y", "my-pkg", {"a"}, ""),
        ("torch @ https://example.org/torch-2.0.0-cp310-cp310-linux_x86_64.whl", "torch", set(), ""),
        ("https://example.org/torch-2.3.1%2Bcu121-cp310-cp310-linux_x86_64.whl", "torch", set(), "==2.3.1+cu121"),
        ("https://example.org/pkg-1.0.tar.gz", "pkg", set(), "==1.0"),
        ("./wheels/my_pkg-1.0-py3-none-any.whl", "my-pkg", set(), "==1.0"),
        ("my_pkg-1.0-py3-none-any.whl[extra]", "my-pkg", {"extra"}, "==1.0"),
    ],
)
def test_every_form_of_requirement_is_understood(text: str, name: str, extras: set[str], specifier: str) -> None:
    requirement = parse_requirement(text)

    assert requirement.name == name
    assert set(requirement.extras) == extras
    assert requirement.specifier == SpecifierSet(specifier)


@pytest.mark.parametrize(
    ("marker", "python", "machine", "expected"),
    [
        ('python_version < "3.9"', "3.8", "x86_64", True),
        ('python_version < "3.9"', "3.10", "x86_64", False),
        ('python_full_version >= "3.11.2"', "3.11.4", "x86_64", True),
        ('sys_platform == "win32"', "3.12", "x86_64", False),
        ('platform_system == "Linux" and platform_machine == "aarch64"', "3.12", "aarch64", True),
        ('platform_machine == "aarch64"', "3.12", "x86_64", False),
        ('extra == "dev"', "3.12", "x86_64", False),
        ('python_version < "3.14"', "3.13t", "x86_64", True),
    ],
)
def test_marker_is_judged_for_the_image_not_for_this_machine(
    marker: str, python: str, machine: str, expected: bool
) -> None:
    assert parse_requirement(f"numpy; {marker}").applies(python=python, machine=machine) is expected
    assert parse_requirement(f"https://e.org/a-1.zip ; {marker}").applies(python=python, machine=machine) is expected


# --- a file -------------------------------------------------------------------------------------------------------


def test_installer_gets_the_users_bytes(tmp_path: Path) -> None:
    text = b"# heading\r\n\r\nnumpy==1.26 \\\r\n    --hash=sha256:aa \\\r\n    --hash=sha256:bb  # why\r\ngit+https://e.org/x#egg=y\r\n"

    requirements = read_file(tmp_path, text)

    assert requirements.source == "r.txt"
    assert requirements.files == (StagedFile("r.txt"),)
    assert "\n".join(requirements.lines).encode() == text
    numpy, other = requirements.entries
    assert numpy.hashes == ("sha256:aa", "sha256:bb")
    assert (numpy.where, numpy.key) == ("r.txt:3:1", "build.python_requirements")
    assert other.name == "y" and requirements.uses_git


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("numpy # torch", ["numpy"]),
        ("  numpy", ["numpy"]),
        ("#numpy", []),
        ("\tnumpy\t#x", ["numpy"]),
        ("numpy\x0c", ["numpy"]),
        ("\ufeffnumpy", ["numpy"]),
        ("numpy>=1\\\n,<2", ["numpy"]),
        ("# a comment \\\nnumpy", ["numpy"]),
        ("numpy\\", ["numpy"]),
    ],
)
def test_comments_and_continuations_are_read_as_pip_reads_them(tmp_path: Path, line: str, names: list[str]) -> None:
    assert [entry.name for entry in read_file(tmp_path, line).entries] == names


def test_options_of_the_index_are_collected(tmp_path: Path) -> None:
    requirements = read_file(
        tmp_path,
        "-i https://a.example/simple\n--extra-index-url=https://${TOKEN}@b.example\n-f https://c.example/links\n"
        "--pre\n--no-index\n--require-hashes\n--trusted-host d.example\n--no-binary :all:\nnumpy -C a=b\n",
    )

    options = requirements.options
    assert options.index_url == "https://a.example/simple"
    assert options.extra_index_urls == ("https://${TOKEN}@b.example",)
    assert options.find_links == ("https://c.example/links",)
    assert options.allows_prereleases and options.has_no_index and options.requires_hashes
    assert options.trusted_hosts == ("d.example",)
    assert options.config_settings == ("numpy:a=b",)
    assert requirements.lines[-2] == "numpy"


def test_included_files_are_read_and_staged(tmp_path: Path) -> None:
    (tmp_path / "deps" / "more").mkdir(parents=True)
    (tmp_path / "deps" / "a.txt").write_text("-r more/b.txt\n-c ../limits.txt\nscipy\n")
    (tmp_path / "deps" / "more" / "b.txt").write_text("pandas\n")
    (tmp_path / "limits.txt").write_text("numpy<2\n")

    requirements = read_file(tmp_path, "-r deps/a.txt\nnumpy\n")

    assert [(entry.name, entry.is_constraint) for entry in requirements.entries] == [
        ("pandas", False),
        ("numpy", True),
        ("scipy", False),
        ("numpy", False),
    ]
    assert [file.path for file in requirements.files] == ["r.txt", "deps/a.txt", "deps/more/b.txt", "limits.txt"]
    assert requirements.entries[0].where == "deps/more/b.txt:1:1"


def test_same_file_may_be_included_twice(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("numpy\n")

    assert len(read_file(tmp_path, "-r a.txt\n-r a.txt\n").files) == 2


def test_local_packages_are_staged(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "pyproject.toml").touch()
    (tmp_path / "a_b-1.0-py3-none-any.whl").touch()
    (tmp_path / "links").mkdir()

    requirements = read_file(tmp_path, "-e ./pkg\nfile:a_b-1.0-py3-none-any.whl\n--find-links ./links\n")

    assert requirements.files[1:] == (
        StagedFile("pkg", is_folder=True),
        StagedFile("a_b-1.0-py3-none-any.whl"),
        StagedFile("links", is_folder=True),
    )
    assert requirements.entries[0].is_editable


@pytest.mark.parametrize("line", ["cog==0.9.4", "Cog", "coglet>=0.1", "cog @ git+https://example.org/cog"])
def test_cog_itself_is_left_out_with_a_warning(tmp_path: Path, line: str) -> None:
    requirements = read_file(tmp_path, f"numpy\n{line}\nscipy\n")

    assert requirements.lines == ("numpy", "scipy", "")
    assert requirements.files == (StagedFile("r.txt", content=b"numpy\nscipy\n"),)
    assert [entry.name for entry in requirements.entries] == ["numpy", "scipy"]
    assert requirements.warnings == (
        f"r.txt:2:1: `{line}` is left out: the image carries its own {line[:6].strip('>= @').split('=')[0].lower()}",
    )


def test_symbolic_link_inside_the_project_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("numpy\n")
    (tmp_path / "r.txt").symlink_to("real.txt")

    requirements = read(tmp_path, file="r.txt")

    assert requirements.source == "r.txt"
    assert [entry.name for entry in requirements.entries] == ["numpy"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-r r.txt\n", "r.txt:1:1: `build.python_requirements`: include cycle: r.txt -> r.txt"),
        ("numpy\n\n  torch=2.0\n", "r.txt:3:3: `build.python_requirements`: `torch=2.0` is not a requirement"),
        ("torch=2.0\n", "Write `torch==2.0`."),
        ("torch 2.0\n", "Write `torch==2.0`."),
        ("numpy#comment\n", "A comment needs a space before its `#`."),
        ("torch==${V}\n", "variables are replaced in URLs only"),
        ("numpy>>1\n", "is not a requirement"),
        ("--target /etc\n", "`--target` is not allowed here"),
        ("numpy --user\n", "`--user` is not allowed here"),
        ("--hash\n", "`--hash` needs a value"),
        ("-r\n", "`-r` needs a value"),
        ("numpy --pre\n", "`--pre` must stand on a line of its own"),
        ("numpy --hash='a\n", "quotes do not match"),
        ("-r ../outside.txt\n", "../outside.txt must stay inside the project"),
        ("-r /etc/passwd\n", "/etc/passwd must stay inside the project"),
        ("-r missing.txt\n", "missing.txt does not exist"),
        ("-r .\n", ". is a directory"),
        ("./missing.whl\n", "./missing.whl does not exist"),
        ("-e .\n", ". is not a package"),
        ("file:///etc/x.whl\n", "is an absolute path"),
        ("x @ file:///etc/x.whl\n", "is an absolute path"),
        ("../x.whl\n", "must stay inside the project"),
        (b"numpy\xff\n", "r.txt:1:6: `build.python_requirements`: not valid UTF-8"),
        ("numpy\n".encode("utf-16"), "it looks like UTF-16"),
        (b"\x00\x01", "a binary file"),
        (b"#" * (1 << 21), "larger than 1 MiB"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_unusable_file_is_refused_with_file_and_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_cycle_over_several_files_names_them_all(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("-r c.txt\n")
    (tmp_path / "c.txt").write_text("-r b.txt\n")

    assert "c.txt:1:1: `build.python_requirements`: include cycle: b.txt -> c.txt -> b.txt" in refusal(
        tmp_path, "-r b.txt\n"
    )


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, "a=1\nb=2\n-r missing.txt\n").splitlines()) == 6


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.symlink_to("/etc/shadow"), "r.txt is a symbolic link that leaves the project"),
        (lambda path: path.symlink_to("r.txt"), "r.txt is a symbolic link that leads back to itself"),
        (lambda path: path.mkdir(), "r.txt is a directory"),
        (lambda path: os.mkfifo(path), "r.txt is not a regular file"),
        (lambda path: None, "r.txt does not exist"),
    ],
    ids=["link out", "link loop", "directory", "fifo", "missing"],
)
def test_thing_that_is_no_file_is_refused(tmp_path: Path, make: object, expected: str) -> None:
    make(tmp_path / "r.txt")  # type: ignore[operator]  # the table holds functions of a path

    with pytest.raises(ConfigError) as caught:
        read(tmp_path, file="r.txt")

    assert f"cog.yaml:build.python_requirements: `build.python_requirements`: {expected}" in str(caught.value)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "."])
def test_path_of_the_file_stays_inside_the_project(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must stay inside the project|is a directory"):
        read(tmp_path, file=name)


# --- python_packages ----------------------------------------------------------------------------------------------


def test_inline_options_get_lines_of_their_own(tmp_path: Path) -> None:
    requirements = read(
        tmp_path,
        "torch==1.11.0 --extra-index-url=https://a.example",
        "--pre -f https://b.example",
        "x --hash=sha256:aa",
    )

    assert requirements.source is None
    assert requirements.lines == (
        "--extra-index-url https://a.example",
        "torch==1.11.0",
        "--pre",
        "--find-links https://b.example",
        "x --hash=sha256:aa",
    )
    assert requirements.entries[0].where == "cog.yaml:build.python_packages[0]"


@pytest.mark.parametrize("text", ["numpy\nRUN id", "numpy\rx", "a\0b"])
def test_newline_in_an_inline_package_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "scipy", text)

    problem = caught.value.problems[0]
    assert problem.key == "build.python_packages[1]"
    assert "newline" in problem.message


def test_requirement_is_a_plain_value() -> None:
    assert parse_requirement("numpy==1") == Requirement("numpy", specifier=SpecifierSet("==1"), text="numpy==1")


# --- other files that say what to install -------------------------------------------------------------------------

PYPROJECT = """
[project]
name = "demo"
version = "0"
requires-python = ">=3.9"
dependencies = ["torch==2.5.1", "idna[all]>=3 ; python_version > '3'", "local"]
[tool.uv.sources]
torch = { index = "cu121" }
idna = { git = "https://example.org/idna", tag = "v3" }
local = { path = "local" }
[[tool.uv.index]]
name = "cu121"
url = "https://download.pytorch.org/whl/cu121"
"""


def test_pyproject_is_read_with_its_sources(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "setup.py").touch()

    requirements = read_file(tmp_path, PYPROJECT, "pyproject.toml")

    assert requirements.source is None
    assert requirements.lines == (
        "--extra-index-url https://download.pytorch.org/whl/cu121",
        "torch==2.5.1",
        "idna[all] @ git+https://example.org/idna@v3 ; python_version > '3'",
        "./local",
    )
    assert requirements.files == (StagedFile("local", is_folder=True),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[project", "pyproject.toml: `build.python_requirements`: not valid TOML"),
        ("[project]\nname = 'x'\ndynamic = ['dependencies']\n", "are dynamic"),
        ("[tool.poetry.dependencies]\nx = '*'\n", "Run `poetry export`"),
    ],
)
def test_pyproject_that_names_no_packages_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path, text, "pyproject.toml")


LOCK = """version = 1
revision = 3
requires-python = ">=3.99"

[[package]]
name = "demo"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "idna", marker = "sys_platform == 'linux'" }]

[package.metadata]
requires-dist = [{ name = "idna", marker = "sys_platform == 'linux'" }]

[[package]]
name = "idna"
version = "3.7"
source = { registry = "https://example.org/simple" }
wheels = [
    { url = "https://example.org/idna-3.7-py3-none-any.whl", hash = "sha256:HASH", size = 1 },
]
"""


def test_uv_lock_is_installed_with_its_hashes(tmp_path: Path) -> None:
    project = "[project]\nname = 'demo'\nversion = '0'\nrequires-python = '>=3.99'\ndependencies = ['idna']\n"
    (tmp_path / "pyproject.toml").write_text(project)

    requirements = read_file(tmp_path, LOCK.replace("HASH", "a" * 64), "uv.lock")

    assert requirements.lines == (
        "--extra-index-url https://example.org/simple",
        "idna==3.7 ; sys_platform == 'linux' --hash=sha256:" + "a" * 64,
    )
    beside = read(tmp_path, file="pyproject.toml")
    assert beside.lines == requirements.lines
    assert "uv.lock lies beside pyproject.toml" in beside.warnings[0]


def test_uv_lock_that_uv_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'demo'\nversion = '0'\n")

    assert "uv cannot read it" in refusal(tmp_path, "nonsense", "uv.lock")


def test_compiled_requirements_are_installed_instead_of_their_source(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy==1.26.4\n")

    requirements = read_file(tmp_path, "numpy\n", "requirements.in")

    assert requirements.source == "requirements.txt"
    assert "requirements.txt lies beside requirements.in" in requirements.warnings[0]


# --- the installer agrees -----------------------------------------------------------------------------------------


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + requires
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def installed_from(requirements: Requirements, root: Path, staged: Path, arguments: tuple[str, ...]) -> set[str]:
    """What uv would install from the staged files alone, without a network."""
    for file in requirements.files:
        target = staged / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_folder:
            shutil.copytree(root / file.path, target, dirs_exist_ok=True)
        else:
            target.write_bytes((root / file.path).read_bytes() if file.content is None else file.content)
    source = requirements.source or "packages.txt"
    if requirements.source is None:
        (staged / source).write_text("\n".join(requirements.lines))
    command = [find_uv_bin(), "--no-config", "--directory", str(staged), "pip", "install", "--dry-run", "--offline"]
    command += ["--no-cache", "--target", str(staged / "site"), "--python", sys.executable, *arguments, "-r", source]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"^ \+ ([\w.=-]+)", result.stderr, re.MULTILINE))


def test_staged_files_are_all_that_the_installer_needs(tmp_path: Path) -> None:
    root, staged = tmp_path / "project", tmp_path / "staged"
    for version in ("1.0", "2.0"):
        make_wheel(root / "wheels", "alpha", version)
    make_wheel(root / "wheels", "beta", "1.0", "Requires-Dist: alpha\n")
    local = make_wheel(root / "own", "gamma", "3.0")
    digest = hashlib.sha256((root / "wheels" / "beta-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (root / "deps").mkdir()
    (root / "deps" / "more.txt").write_text("-c ../limits.txt\ncog==0.9\nalpha\n")
    (root / "limits.txt").write_text("alpha<2\n")

    requirements = read_file(
        root,
        "--no-index\n--find-links ../wheels\n-r ../deps/more.txt\n"
        f"beta==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{digest}\n"
        f"nothing; sys_platform == 'win32'\n./own/{local.name}\nalpha>=0\\\n,<9\n",
        "deploy/requirements.txt",
    )

    installed = installed_from(requirements, root, staged, ("--no-verify-hashes",))
    assert installed == {"alpha==1.0", "beta==1.0", "gamma"}  # uv names a file without its version


def test_inline_packages_are_lines_that_the_installer_reads(tmp_path: Path) -> None:
    root, staged = tmp_path / "project", tmp_path / "staged"
    staged.mkdir()
    make_wheel(root / "wheels", "alpha", "1.0")

    requirements = read(root, "--no-index -f ./wheels", "alpha[extra]~=1.0 --no-binary beta", "--pre")

    assert installed_from(requirements, root, staged, ()) == {"alpha==1.0"}
