"""`SourceFile`: one Python file as text, with its syntax tree, and every way in which it cannot be read."""

from __future__ import annotations

import ast
import io
import re
import stat
import sys
import tokenize
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cog.schema.spec import SignatureError
from cog_cli.source.values import Place, Undecidable

_MAX_BYTES = 2 * 1024 * 1024
_MAX_COMPILED = 500_000

# Syntax that a Python older than the model's own may not know; see _syntax_error.
_NEW_SYNTAX = re.compile(r"^\s*(type\s+\w+.*=|(async\s+)?def\s+\w+\s*\[|class\s+\w+\s*\[|except\s*\*|except\s+\w+\s*,)")


@dataclass
class SourceFile:
    """A parsed file; `name` is its path for messages, relative to the project with forward slashes."""

    name: str
    text: str
    tree: ast.Module

    def place(self, node: ast.AST | None) -> Place:
        """Where `node` begins."""
        if not isinstance(node, (ast.expr, ast.stmt, ast.arg, ast.ExceptHandler, ast.alias)):
            return Place(self.name)
        text = self._lines[node.lineno - 1] if node.lineno <= len(self._lines) else ""
        before = text.encode("utf-8", "surrogatepass")[: node.col_offset]
        return Place(self.name, node.lineno, len(before.decode("utf-8", "replace")) + 1)

    @cached_property
    def _lines(self) -> list[str]:
        # Not splitlines(): it also splits at form feeds and the like, which the parser does not count.
        return re.split(r"\r\n|\r|\n", self.text)

    @cached_property
    def has_future_annotations(self) -> bool:
        """Whether `from __future__ import annotations` makes every annotation text."""
        future = [item for item in self.tree.body if getattr(item, "module", None) == "__future__"]
        return any(alias.name == "annotations" for item in future for alias in getattr(item, "names", ()))


def load_source(path: Path, name: str) -> SourceFile:
    """Read and parse a file. Raises SignatureError with the file, and the line if there is one."""
    source = _read_bytes(path, name)
    text = _decode(source, name)
    if "\0" in text:
        line = source.count(b"\n", 0, source.index(b"\0")) + 1
        raise SignatureError("it is not Python source: it holds a null byte", file=name, line=line)
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
        if status.st_size > _MAX_BYTES:
            size = f"{status.st_size / 1024 / 1024:.1f} MiB, the limit is {_MAX_BYTES / 1024 / 1024:.0f} MiB"
            raise SignatureError(f"it is too large to parse: {size}", file=name)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SignatureError("the file does not exist", file=name) from error
    except OSError as error:
        raise SignatureError(f"it cannot be read: {error.strerror or error}", file=name) from error


def _decode(source: bytes, name: str) -> str:
    encoding, problem = "utf-8", None
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    except SyntaxError as error:
        problem = error
    try:
        text = source.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise SignatureError(f"source is not valid {encoding}: {error}", file=name) from error
        message = f"source is not valid UTF-8: byte 0x{source[error.start]:02x} at byte offset {error.start}"
        line = source.count(b"\n", 0, error.start) + 1
        raise SignatureError(message, hint="Save the file as UTF-8.", file=name, line=line) from error
    if problem is not None:
        raise SignatureError(f"its encoding is not known: {problem}", file=name, line=1) from problem
    return text


def _syntax_error(error: SyntaxError, name: str) -> SignatureError:
    message = f"SyntaxError: {error.msg}"
    if sys.version_info >= (3, 14) or not (_NEW_SYNTAX.match(error.text or "") or "f-string" in error.msg):
        return SignatureError(message, file=name, line=error.lineno, column=error.offset)
    # The model's Python may be newer than the one that runs cog.
    here = f"{message} (in Python {sys.version_info.major}.{sys.version_info.minor}, which runs cog)"
    return Undecidable(here, file=name, line=error.lineno, column=error.offset)
