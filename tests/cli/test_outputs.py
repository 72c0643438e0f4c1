"""What a prediction gave back, on stdout or in files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cog_cli.errors import CogError
from cog_cli.outputs import write_output, write_prediction


def url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("text", "text\n"),
        ("data:not a file", "data:not a file\n"),
        (3, "3\n"),
        (["a", "b"], '[\n  "a",\n  "b"\n]\n'),
        ({"a": "ä"}, '{\n  "a": "ä"\n}\n'),
        (None, ""),
    ],
    ids=str,
)
def test_what_is_no_file_goes_to_stdout(
    output: Any, shown: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_output(output, None)

    assert capsys.readouterr().out == shown
    assert files(here) == {}


def test_the_pieces_of_one_text_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    write_output(["Hel", "lo"], None, is_text=True)

    assert capsys.readouterr().out == "Hello\n"


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        ("image/png", "output.png"),
        ("image/jpeg", "output.jpg"),
        ("audio/mpeg", "output.mp3"),
        ("text/plain", "output.txt"),
        ("application/octet-stream", "output.bin"),
        ("no/such", "output.bin"),
    ],
)
def test_a_file_gets_the_extension_of_its_type(
    media_type: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_output(url(b"x", media_type), None)

    assert files(here) == {name: b"x"}
    assert capsys.readouterr().out == ""


def test_files_in_lists_and_objects_are_numbered_and_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output([url(b"0", "image/png"), url(b"1", "image/png")], None)
    assert capsys.readouterr().out == ""
    write_output({"note": "n", "deep": [{"a/b": url(b"2", "image/png")}]}, None)

    assert files(here) == {"output.0.png": b"0", "output.1.png": b"1", "output.deep.0.a_b.png": b"2"}
    assert json.loads(capsys.readouterr().out) == {"note": "n", "deep": [{"a/b": "output.deep.0.a_b.png"}]}


def test_the_name_given_is_the_name(here: Path) -> None:
    write_output(url(b"x", "image/png"), "picture")
    write_output("text", "text.txt")
    write_output([url(b"0", "image/png")], "many.jpg")

    assert files(here) == {"picture": b"x", "text.txt": b"text", "many.0.jpg": b"0"}


def test_a_name_that_cannot_be_written_is_an_error(here: Path) -> None:
    with pytest.raises(CogError, match="no/such/folder"):
        write_output("text", "no/such/folder/file")


def test_a_whole_prediction_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_prediction({"status": "failed"}, None)

    assert json.loads(capsys.readouterr().out) == {"status": "failed"}
