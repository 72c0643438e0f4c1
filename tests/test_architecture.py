"""What ARCHITECTURE.md, CONTRIBUTING.md and the records of decisions say of the tree is so."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ARCHITECTURE = REPOSITORY / "ARCHITECTURE.md"
RECORDS = sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))
INDEX = REPOSITORY / "docs" / "decisions" / "README.md"
PAGES = [ARCHITECTURE, REPOSITORY / "CONTRIBUTING.md", INDEX, *RECORDS]
PACKAGES = ("cog", "cog_cli", "cog_server")

_FOLDERS = "|".join((*PACKAGES, "benchmarks", "docs", "examples", "templates", "tests", "tools"))
# A path from the root, wherever it stands, and the name of a file in backticks.
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/[\w./-]*")
_FILE = re.compile(r"`([\w.-]+\.(?:example|in|j2|json|lock|md|py|toml|txt))`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_ROW = re.compile(r"^\| `([^`]+)` .*\|$", re.MULTILINE)
# Places for names, and files of the user's.
_NO_PATH = re.compile(r"NAME|NNN")
_OF_USERS = {"cog.lock", "predict.py"}


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _section(title: str) -> str:
    return _text(ARCHITECTURE).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _paths(page: Path) -> Iterator[Path]:
    """What a page names. A file without a folder is in the folder that its row of a table begins with, or in the root."""
    for line in _text(page).splitlines():
        row = _ROW.match(line)
        folder = REPOSITORY / row[1] if row and row[1].endswith("/") else REPOSITORY
        for path in map(str, _PATH.findall(line)):
            if not _NO_PATH.search(path):
                yield REPOSITORY / path.rstrip(".")
        for name in map(str, _FILE.findall(line)):
            if not _NO_PATH.search(name) and name not in _OF_USERS:
                yield folder / name


def _folders(package: str) -> Iterator[str]:
    """Every folder of a package, from the root."""
    for place, names, _ in os.walk(REPOSITORY / package):
        names[:] = [name for name in names if not name.startswith((".", "__"))]
        for name in names:
            yield f"{Path(place, name).relative_to(REPOSITORY).as_posix()}/"


def _layers(package: str) -> list[list[str]]:
    """The layers of a package's contract, the highest first."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    contracts = toml.loads(_text(REPOSITORY / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == [package])
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def _source_text() -> str:
    """The text of all that ships: code, templates and the server's requirements."""
    files = (
        path
        for folder in (*PACKAGES, "templates")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".j2", ".in")
    )
    return "\n".join(map(_text, files))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    missing = [str(path.relative_to(REPOSITORY)) for path in _paths(page) if not path.exists()]

    assert not missing


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    assert [link for link in _LINK.findall(_text(page)) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("package", ["cog_cli", "cog_server"])
def test_every_folder_is_in_the_table_of_rooms(package: str) -> None:
    rooms = _ROW.findall(_section("Rooms"))

    assert [folder for folder in _folders(package) if folder not in rooms] == []


@pytest.mark.parametrize("package", ["cog_cli", "cog_server"])
def test_the_table_of_rooms_is_in_the_order_of_the_layers(package: str) -> None:
    rooms = [re.sub(r"/|\.py", "", room.removeprefix(f"{package}/")) for room in _ROW.findall(_section("Rooms"))]
    level = {name: number for number, names in enumerate(_layers(package)) for name in names}

    assert [name for name in level if name not in rooms] == []
    numbers = [level[room] for room in rooms if room in level]
    assert numbers == sorted(numbers)


def test_the_reading_order_has_ten_files() -> None:
    files = re.findall(r"^\d+\. `([^`]+)`:", _section("Reading order"), re.MULTILINE)

    assert len(files) == len(set(files)) == 10
    assert all((REPOSITORY / file).is_file() for file in files)


def test_every_decision_is_in_the_index_in_order() -> None:
    assert re.findall(r"\]\(([^)]+)\)", _text(INDEX)) == [record.name for record in RECORDS]
    assert [int(record.name[:3]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_every_decision_is_named_in_the_code_and_no_other() -> None:
    named = set(re.findall(r"docs/decisions/([\w-]+\.md)", _source_text()))

    assert named == {record.name for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_is_short_and_complete(record: Path) -> None:
    text = _text(record)

    assert 8 <= len(text.splitlines()) <= 20
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Rejected", "Code"]
    assert text.startswith(f"# {record.name[:3]}: ")
    for code in re.findall(r"^\*\*Code\.\*\* `(.+)`$", text, re.MULTILINE):
        assert f"docs/decisions/{record.name}" in _text(REPOSITORY / code)
