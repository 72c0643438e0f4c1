"""Paths of keys in a cog.yaml (`build.run[0].command`) and the values at their end, as the user may see them."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_MAX_SHOWN = 60


def format_key(path: KeyPath) -> str:
    """`("build", "run", 0)` as `build.run[0]`; the empty path as `(root)`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + escape(step)
    return text or "(root)"


def parse_key(text: str) -> KeyPath:
    """The inverse of `format_key`; a part it cannot read is left out."""
    return tuple(int(number) if number else name for name, number in _STEP.findall(text))


def escape(text: str) -> str:
    """`text` on one line, cut to 60 characters, with nothing in it that could drive a terminal."""
    cut = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)


def quote(text: str) -> str:
    """`escape`, in double quotes."""
    return f'"{escape(text)}"'
