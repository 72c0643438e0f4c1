"""`write_output`: what a prediction gave back, on stdout or in files."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
from pathlib import Path
from typing import Any

from cog_cli.console import console
from cog_cli.errors import CogError

# Where the platform's table has several, the one people expect.
_EXTENSIONS = {"image/jpeg": ".jpg", "text/plain": ".txt", "audio/mpeg": ".mp3", "image/tiff": ".tiff"}


def write_output(output: Any, target: str | None, *, is_text: bool = False) -> None:
    """Show an output: text goes to stdout as it is, anything else as JSON, files to files.

    A file becomes `output.EXT`, files in a list `output.0.EXT` and so on, files in an object `output.KEY.EXT`.
    `is_text`: the items of the list are one text. `target` is `-o`: the file for the output, or where there are
    several files, the name they share. Raises CogError.
    """
    if is_text and isinstance(output, list):
        output = "".join(map(str, output))
    whole = _file_content(output) if isinstance(output, str) and target is not None else None
    if whole is not None and target is not None:
        _write(Path(target), whole[1])
        console.success(f"Written output to {target}")
        return
    files: list[Path] = []
    stem, extension = _stem(target)
    shown = _save_files(output, stem, extension, files)
    for path in files:
        console.success(f"Written output to {path}")
    if (isinstance(output, str) and files) or _is_list_of_files(output, files):
        return
    if output is None:
        return
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    if target is None:
        console.result(text)
        return
    _write(Path(target), text.encode() + (b"" if isinstance(shown, str) else b"\n"))
    console.success(f"Written output to {target}")


def write_prediction(document: dict[str, Any], target: str | None) -> None:
    """Show a whole prediction as JSON, on stdout or in the file `target`."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if target is None:
        console.result(text)
    else:
        _write(Path(target), text.encode() + b"\n")
        console.success(f"Written output to {target}")


def _stem(target: str | None) -> tuple[str, str | None]:
    if target is None:
        return "output", None
    path = Path(target)
    return str(path.with_suffix("")), path.suffix or None


def _save_files(value: Any, stem: str, extension: str | None, files: list[Path]) -> Any:
    """Write every file in `value`; give `value` with names in their place."""
    if isinstance(value, str):
        content = _file_content(value)
        if content is None:
            return value
        media_type, data = content
        guessed = _EXTENSIONS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"
        path = Path(stem + (extension or guessed))
        _write(path, data)
        files.append(path)
        return str(path)
    if isinstance(value, list):
        return [_save_files(item, f"{stem}.{index}", extension, files) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _save_files(item, f"{stem}.{_safe(key)}", extension, files) for key, item in value.items()}
    return value


def _file_content(text: str) -> tuple[str, bytes] | None:
    """(media type, content) of a data URL as the server makes them of files; None for any other text."""
    head, comma, _ = text[:256].partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        content = base64.b64decode(text[len(head) + 1 :], validate=True)
    except binascii.Error:
        return None
    return head[5:-7].partition(";")[0] or "text/plain", content


def _is_list_of_files(output: Any, files: list[Path]) -> bool:
    return isinstance(output, list) and bool(files) and len(files) == len(output)


def _safe(key: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in key)[:100] or "_"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CogError(f"{path} cannot be written: {error.strerror}") from error
