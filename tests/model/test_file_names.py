"""Names of files and the media types they mean, for the command line and the server alike."""

from __future__ import annotations

from typing import Optional

import pytest

from cog.file_names import extension_of, media_type_of, numbered, safe_name


@pytest.mark.parametrize(
    "name", ["a.npy", "a.parquet", "a.mkv", "a.ogg", "a.wav", "a.flac", "a.heic", "a.glb", "a.md", "a.jpg", "a.tar.gz"]
)
def test_a_type_means_the_extension_it_was_read_from(name: str) -> None:
    assert name.endswith(extension_of(media_type_of(name)))


@pytest.mark.parametrize("media_type", [None, "", "no/such", "../x", "text/x-" + "a" * 3000])
def test_a_type_that_says_nothing_means_no_extension(media_type: Optional[str]) -> None:
    assert extension_of(media_type) == ""


@pytest.mark.parametrize("name", ["a", "", "a.no_such", "data:image/png,x"])
def test_a_name_that_says_nothing_means_plain_bytes(name: str) -> None:
    assert media_type_of(name) == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "media_type", "safe"),
    [
        ("a/b\\c d.png", None, "c_d.png"),
        ("a\\b/c", None, "c"),
        ("..-.a", None, "a"),
        ("a.", None, "a"),
        ("a.", "image/png", "a.png"),
        ("a", "Image/PNG; q=1", "a.png"),
        ("a.jpg", "image/png", "a.jpg"),
        ("", None, "file"),
        ("a." + "b" * 300, None, "a." + "b" * 19),
        ("a" * 300, "image/png", "a" * 196 + ".png"),
    ],
)
def test_a_safe_name_is_one_short_segment(name: str, media_type: Optional[str], safe: str) -> None:
    assert safe_name(name, media_type=media_type) == safe


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("out.png", 0, "out.png"),
        ("out.png", 2, "out-2.png"),
        ("out", 1, "out-1"),
        ("a" * 196 + ".png", 1, "a" * 194 + "-1.png"),
    ],
)
def test_a_number_goes_before_the_extension(name: str, number: int, expected: str) -> None:
    assert numbered(name, number) == expected
