"""What `-i name=value` comes to."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cog.file_names import extension_of
from cog_cli.errors import CogError
from cog_cli.prediction.inputs import Inputs, read_inputs
from cog_cli.source import read_source

SOURCE = """
from datetime import date
from typing import Any, Dict, List, Literal, Optional, Set, Tuple, Union
from cog import Input, Path, Secret

def predict(
    words: List[str] = Input(choices=["a", "b"], default=[]),
    sizes: Set[int] = Input(choices=[1, 2], default=[]),
    strength: float = Input(choices=[0.5, 1], default=1),
    flag: bool = Input(choices=[True], default=True),
    mixed: Literal["x", 1, True, "1"] = "x",
    either: Optional[Union[int, str]] = None,
    text: Union[str, Secret] = "",
    days: List[Union[date, bool]] = [],
    number: Optional[float] = None,
    pair: Tuple[int, str] = (1, "a"),
    table: Dict[str, List[int]] = {},
    free: Any = None,
    image: Optional[Path] = None,
    images: List[Path] = [],
    file_or_text: Union[Path, str] = "",
    text_or_file: Union[str, Path] = "",
) -> str:
    return ""
"""


@pytest.fixture
def read_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "predict.py").write_text(textwrap.dedent(SOURCE))
    spec = read_source("predict.py:predict", tmp_path)
    monkeypatch.chdir(tmp_path)
    return lambda *pairs: read_inputs(pairs, None, spec)


@pytest.fixture
def read(read_all: Any) -> Any:
    return lambda *pairs: read_all(*pairs).values


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["words=a", "words=b"], {"words": ["a", "b"]}),
        (['words=["a", "b"]'], {"words": ["a", "b"]}),
        (["words=[]"], {"words": []}),
        (["sizes=[1, 2]"], {"sizes": [1, 2]}),
        (["sizes=1", "sizes=2"], {"sizes": [1, 2]}),
        (["strength=1.0"], {"strength": 1}),
        (["strength=0.50"], {"strength": 0.5}),
        (["flag=true"], {"flag": True}),
        (["flag=yes"], {"flag": True}),
        (["mixed=1"], {"mixed": 1}),
        (["mixed=true"], {"mixed": True}),
        (["mixed=x"], {"mixed": "x"}),
        (["either=3"], {"either": 3}),
        (["either=3.5"], {"either": "3.5"}),
        (["either=[1]"], {"either": "[1]"}),
        (["text=12"], {"text": "12"}),
        (["text=true"], {"text": "true"}),
        (["days=2024-01-02", "days=true"], {"days": ["2024-01-02", True]}),
        (["number="], {"number": None}),
        (["number=1e3"], {"number": 1000.0}),
        (["pair=3", "pair=4"], {"pair": [3, "4"]}),
        (['table={"a": [1]}'], {"table": {"a": [1]}}),
        (["free=null"], {"free": None}),
        (["free=a b"], {"free": "a b"}),
    ],
    ids=str,
)
def test_text_is_read_as_the_type_of_its_input(read: Any, pairs: list[str], expected: dict[str, Any]) -> None:
    assert repr(read(*pairs)) == repr(expected)


@pytest.mark.parametrize(
    ("pair", "place"),
    [
        ("words=c", "words.0"),
        ("sizes=3", "sizes.0"),
        ("strength=0.7", "strength"),
        ("flag=no", "flag"),
        ("mixed=2", "mixed"),
    ],
)
def test_what_is_no_choice_is_refused(read: Any, pair: str, place: str) -> None:
    with pytest.raises(CogError, match=f"- {place}: "):
        read(pair)


def test_a_list_of_files_keeps_its_order(read_all: Any, tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png"):
        (tmp_path / name).write_text(name)

    found: Inputs = read_all("images=@b.jpg", "images=https://example.com/c", "images=@a.png", "images=@b.jpg")

    assert found.values == {"images": ["upload:file0", "https://example.com/c", "upload:file1", "upload:file2"]}
    assert [(upload.part, upload.path.name, upload.media_type) for upload in found.uploads] == [
        ("file0", "b.jpg", "image/jpeg"),
        ("file1", "a.png", "image/png"),
        ("file2", "b.jpg", "image/jpeg"),
    ]


@pytest.mark.parametrize(("name", "extension"), [("a.npy", ".npy"), ("a.parquet", ".parquet"), ("a.tar.gz", ".gz")])
def test_the_type_of_a_file_gives_the_server_its_extension(
    read_all: Any, tmp_path: Path, name: str, extension: str
) -> None:
    (tmp_path / name).write_bytes(b"x")

    found: Inputs = read_all(f"image=@{name}")

    assert extension_of(found.uploads[0].media_type) == extension


@pytest.mark.parametrize("scheme", ["https", "s3", "gs", "az", "hf", "file"])
def test_a_url_is_passed_on_as_it_is(read_all: Any, scheme: str) -> None:
    found: Inputs = read_all(f"image={scheme}://place/a%20b?c=d")

    assert found == Inputs({"image": f"{scheme}://place/a%20b?c=d"})


def test_a_file_is_a_text_where_the_server_takes_a_text(read_all: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")

    found: Inputs = read_all("file_or_text=@a.txt", "text_or_file=@a.txt", "free=@a.txt")

    url = "data:text/plain;base64,eA=="
    assert found.values == {"file_or_text": "upload:file0", "text_or_file": url, "free": url}
    assert len(found.uploads) == 1


def test_a_text_that_looks_like_a_file_is_none(read_all: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")

    found: Inputs = read_all("text=upload:file0", "image=@a.txt")

    assert found.values["text"] != found.values["image"] == found.uploads[0].reference


def test_a_pipe_is_refused_without_waiting(read_all: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(CogError, match="pipe is not a regular file"):
        read_all("image=@pipe")


def test_what_proc_calls_empty_is_read(read_all: Any) -> None:
    found: Inputs = read_all("image=@/proc/self/status")

    assert found.uploads[0].size_bytes() > 100
