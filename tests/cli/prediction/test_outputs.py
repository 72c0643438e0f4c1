"""What a prediction gave back, on stdout or in files."""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cog_cli.errors import CogError
from cog_cli.prediction.output_files import OutputFile, Place, find_files
from cog_cli.prediction.outputs import OutputOptions, check_target, write_output, write_prediction
from cog_cli.source import read_source
from tests.fakes.model_server import Answer, ModelServer


def url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named(*names: str) -> dict[Any, OutputFile]:
    """The files of a list, by these names."""
    return {(index,): OutputFile(name) for index, name in enumerate(names)}


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
    write_output(output, OutputOptions())

    assert capsys.readouterr().out == shown
    assert files(here) == {}


def test_the_pieces_of_one_text_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    write_output(["Hel", "lo"], OutputOptions(is_text=True))

    assert capsys.readouterr().out == "Hello\n"


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        ("image/png", "output.png"),
        ("image/jpeg", "output.jpg"),
        ("audio/mpeg", "output.mp3"),
        ("audio/ogg", "output.ogg"),
        ("video/x-matroska", "output.mkv"),
        ("text/plain", "output.txt"),
        ("application/octet-stream", "output.bin"),
        ("no/such", "output.bin"),
    ],
)
def test_a_file_gets_the_extension_of_its_type(
    media_type: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_output(url(b"x", media_type), OutputOptions())

    assert files(here) == {name: b"x"}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("own", "name"),
    [("result.npy", "output.npy"), ("a.jsonl", "output.jsonl"), ("song.mid", "output.mid"), ("result", "output")],
)
def test_a_file_keeps_the_extension_of_its_own_name(own: str, name: str, here: Path) -> None:
    said = {(): OutputFile(name=own, media_type="application/octet-stream")}

    write_output(url(b"x", "application/octet-stream"), OutputOptions(files=said))

    assert files(here) == {name: b"x"}


def test_files_in_lists_and_objects_are_numbered_and_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output([url(b"0", "image/png"), url(b"1", "image/png")], OutputOptions())
    assert capsys.readouterr().out == ""
    write_output({"note": "n", "deep": [{"a/b": url(b"2", "image/png")}]}, OutputOptions())

    assert files(here) == {"output.0.png": b"0", "output.1.png": b"1", "output.deep.0.a_b.png": b"2"}
    assert json.loads(capsys.readouterr().out) == {"note": "n", "deep": [{"a/b": "output.deep.0.a_b.png"}]}


def test_the_name_given_is_the_name(here: Path) -> None:
    write_output(url(b"x", "image/png"), OutputOptions("picture"))
    write_output("text", OutputOptions("text.txt"))
    write_output([url(b"0", "image/png")], OutputOptions("many.jpg"))

    assert files(here) == {"picture": b"x", "text.txt": b"text", "many.0.jpg": b"0"}


def test_a_name_that_cannot_be_written_is_an_error(here: Path) -> None:
    with pytest.raises(CogError, match="no/such/folder"):
        write_output("text", OutputOptions("no/such/folder/file"))


def test_a_whole_prediction_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_prediction({"status": "failed"}, OutputOptions())

    assert json.loads(capsys.readouterr().out) == {"status": "failed"}


PNG = url(b"x", "image/png")


def test_in_a_folder_each_file_has_its_own_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output([PNG, url(b"y", "text/plain")], OutputOptions("new/folder/", named("cat.png", "notes.md")))

    assert files(here) == {"new/folder/cat.png": b"x", "new/folder/notes.md": b"y"}
    assert capsys.readouterr().out == ""


def test_a_folder_that_exists_needs_no_slash(here: Path) -> None:
    (here / "folder").mkdir()

    write_output(PNG, OutputOptions("folder", {(): OutputFile("cat.png")}))

    assert files(here) == {"folder/cat.png": b"x"}


def test_namesakes_are_numbered_and_earlier_runs_written_over(here: Path) -> None:
    (here / "folder").mkdir()
    (here / "folder" / "a.png").write_bytes(b"of an earlier run")
    outputs = [url(bytes([65 + index]), "image/png") for index in range(4)]

    write_output(outputs, OutputOptions("folder/", named("a.png", "a.png", "A.png", "a-1.png")))

    assert files(here) == {
        "folder/a.png": b"A",
        "folder/a-1.png": b"B",
        "folder/A-2.png": b"C",
        "folder/a-1-1.png": b"D",
    }


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("..", "file"),
        ("", "file"),
        ("a/..", "file"),
        ("..\\..\\x.png", "x.png"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\0b\n.png", "a_b_.png"),
        ("a" * 300 + ".png", "a" * 196 + ".png"),
    ],
)
def test_no_name_leads_out_of_the_folder(here: Path, name: str, safe: str) -> None:
    write_output([PNG], OutputOptions("folder/", named(name)))

    assert files(here) == {f"folder/{safe}": b"x"}


def test_without_names_files_in_a_folder_are_numbered(here: Path) -> None:
    write_output([PNG, PNG], OutputOptions("folder/"))

    assert set(files(here)) == {"folder/output.0.png", "folder/output.1.png"}


def test_what_is_no_file_gets_a_name_in_a_folder(here: Path) -> None:
    write_output("text", OutputOptions("folder/"))
    write_output({"n": 1, "file": PNG}, OutputOptions("folder/", {("file",): OutputFile("output.json")}))

    found = files(here)
    assert found["folder/output.txt"] == b"text"
    assert found["folder/output.json"] == b"x"
    assert json.loads(found["folder/output-1.json"]) == {"n": 1, "file": "output.json"}


def test_a_whole_prediction_in_a_folder_has_its_files_beside_it(here: Path) -> None:
    document = {"status": "succeeded", "output": [PNG]}

    write_prediction(document, OutputOptions("folder/", named("cat.png")))

    found = files(here)
    assert found["folder/cat.png"] == b"x"
    assert json.loads(found["folder/output.json"]) == {"status": "succeeded", "output": ["cat.png"]}


def test_two_files_never_get_one_name(here: Path) -> None:
    write_output({"a/b": PNG, "a_b": url(b"y", "image/png")}, OutputOptions())

    assert files(here) == {"output.a_b.png": b"x", "output.a_b-1.png": b"y"}


@pytest.mark.parametrize(
    ("known", "complaint"),
    [
        (OutputFile("cat.png", size_bytes=2), "1 bytes, and the model wrote 2"),
        (OutputFile("cat.png", sha256=hashlib.sha256(b"y").hexdigest()), "sha256 differs"),
    ],
)
def test_what_is_not_what_the_model_wrote_is_not_written(here: Path, known: OutputFile, complaint: str) -> None:
    with pytest.raises(CogError, match=complaint):
        write_output(PNG, OutputOptions("folder/", {(): known}))
    with ModelServer(lambda received: Answer(b"x")) as server, pytest.raises(CogError):
        write_output(f"{server.url}/cat.png", OutputOptions("folder/", {(): known}))

    assert files(here) == {}


def test_an_output_at_a_url_is_fetched_where_o_says(here: Path) -> None:
    content = bytes(range(256)) * 8192
    known: dict[Place, OutputFile] = {
        (): OutputFile("cat.png", "image/png", len(content), hashlib.sha256(content).hexdigest())
    }

    with ModelServer(lambda received: Answer(content)) as server:
        output = f"{server.url}/bucket/3f2a?signature=s"
        write_output(output, OutputOptions("folder/", known))
        write_output(output, OutputOptions("picture", known))
        write_output([output], OutputOptions("many/", named("a.png")))
        write_output([output], OutputOptions("shared", named("a.png")))

    assert {path for path, found in files(here).items() if found == content} == set(files(here))
    assert set(files(here)) == {"folder/cat.png", "picture", "many/a.png", "shared.0.png"}


@pytest.mark.parametrize("target", [None, "out.txt"])
def test_a_url_that_is_no_file_stays_text(here: Path, capsys: pytest.CaptureFixture[str], target: str | None) -> None:
    write_output("https://example.com/", OutputOptions(target))

    shown = capsys.readouterr().out.strip() or (here / "out.txt").read_text()
    assert shown == "https://example.com/"


def test_without_o_a_url_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    write_output("https://example.com/a.png", OutputOptions(files={(): OutputFile("a.png")}))

    assert capsys.readouterr().out == "https://example.com/a.png\n"


def test_a_file_in_a_bucket_stays_there_and_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output(["s3://bucket/a.png", PNG], OutputOptions("folder/", named("a.png", "b.png")))

    shown = capsys.readouterr()
    assert json.loads(shown.out) == ["s3://bucket/a.png", "b.png"]
    assert "s3: URLs are not downloaded" in shown.err
    assert files(here) == {"folder/b.png": b"x"}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Answer(b"gone", 404), r"cat\.png cannot be downloaded: the answer was 404"),
        (Answer(b"x", headers={"content-length": "9"}), r"cat\.png cannot be downloaded"),
        (Answer(b"", 302, {"location": "file:///etc/passwd"}), r"cat\.png cannot be downloaded"),
        (Answer(b"", 302, {"location": "/again"}), r"cat\.png cannot be downloaded"),
        (Answer(b"larger"), r"cat\.png cannot be downloaded: it is larger than 5 bytes"),
    ],
    ids=["404", "short", "file", "loop", "large"],
)
def test_a_download_that_fails_says_why_and_leaves_what_was_there(here: Path, answer: Answer, complaint: str) -> None:
    (here / "cat.png").write_bytes(b"of an earlier run")

    with ModelServer(lambda received: answer) as server, pytest.raises(CogError, match=complaint):
        write_output(f"{server.url}/x", OutputOptions("./", {(): OutputFile("cat.png", size_bytes=5)}))

    assert files(here) == {"cat.png": b"of an earlier run"}


def test_a_place_that_nothing_can_be_written_to_is_refused_before_the_run(here: Path) -> None:
    (here / "file").write_text("")

    for target in ("file/", "no/such/file"):
        with pytest.raises(CogError, match="-o "):
            check_target(target)
    for allowed in (None, "new", "./", "new/folder/"):
        check_target(allowed)


SOURCE = """
from typing import Any, Dict, Iterator, List, NamedTuple, Union
from cog import BaseModel, Path

class Out(BaseModel):
    picture: Path
    page: str
    more: List[Path]
    tables: Dict[str, Path]
    either: Union[int, Path]

def predict() -> Iterator[Out]:
    yield None
"""


def test_urls_are_files_where_the_predictor_gives_files(here: Path) -> None:
    (here / "predict.py").write_text(textwrap.dedent(SOURCE))
    spec = read_source("predict.py:predict", here)
    assert spec is not None
    link = "https://example.com/x/out%20put.png?signature=s"
    item = {"picture": link, "page": link, "more": [link], "tables": {"a": "s3://b/c"}, "either": link}

    found = find_files({"output": [item]}, spec.output)

    assert {place: file.name for place, file in found.items()} == {
        (0, "picture"): "out put.png",
        (0, "more", 0): "out put.png",
        (0, "tables", "a"): "c",
        (0, "either"): "out put.png",
    }


def test_of_what_a_server_says_only_what_makes_sense_is_known() -> None:
    digest = "0" * 64
    said = [
        {"place": ["a", 0], "name": "a.png", "media_type": "image/png", "size": 3, "sha256": digest},
        {"place": [[]], "name": "b.png"},
        {"place": [], "name": 3, "media_type": [], "size": -1, "sha256": "?"},
        "nonsense",
    ]

    found = find_files({"output": {}, "output_info": said}, None)

    assert found == {("a", 0): OutputFile("a.png", "image/png", 3, digest), (): OutputFile()}
