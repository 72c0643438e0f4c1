"""Find cog.yaml and the text files it names, and read them without ever hanging on what is not a plain file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from cog_cli.config.key_paths import escape
from cog_cli.errors import CogError, ConfigError, Problem

MAX_CONFIG_BYTES = 1024 * 1024
MAX_PARENTS = 100

# Longest first: the UTF-32 mark begins with the UTF-16 one.
_WIDE_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class Unreadable(Exception):
    """A file that cannot be read as text: `reason` completes the sentence "FILE ...", `hint` says what to do."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def find_config(start: Path, name: str = "cog.yaml") -> Path:
    """The nearest `name` in `start` or one of its parents (100 at most), whatever kind of file it is.

    Raises CogError when there is none.
    """
    folder = Path(os.path.abspath(start))
    for candidate in (folder, *list(folder.parents)[:MAX_PARENTS]):
        path = candidate / name
        if os.path.lexists(path):
            return path
    raise CogError(
        f"{name} not found in {folder} (or in any parent directories)",
        hint=_other_spelling(folder, name) or "Go to the folder of your model, or run `cog init` to write one here.",
    )


def read_config_text(path: Path) -> str:
    """The text of a cog.yaml. Raises ConfigError in the user's words for anything that is not a text file."""
    try:
        return read_text(path, max_bytes=MAX_CONFIG_BYTES)
    except Unreadable as error:
        hint = error.hint
        if error.reason == "does not exist" and hint is None:
            hint = "Run `cog init` to write one, or name another with `-f`."
        raise ConfigError([Problem(path.name, "", error.reason, hint)]) from error


def read_text(path: Path, *, max_bytes: int) -> str:
    """The text of a regular UTF-8 file of at most `max_bytes`, without its byte order mark. Raises Unreadable."""
    try:
        return decode(_read_bytes(path, max_bytes))
    except OSError as error:
        raise Unreadable(*_explain(error, path)) from error
    except ValueError as error:  # a NUL in the path
        raise Unreadable("is not a possible file name") from error


def decode(raw: bytes) -> str:
    """UTF-8 bytes as text; raises Unreadable for any other encoding, saying where it broke."""
    for mark, encoding in _WIDE_MARKS:
        if raw.startswith(mark):
            raise Unreadable(f"is a {encoding} file", "Save it as UTF-8.")
    if raw[:1] == b"\0" or raw[1:2] == b"\0":
        raise Unreadable("looks like a UTF-16 file (or is not text at all)", "Save it as UTF-8.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte order mark that it skipped.
        offset = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, offset) + 1
        raise Unreadable(
            f"is not valid UTF-8: byte 0x{raw[offset]:02x} at byte offset {offset} (line {line})", "Save it as UTF-8."
        ) from error


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    # Checked before it is opened (opening a device can have effects) and again on the descriptor,
    # which cannot be swapped any more. O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
    _refuse_special(os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(descriptor, "rb") as file:
        _refuse_special(os.fstat(descriptor).st_mode)
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise Unreadable(f"is larger than {_bytes_text(max_bytes)}")
    return raw


def _refuse_special(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise Unreadable("is a directory, not a file", "Give the path of a file.")
    if not stat.S_ISREG(mode):
        raise Unreadable("is not a regular file", "Copy what it gives into a file.")


def _other_spelling(folder: Path, name: str) -> str | None:
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    wanted = {name.lower(), name.lower().replace(".yaml", ".yml")}
    near = sorted(each for each in names if each.lower() in wanted)
    return f"There is a {near[0]} here: rename it to {name}." if near else None


def _explain(error: OSError, path: Path) -> tuple[str, str | None]:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if path.is_symlink():
            return (
                f"is a symlink to {escape(os.readlink(path))}, which does not exist",
                "Restore the file, or remove the link.",
            )
        return "does not exist", None
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied", f"Make it readable: chmod u+r {path.name}"
    if error.errno == errno.ELOOP:
        return "is a symlink loop: it leads back to itself", "Replace the link with the file."
    return f"cannot be read: {error.strerror or error}", None


def _bytes_text(count: int) -> str:
    return f"{count // (1024 * 1024)} MiB"
