"""`read_dockerfile`: a Dockerfile as BuildKit reads it, written from Docker's reference and not from our templates.

Only what our Dockerfiles use, and strict about the rest: a here-document, a parser directive or an unknown instruction
is an error, because each is a way for a value to become more than a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

NAMES = frozenset(
    ["ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR"]
)
MAX_LINE_BYTES = 65_535  # bufio.MaxScanTokenSize - 1: BuildKit refuses longer lines

_CONTINUED = re.compile(r"\\[ \t]*$")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"<<-?\s*[\"']?[a-zA-Z0-9_]+")


@dataclass(frozen=True)
class Instruction:
    """One instruction: `flags` are `name=value`, `arguments` its JSON form (None in shell form), `line` from 1."""

    name: str
    flags: tuple[str, ...]
    text: str
    arguments: tuple[str, ...] | None
    line: int

    @property
    def variables(self) -> dict[str, str]:
        """NAME and value of ENV or ARG, unquoted, `$NAME` left as it is (see `expand`)."""
        return dict(split_variables(self.text))


def read_dockerfile(text: str) -> list[Instruction]:
    """The instructions in order. Raises ValueError for what Docker would refuse or read otherwise than as a value."""
    instructions = []
    for number, line in _logical_lines(text):
        name, _, rest = line.partition(" ")
        if name.upper() not in NAMES:
            raise ValueError(f"line {number}: unknown instruction {name!r}")
        flags, rest = _split_flags(rest.strip())
        arguments = _json_form(rest)
        if arguments is None and name.upper() in ("RUN", "COPY") and _HEREDOC.search(rest):
            raise ValueError(f"line {number}: a here-document")
        instructions.append(Instruction(name.upper(), flags, rest, arguments, number))
    return instructions


def split_variables(text: str, known: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """`A="x y" B=z` as pairs; `$NAME` and `${NAME}` outside of quotes' escapes become the value in `known`, else ""."""
    pairs = []
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not NAME=value")
        pairs.append((name, _value(value, known or {})))
    return pairs


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines joined over backslashes, with comments and empty lines left out also inside of them."""
    lines = []
    pending, start = "", 0
    may_be_directive = True
    for number, raw in enumerate(text.split("\n"), 1):
        if len(raw.encode()) > MAX_LINE_BYTES:
            raise ValueError(f"line {number}: longer than {MAX_LINE_BYTES} bytes")
        stripped = raw.lstrip()
        if stripped.startswith("#"):
            if may_be_directive and _DIRECTIVE.match(stripped):
                raise ValueError(f"line {number}: a parser directive")
            may_be_directive = False
            continue
        may_be_directive = False
        if not stripped:
            continue
        if not pending:
            start = number
        pending += raw if pending else stripped
        if _CONTINUED.search(raw):
            pending = _CONTINUED.sub("", pending)
            continue
        lines.append((start, pending.rstrip()))
        pending = ""
    if pending:
        raise ValueError("the file ends in a continued line")
    return lines


def _split_flags(rest: str) -> tuple[tuple[str, ...], str]:
    flags = []
    while match := re.match(r"--(\S+)(?:\s+|$)", rest):
        if re.search(r"[\"'\\$]", match[1]):
            raise ValueError(f"a flag with quotes, escapes or variables: {match[0]!r}")
        flags.append(match[1])
        rest = rest[match.end() :]
    return tuple(flags), rest


def _json_form(rest: str) -> tuple[str, ...] | None:
    if not rest.startswith("["):
        return None
    try:
        value = json.loads(rest)
    except ValueError:
        return None
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _words(text: str) -> list[str]:
    """Split at blanks outside quotes; quotes and backslashes stay (BuildKit's parseWords)."""
    words, word, quote = [], "", ""
    position = 0
    while position < len(text):
        char = text[position]
        if not quote and char.isspace():
            if word:
                words.append(word)
            word = ""
        elif char == "\\":
            word += text[position : position + 2]
            position += 1
        else:
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            word += char
        position += 1
    if quote:
        raise ValueError("a quote is not closed")
    return [*words, word] if word else words


def _value(text: str, known: Mapping[str, str]) -> str:
    """Remove quotes and escapes, and put variables in (BuildKit's shell lexer)."""
    result, quote = "", ""
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if quote == "'":
            quote = "" if char == "'" else quote
            result += char if quote else ""
        elif char == "\\" and position < len(text):
            following = text[position]
            position += 1
            result += following if not quote or following in '"$\\' else char + following
        elif char in "\"'" and not quote:
            quote = char
        elif char == quote:
            quote = ""
        elif char == "$":
            match = re.compile(r"\{(\w+)\}|(\w+)").match(text, position)
            if match is None:
                raise ValueError(f"a variable that is not understood in {text!r}")
            result += known.get(match[1] or match[2], "")
            position = match.end()
        else:
            result += char
    return result
