"""`OutputNames`: where the files of one run go, and never two of them to one place."""

from __future__ import annotations

import mimetypes
import os
import re
from pathlib import Path

_MAX_NAME_BYTES = 200
_MAX_EXTENSION_BYTES = 20
# Where the platform's table has several, the one people expect.
_EXTENSIONS = {"image/jpeg": ".jpg", "text/plain": ".txt", "audio/mpeg": ".mp3", "image/tiff": ".tiff"}


class OutputNames:
    """Names that were given are not given again; files of earlier runs are none of its concern."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: Path) -> Path:
        """The path, or with a number before its extension if it is taken: `out.png`, `out-1.png`, `out-2.png`."""
        result, number = path, 0
        # Some file systems take a.png and A.png for one.
        while str(result).casefold() in self._taken:
            number += 1
            result = path.with_name(f"{path.stem}-{number}{path.suffix}")
        self._taken.add(str(result).casefold())
        return result


def extension_of(media_type: str | None) -> str:
    """The extension of a media type, with its dot."""
    plain = (media_type or "").partition(";")[0].strip().lower()
    return _EXTENSIONS.get(plain) or mimetypes.guess_extension(plain) or ".bin"


def safe_name(name: str) -> str:
    """One segment of a path, neither hidden nor an option, whatever a server calls its file."""
    last = name.replace("\\", "/").rpartition("/")[2]
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-") or "file"
    stem, extension = os.path.splitext(safe)
    extension = extension[:_MAX_EXTENSION_BYTES]
    return stem[: _MAX_NAME_BYTES - len(extension)] + extension
