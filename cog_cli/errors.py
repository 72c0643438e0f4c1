"""What can go wrong in the build room, in the user's words: what, where, what to do."""

from __future__ import annotations

from dataclasses import dataclass


class CogError(Exception):
    """A failure the user can do something about: printed as one line (and a hint), never as a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CogError):
    """The command line itself is wrong."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file the user wrote.

    `where` is `file:line:column` (both 1-based) as far as it is known, `key` the path of the key
    (`build.run[0].command`) or "" for the file as a whole.
    """

    where: str
    key: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        key = f"`{self.key}`: " if self.key else ""
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{self.where}: {key}{self.message}{hint}"


class ConfigError(CogError):
    """cog.yaml, or a file it names, is not usable; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StackError(CogError):
    """No set of versions satisfies what was asked; carries one problem per clash."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
