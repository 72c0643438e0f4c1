"""`data:` URLs (RFC 2397), to files and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_to_bytes

import pybase64

from cog_server.files.transfer import TransferError

# A multiple of four characters, so that every piece but the last is whole.
_PIECE = 1 << 20
_MAX_HEAD = 4096
_SPACE = re.compile(r"[ \t\r\n\f]+")


class TooLarge(TransferError):
    """The content has more bytes than it may."""


class DataUrl:
    """One `data:` URL: its `media_type`, and the `name` that a parameter gives it, "" if none does."""

    def __init__(self, url: str) -> None:
        comma = url.find(",", 0, _MAX_HEAD)
        if comma < 0:
            raise TransferError("the data URL has no comma")
        media_type, *parameters = url[5:comma].split(";")
        given = {item.partition("=")[0].strip().lower(): item.partition("=")[2].strip() for item in parameters}
        self.media_type = media_type.strip().lower() or "text/plain"
        self.name = unquote(given.get("name") or given.get("filename") or "")
        self._is_base64 = "base64" in given
        self._url = url
        self._start = comma + 1

    def write(self, path: str, max_bytes: int) -> int:
        """Write the content to a file and give its size. Raises TransferError, TooLarge among them, and OSError.

        By the length of the text first, then in pieces: neither the text nor the content is held a second time.
        """
        length = len(self._url) - self._start
        if (length * 3 // 4 if self._is_base64 else length // 3) > max_bytes + 2:
            raise TooLarge(f"it has more than {max_bytes} bytes")
        if not self._is_base64:
            return _save(path, [unquote_to_bytes(self._url[self._start :])], max_bytes)
        try:
            return _save(path, _decoded(self._url, self._start), max_bytes)
        except ValueError:
            # Percent-encoded, in lines, or without its padding: browsers read that too (WHATWG, forgiving-base64).
            text = _SPACE.sub("", unquote(self._url[self._start :])).rstrip("=")
        try:
            return _save(path, _decoded(text + "=" * (-len(text) % 4), 0), max_bytes)
        except ValueError as error:
            raise TransferError("the data URL is not valid base64") from error


def data_url(media_type: str, content: bytes) -> str:
    """The `data:` URL of a file's content."""
    return f"data:{media_type};base64,{pybase64.b64encode_as_string(content)}"


def _decoded(text: str, start: int) -> Iterator[bytes]:
    for offset in range(start, len(text), _PIECE):
        yield pybase64.b64decode(text[offset : offset + _PIECE], validate=True)


def _save(path: str, pieces: Iterable[bytes], max_bytes: int) -> int:
    written = 0
    with open(path, "wb") as file:
        for piece in pieces:
            written += len(piece)
            if written > max_bytes:
                raise TooLarge(f"it has more than {max_bytes} bytes")
            file.write(piece)
    return written
