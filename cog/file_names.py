"""Names of files from outside, made safe; and what kind of file a name or a media type means."""

import mimetypes
import os
import re
from typing import Optional

_MAX_NAME_BYTES = 200
_MAX_EXTENSION_BYTES = 20

# Python's own table, not the system's: what an image says of a file, a laptop reads in the same way.
_TABLE = mimetypes.MimeTypes()
# What the older Pythons' tables lack.
for _type, _extension in (
    ("application/gzip", ".gz"),
    ("application/vnd.apache.parquet", ".parquet"),
    ("application/x-npy", ".npy"),
    ("audio/aac", ".aac"),
    ("audio/flac", ".flac"),
    ("audio/mp4", ".m4a"),
    ("audio/ogg", ".ogg"),
    ("audio/opus", ".opus"),
    ("image/avif", ".avif"),
    ("image/heic", ".heic"),
    ("image/webp", ".webp"),
    ("model/gltf-binary", ".glb"),
    ("model/obj", ".obj"),
    ("model/stl", ".stl"),
    ("text/markdown", ".md"),
    ("video/x-matroska", ".mkv"),
):
    _TABLE.add_type(_type, _extension)
# Where a type has several, or is written in several ways, the one people expect.
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/tiff": ".tiff",
    "text/plain": ".txt",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/wave": ".wav",
    "audio/x-flac": ".flac",
    "video/quicktime": ".mov",
    "video/mpeg": ".mpeg",
}


def extension_of(media_type: Optional[str]) -> str:
    """The extension for a media type, with its dot; "" for one that says nothing about the file."""
    plain = (media_type or "").partition(";")[0].strip().lower()
    return _EXTENSIONS.get(plain) or _TABLE.guess_extension(plain) or ""


def media_type_of(name: str) -> str:
    """The media type that a file's name means."""
    kind, encoding = _TABLE.guess_type(f"file:{name}")
    if encoding is not None:
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    return kind or "application/octet-stream"


def safe_name(name: str, *, media_type: Optional[str] = None) -> str:
    """One segment of at most 200 bytes, in letters, digits, `.`, `_` and `-`, that begins with neither dot nor dash.

    A name without an extension gets that of the media type.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name.rpartition("/")[2].rpartition("\\")[2]).lstrip(".-") or "file"
    stem, extension = os.path.splitext(safe)
    extension = (extension if len(extension) > 1 else extension_of(media_type))[:_MAX_EXTENSION_BYTES]
    return stem[: _MAX_NAME_BYTES - len(extension)] + extension


def numbered(name: str, number: int) -> str:
    """The name with a number before its extension, for one that is taken: `out.png`, `out-1.png`, `out-2.png`."""
    if number == 0:
        return name
    stem, extension = os.path.splitext(name)
    suffix = f"-{number}{extension}"
    return stem[: _MAX_NAME_BYTES - len(suffix)] + suffix
