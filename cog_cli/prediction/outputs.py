"""`write_output`: what a prediction gave back, on stdout or in files."""

from __future__ import annotations

import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pybase64 import b64decode

from cog.file_names import extension_of, safe_name
from cog_cli.console import console
from cog_cli.errors import CogError
from cog_cli.prediction.downloads import download
from cog_cli.prediction.output_files import OutputFile, Place
from cog_cli.prediction.output_names import OutputNames


@dataclass(frozen=True)
class OutputOptions:
    """Where an output goes. `target` is `-o`: a file, or a folder, which exists or ends with a slash.

    `files` are known of the output's files; `is_text`: the items of a list are one text. `progress` is the bars' mode.
    """

    target: str | None = None
    files: Mapping[Place, OutputFile] = field(default_factory=dict)
    is_text: bool = False
    progress: str = "auto"

    @property
    def folder(self) -> Path | None:
        """The folder that `-o` names."""
        target = self.target
        return Path(target) if target is not None and (target.endswith(os.sep) or Path(target).is_dir()) else None


def check_target(target: str | None) -> None:
    """Refuse, before anything is started, an `-o` that nothing can be written to. Raises CogError."""
    if target is None:
        return
    folder = OutputOptions(target).folder
    if folder is None and not Path(target).parent.is_dir():
        raise CogError(f"-o {target}: there is no folder {Path(target).parent}")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise CogError(f"-o {target}: {folder} is no folder")


def write_output(output: Any, options: OutputOptions) -> None:
    """Show an output: text goes to stdout as it is, anything else as JSON, files to files.

    A file becomes `output.EXT`, files in a list `output.0.EXT` and so on, files in an object `output.KEY.EXT`; a
    target that is a file gives its name instead of `output`. In a folder each file has its own name, and what is no
    file is `output.txt` or `output.json`. Raises CogError.
    """
    if options.is_text and isinstance(output, list):
        output = "".join(map(str, output))
    saver = _Saver(options)
    shown = saver.save(output)
    is_all_written = saver.written and (isinstance(output, str) or _are_all_files(output, saver))
    if not is_all_written and output is not None:
        _show(shown, saver, options)


def write_prediction(document: dict[str, Any], options: OutputOptions) -> None:
    """Show a whole prediction as JSON, on stdout or in the target; its files are written too if that is a folder."""
    saver = _Saver(options)
    if options.folder is not None:
        document = {**document, "output": saver.save(document.get("output"))}
    _show(document, saver, options)


def _show(shown: Any, saver: _Saver, options: OutputOptions) -> None:
    is_text = isinstance(shown, str)
    text = shown if is_text else json.dumps(shown, indent=2, ensure_ascii=False)
    if options.target is None or saver.has_left:
        console.result(text)
        return
    path = Path(options.target)
    if options.folder is not None:
        path = saver.in_folder(options.folder, "output.txt" if is_text else "output.json")
    _write(path, text.encode() + (b"" if is_text else b"\n"))
    console.success(f"Written output to {path}")


class _Saver:
    """Writes the files of one output. `has_left`: some stay where they are, so that somebody has to see their URLs."""

    def __init__(self, options: OutputOptions) -> None:
        self._options = options
        self._names = OutputNames()
        self.written: list[Path] = []
        self.has_left = False

    def save(self, value: Any, place: Place = ()) -> Any:
        """Write every file in `value`; give `value` with names in their place."""
        if isinstance(value, str):
            return self._save_text(value, place)
        if isinstance(value, list):
            return [self.save(item, (*place, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.save(item, (*place, key)) for key, item in value.items()}
        return value

    def in_folder(self, folder: Path, name: str) -> Path:
        """A path in a folder, which is made, that no other output of this run has."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CogError(f"the folder {folder} cannot be made: {error.strerror}") from error
        return self._names.take(folder / name)

    def _save_text(self, text: str, place: Place) -> str:
        known = self._options.files.get(place, OutputFile())
        content = _file_content(text)
        if content is not None:
            media_type, data = content
            path = self._path(place, known, _extension(known, media_type))
            known.check(path.name, len(data), hashlib.sha256(data).hexdigest())
            _write(path, data)
        elif self._options.target is None or place not in self._options.files or "://" not in text:
            return text
        elif text.lower().startswith(("http://", "https://")):
            path = self._path(place, known, _extension(known, known.media_type))
            download(text, path, known, progress=self._options.progress)
        else:
            self.has_left = True
            console.warn(f"{text.partition(':')[0]}: URLs are not downloaded: the file stays where it is")
            return text
        self.written.append(path)
        console.success(f"Written output to {path}")
        return str(path) if self._options.folder is None else path.name

    def _path(self, place: Place, known: OutputFile, extension: str) -> Path:
        target, folder = self._options.target, self._options.folder
        suffix = "".join(f".{_in_name(str(key))}" for key in place)
        if folder is not None:
            own = safe_name(known.name) if known.name is not None else f"output{suffix}{extension}"
            return self.in_folder(folder, own)
        if target is None:
            return self._names.take(Path(f"output{suffix}{extension}"))
        path = Path(target)
        if not place:
            return path
        return self._names.take(Path(str(path.with_suffix("")) + suffix + (path.suffix or extension)))


def _extension(known: OutputFile, media_type: str | None) -> str:
    """That of the file's own name, which may have none; where nobody says the name, that of its media type."""
    if known.name is not None:
        return Path(safe_name(known.name)).suffix
    return extension_of(media_type) or ".bin"


def _file_content(text: str) -> tuple[str, bytes] | None:
    """(media type, content) of a data URL as the server makes them of files; None for any other text."""
    head, comma, _ = text[:256].partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        content = b64decode(text[len(head) + 1 :], validate=True)
    except (binascii.Error, ValueError):
        return None
    return head[5:-7].partition(";")[0] or "text/plain", content


def _are_all_files(output: Any, saver: _Saver) -> bool:
    return isinstance(output, list) and len(saver.written) == len(output)


def _in_name(key: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in key)[:100] or "_"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CogError(f"{path} cannot be written: {error.strerror}") from error
