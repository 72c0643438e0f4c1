"""`MultipartBody`: a request's JSON and the files it names, as multipart/form-data of a size that is known."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

from cog_cli.prediction.uploads import Upload


class MultipartBody:
    """The part `request`, which is `document` in JSON, then each file. Read from the disk while it is sent.

    Raises CogError if a file cannot be read.
    """

    def __init__(self, document: dict[str, Any], uploads: tuple[Upload, ...]) -> None:
        boundary = secrets.token_hex(16)
        self._uploads = [(upload, _file_head(boundary, upload), upload.size_bytes()) for upload in uploads]
        self._start = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\nContent-Type: application/json\r\n\r\n'
        ).encode() + json.dumps(document).encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()
        files_bytes = sum(len(head) + size for _, head, size in self._uploads)
        self.size_bytes = len(self._start) + files_bytes + len(self._end)
        # httpx sends in chunks what has no Content-Length, and a server could not refuse it before reading it.
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(self.size_bytes),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._start
        for upload, head, size_bytes in self._uploads:
            yield head
            yield from upload.pieces(size_bytes)
        yield self._end


def _file_head(boundary: str, upload: Upload) -> bytes:
    # As browsers escape it (HTML, "multipart/form-data encoding algorithm").
    name = upload.path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return (
        f"\r\n--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{upload.part}"; filename="{name}"\r\n'
        f"Content-Type: {upload.media_type}\r\n\r\n"
    ).encode("utf-8", "replace")
