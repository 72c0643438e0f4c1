"""`Ignore`: which files of a project Docker leaves out of the build, by the rules of .dockerignore."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cog_cli.errors import CogError


@dataclass(frozen=True)
class _Pattern:
    regex: re.Pattern[str]
    is_exception: bool
    text: str


class Ignore:
    """The patterns of a .dockerignore; the last one that matches a path, or a folder above it, decides.

    The same decisions as BuildKit's (github.com/moby/patternmatcher), which is the one that copies.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises CogError for a pattern that BuildKit would refuse."""
        self._patterns = tuple(pattern for line in lines if (pattern := _parse(line)))
        self._exceptions = tuple(pattern.text for pattern in self._patterns if pattern.is_exception)

    def excludes(self, path: str) -> bool:
        """Whether `path`, relative to the project and with `/`, is left out."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        is_excluded = False
        for pattern in self._patterns:
            if pattern.is_exception == is_excluded and any(pattern.regex.fullmatch(each) for each in above):
                is_excluded = not pattern.is_exception
        return is_excluded

    def excludes_all_below(self, folder: str) -> bool:
        """Whether an excluded `folder` need not be looked into: no `!` pattern could bring back a file in it."""
        return self.excludes(folder) and not any(_may_be_below(text, folder) for text in self._exceptions)


def _parse(line: str) -> _Pattern | None:
    text = line.lstrip("\ufeff")
    if text.startswith("#") or not text.strip():
        return None
    text = text.strip()
    is_exception = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        raise CogError(
            '.dockerignore: a line holds only "!"', hint="Write what to bring back after it, e.g. !data/small."
        )
    cleaned = posixpath.normpath(text).lstrip("/")
    if cleaned in (".", ""):
        return None
    try:
        return _Pattern(re.compile(_to_regex(cleaned), re.DOTALL), is_exception, cleaned)
    except re.error as error:
        raise CogError(f".dockerignore: {line.strip()!r} is not a pattern: {error}") from error


def _to_regex(pattern: str) -> str:
    regex = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern[position : position + 1] == "*":
            position += 1
            if pattern[position : position + 1] == "/":
                position += 1
            regex += ".*" if position == len(pattern) else "(?:.*/)?"
        elif char == "*":
            regex += "[^/]*"
        elif char == "?":
            regex += "[^/]"
        elif char == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise re.error("the [ is not closed")
            inside = pattern[position:end]
            position = end + 1
            regex += "[" + ("^" + inside[1:] if inside[0] == "^" else inside) + "]"
        elif char == "\\":
            if position == len(pattern):
                raise re.error("it ends in a backslash")
            regex += re.escape(pattern[position])
            position += 1
        else:
            regex += re.escape(char)
    return regex


def _may_be_below(pattern: str, folder: str) -> bool:
    """Whether a `!` pattern may match a path in `folder`; when in doubt, yes."""
    wanted, have = pattern.split("/"), folder.split("/")
    for want, name in zip(wanted, have, strict=False):
        if want != name:
            return any(special in want for special in "*?[\\")
    return True
