"""`SourceFile`: one Python file as text, with its syntax tree, and every way in which it cannot be read."""

from __future__ import annotations

import ast
import io
import re
import stat
import sys
import tokenize
import warnings
from pathlib import Path

from cog.schema.spec import SignatureError
from cog_cli.source.values import Place, Undecidable

MAX_BYTES = 2 * 1024 * 1024
_MAX_COMPILED = 500_000

# Syntax that a Python older than the model's own may not know; see _syntax_error.
_NEW_SYNTAX = re.compile(r"^\s*(type\s+\w+.*=|(async\s+)?def\s+\w+\s*\[|class\s+\w+\s*\[|except\s*\*|except\s+\w+\s*,)")


class SourceFile:
    """A parsed file; `name` is its path for messages, relative to the project with forward slashes."""

    def __init__(self, name: str, text: str, tree: ast.Module) -> None:
        self.name = name
        self.tree = tree
        self.size = len(text)
        self._text = text
        self._lines: list[str] | None = None

    def place(self, node: ast.AST | None) -> Place:
        """Where `node` begins."""
        line = getattr(node, "lineno", None)
        if line is None:
            return Place(self.name)
        if self._lines is None:
            # Not splitlines(): it also splits at form feeds and the like, which the parser does not count.
            self._lines = re.split(r"\r\n|\r|\n", self._text)
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        before = text.encode("utf-8", "surrogatepass")[: node.col_offset]  # type: ignore[union-attr]  # has a line
        return Place(self.name, line, len(before.decode("utf-8", "replace")) + 1)

    @property
    def has_future_annotations(self) -> bool:
        """Whether `from __future__ import annotations` makes every annotation text."""
        return any(
            isinstance(item, ast.ImportFrom)
            and item.module == "__future__"
            and any(alias.name == "annotations" for alias in item.names)
            for item in self.tree.body
        )


def load_source(path: Path, name: str) -> SourceFile:
    """Read and parse a file. Raises SignatureError with the file, and the line if there is one."""
    source = _read_bytes(path, name)
    text = _decode(source, name)
    if "\0" in text:
        raise SignatureError("it is not Python source: it holds a null byte", file=name, line=_line(source, b"\0"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes: the author sees them when the model runs
            tree = ast.parse(text, filename=name)
            if len(text) <= _MAX_COMPILED:
                compile(tree, name, "exec", dont_inherit=True)  # for what only the compiler refuses, as `return` here
    except SyntaxError as error:
        raise _syntax_error(error, name) from error
    except (RecursionError, MemoryError) as error:
        raise Undecidable("it is nested too deeply to be parsed here", file=name) from error
    return SourceFile(name, text, tree)


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SignatureError("it is not a regular file", file=name)
        if status.st_size > MAX_BYTES:
            size = status.st_size / 1024 / 1024
            raise SignatureError(
                f"it is too large to parse: {size:.1f} MiB, the limit is {MAX_BYTES // 1024 // 1024} MiB", file=name
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SignatureError("the file does not exist", file=name) from error
    except OSError as error:
        raise SignatureError(f"it cannot be read: {error.strerror or error}", file=name) from error


def _decode(source: bytes, name: str) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    except SyntaxError as error:
        encoding = "utf-8"
        if _utf8_problem(source) is None:
            raise SignatureError(f"its encoding is not known: {error}", file=name, line=1) from error
    if encoding in ("utf-8", "utf-8-sig"):
        problem = _utf8_problem(source)
        if problem is not None:
            raise SignatureError(
                f"source is not valid UTF-8: byte 0x{source[problem]:02x} at byte offset {problem}",
                hint="Save the file as UTF-8.",
                file=name,
                line=source.count(b"\n", 0, problem) + 1,
            )
        return source.decode("utf-8-sig")
    try:
        return source.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise SignatureError(f"source is not valid {encoding}: {error}", file=name) from error


def _line(source: bytes, first: bytes) -> int:
    return source.count(b"\n", 0, source.index(first)) + 1


def _utf8_problem(source: bytes) -> int | None:
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


def _syntax_error(error: SyntaxError, name: str) -> SignatureError:
    message = f"SyntaxError: {error.msg}"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info < (3, 14) and (_NEW_SYNTAX.match(error.text or "") or "f-string" in error.msg):
        # The model's Python may be newer than the one that runs cog.
        return Undecidable(
            f"{message} (in Python {version}, which runs cog)", file=name, line=error.lineno, column=error.offset
        )
    return SignatureError(message, file=name, line=error.lineno, column=error.offset)
