"""Values on their way into predict and out of it."""

from __future__ import annotations

import datetime
import enum
import json
import pathlib
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple, Union

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cog
from cog.reading.annotations import type_spec
from cog.worker.convert import encode_output, make_decoder


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Box:
    size: int
    at: cog.Path


class Pair(NamedTuple):
    left: int
    right: str


class Model(pydantic.BaseModel):
    name: str
    path: pathlib.Path


class Own(cog.BaseModel):
    text: str
    file: Optional[cog.Path]


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (str, "a", "a"),
        (float, 1, 1.0),
        (cog.Path, "/tmp/x.png", cog.Path("/tmp/x.png")),
        (Optional[cog.Path], None, None),
        (Optional[cog.Path], "/x", cog.Path("/x")),
        (cog.Secret, "s", cog.Secret("s")),
        (Colour, "red", Colour.RED),
        (List[cog.Path], ["/a", "/b"], [cog.Path("/a"), cog.Path("/b")]),
        (Set[int], [1, 1, 2], {1, 2}),
        (Tuple[int, str], [1, "a"], (1, "a")),
        (Tuple[int, ...], [1, 2], (1, 2)),
        (Dict[str, Colour], {"a": "red"}, {"a": Colour.RED}),
        (Union[int, List[str]], ["a"], ["a"]),
        (Union[Colour, int], 3, 3),
        (Box, {"size": 1, "at": "/x"}, Box(1, cog.Path("/x"))),
        (Pair, {"left": 1, "right": "r"}, Pair(1, "r")),
        (Own, {"text": "t"}, Own(text="t")),
        (Model, {"name": "n", "path": "/x"}, Model(name="n", path=pathlib.Path("/x"))),
        (
            datetime.datetime,
            "2026-01-02T03:04:05Z",
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        ),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
    ids=str,
)
def test_json_becomes_the_annotated_type(annotation: Any, given: Any, expected: Any) -> None:
    decoded = make_decoder(annotation)(given)

    assert decoded == expected
    assert type(decoded) is type(expected)


class Array:
    """As numpy's arrays look from outside."""

    dtype = "int64"

    def tolist(self) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": (1, 2), "b": {3}}, {"a": [1, 2], "b": [3]}),
        ({1: "int key"}, {"1": "int key"}),
        (Colour.RED, "red"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (cog.Secret("hidden"), "**********"),
        (b"\x00\x01", "data:application/octet-stream;base64,AAE="),
        (Box(1, None), {"size": 1, "at": None}),  # type: ignore[arg-type]  # a value, not a signature
        (Pair(1, "r"), {"left": 1, "right": "r"}),
        (Own(text="t"), {"text": "t", "file": None}),
        (Array(), [1, 2]),
        ((n for n in range(3)), [0, 1, 2]),
        ("ä€", "ä€"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_predict_returns_becomes_json(value: Any, expected: Any, tmp_path: pathlib.Path) -> None:
    encoded = encode_output(value, str(tmp_path))

    assert json.loads(encoded.body) == expected
    assert encoded.files == []


def test_files_are_named_by_their_place(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")

    encoded = encode_output({"deep": [Own(text="t", file=cog.Path(path))]}, str(tmp_path))

    assert json.loads(encoded.body) == {"deep": [{"text": "t", "file": None}]}
    assert encoded.files == [(["deep", 0, "file"], str(path))]


def test_a_picture_becomes_a_png(tmp_path: pathlib.Path) -> None:
    from PIL import Image

    encoded = encode_output(Image.new("RGB", (2, 2)), str(tmp_path))

    [(place, path)] = encoded.files
    assert (place, path.endswith(".png")) == ([], True)
    assert pathlib.Path(path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), {("a",): 1}, "\ud800"],
    ids=["nan", "inf", "object", "key", "surrogate"],
)
def test_what_json_cannot_carry_is_refused_with_its_place(value: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises((TypeError, ValueError), match=r"output\.a"):
        encode_output({"a": value}, str(tmp_path))


def test_a_secret_never_shows_itself() -> None:
    secret = cog.Secret("hunter2")

    assert "hunter2" not in f"{secret} {secret!r}"
    assert secret.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (str, 3, "output is int, but predict() is annotated to give str"),
        (str, ["a"], "output is a list, but predict() is annotated to give str"),
        (int, 1.5, "output is float, but predict() is annotated to give int"),
        (int, True, "output is True, but predict() is annotated to give int"),
        (float, "1", "output is str, but predict() is annotated to give float"),
        (List[int], [1, "2"], r"output\[1\] is str, but predict() is annotated to give int"),
        (Dict[str, List[str]], {"a": [1]}, r"output.a\[0\] is int, but predict() is annotated to give str"),
        (Box, {"size": "big"}, "output.size is str, but predict() is annotated to give int"),
        (Union[int, List[str]], "x", "output is str, but predict() is annotated to give int or a list"),
        (Colour, "green", "output is str, but predict() is annotated to give one of 'red'"),
        (cog.Path, 3, "output is int, but predict() is annotated to give a file"),
    ],
)
def test_an_output_of_another_type_than_annotated_says_both(
    annotation: Any, value: Any, words: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(TypeError, match=words.replace("()", r"\(\)")):
        encode_output(value, str(tmp_path), spec=type_spec(annotation, "output"))


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (str, None, None),
        (float, 1, 1),
        (List[float], (1, 2.5), [1, 2.5]),
        (Set[int], {3}, [3]),
        (Tuple[int, ...], (1, 2), [1, 2]),
        (Box, {"size": 1}, {"size": 1}),
        (Optional[Union[int, str]], "x", "x"),
        (cog.Path, "https://host/file.png", "https://host/file.png"),
        (Pair, Pair(1, "a"), {"left": 1, "right": "a"}),
    ],
)
def test_an_output_as_annotated_passes(annotation: Any, value: Any, expected: Any, tmp_path: pathlib.Path) -> None:
    encoded = encode_output(value, str(tmp_path), spec=type_spec(annotation, "output"))

    assert json.loads(encoded.body) == expected


def test_a_text_in_the_place_of_a_file_is_its_path(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("x")

    one = encode_output(str(file), str(tmp_path), spec=type_spec(cog.Path, "output"))
    many = encode_output([str(file)], str(tmp_path), spec=type_spec(List[cog.Path], "output"))

    assert (one.body, one.files) == (b"null", [([], str(file))])
    assert (many.body, many.files) == (b"[null]", [([0], str(file))])


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=3), max_size=20))
def test_a_long_text_is_encoded_as_a_short_one_is(parts: List[str]) -> None:
    text = ("x" * 1100).join(parts)

    assert json.loads(encode_output(text, "").body) == text
