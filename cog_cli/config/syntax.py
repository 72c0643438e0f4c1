"""What a YAML parser says about broken text, in the words of the person who wrote it."""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

MAX_DEPTH = 50
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# (what the parser says, what we say, what to do); libyaml and PyYAML word some of them differently.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "a second `: ` on one line, or a key indented where none can stand",
        "Put a value that holds `: ` in quotes; indent the keys of one mapping alike.",
    ),
    ("unexpected end of stream", "a quote, bracket or block is opened here and never closed", "Close it."),
    ("expected ',' or", "a [ or { that is opened here is not closed, or a comma is missing", "Close it."),
    ("flow", "a [ or { is not closed, or a comma is missing", "Close it."),
    ("could not find expected ':'", "a line that is neither `key: value` nor `- item`", "Write `key: value`."),
    ("unknown escape character", "a backslash that means nothing inside double quotes", "Use single quotes there."),
    ("block end", "the indentation or the form does not fit the lines above", "Indent what belongs together alike."),
    ("expected key", "the indentation or the form does not fit the lines above", "Indent what belongs together alike."),
    ("expected '-' indicator", "a list whose items are not indented alike", "Indent every `- ` alike."),
    ("sequence entries are not allowed", "a list item cannot begin here", "Begin the list on a line of its own."),
    ("document start", "text that does not belong to the document", "Remove it, or make it a comment with `#`."),
)


class Position(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


class SyntaxFault(Exception):
    """The text cannot be read as YAML (or not within the limits); `position` None when it is the whole file."""

    def __init__(self, message: str, hint: str | None = None, position: Position | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.position = position


def refuse_control_characters(text: str) -> None:
    """Raise SyntaxFault at the first NUL or other character that YAML does not allow."""
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        code = ord(found[0])
        name = "a NUL character" if code == 0 else f"a control character (U+{code:04X})"
        raise SyntaxFault(f"{name} in the file", "Remove it; cog.yaml is plain text.", Position(line, column))


def explain_yaml_error(error: yaml.YAMLError, text: str) -> SyntaxFault:
    """The parser's error, translated."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return SyntaxFault(f"not valid YAML: {_first_line(str(error))}")
    problem = str(getattr(error, "problem", "") or "")
    lines = text.splitlines()
    for number in (mark.line, mark.line - 1):
        if 0 <= number < len(lines) and (indent := re.match(r" *\t", lines[number])):
            return SyntaxFault(
                "a tab in the indentation", "YAML is indented with spaces.", Position(number + 1, indent.end())
            )
    position = Position(mark.line + 1, mark.column + 1)
    if text.lstrip().startswith(('"""', "'''")):
        return SyntaxFault(
            "not valid YAML: the file begins like a Python string", "Write comments with `#` in front.", position
        )
    if "nesting depth" in problem:
        # The library's own limit, which it meets while it looks ahead, before our lower one is reached.
        return SyntaxFault(TOO_DEEP, None, position)
    char = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    if "cannot start any token" in problem:
        return SyntaxFault(f"not valid YAML: a value cannot begin with {char!r}", "Put the value in quotes.", position)
    for said, meaning, hint in _EXPLANATIONS:
        if said in problem:
            opened = getattr(error, "context_mark", None)
            if "opened" in meaning and opened is not None:
                position = Position(opened.line + 1, opened.column + 1)
            return SyntaxFault(f"not valid YAML: {meaning}", hint, position)
    return SyntaxFault(f"not valid YAML: {_first_line(problem or str(error))}", None, position)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "it cannot be read"
