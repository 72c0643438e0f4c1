"""`packages_in`: the Python packages that a shell command of `build.run` installs, as far as one can see."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cog_cli.requirements.lines import InvalidLine, Requirement, parse_requirement

# Words that say a command compiles CUDA code, so the image needs nvcc.
_COMPILES_CUDA = re.compile(
    r"\bnvcc\b|\b(CUDA_HOME|CUDA_PATH|TORCH_CUDA_ARCH_LIST|FORCE_CUDA)\b|/usr/local/cuda\b|--cuda_ext|-D\w+_CU(DA|BLAS)\b"
)

# Options of pip and uv that take the next word as their value.
_WITH_VALUE = re.compile(
    r"-[ifrctpC]|--(index-url|extra-index-url|index|default-index|find-links|requirement|constraint|target|prefix|root"
    r"|platform|python-version|python|implementation|abi|progress-bar|trusted-host|timeout|retries|cache-dir|proxy"
    r"|upgrade-strategy|no-binary|only-binary|config-settings?|global-option|install-option|cert|log|src"
    r"|index-strategy|torch-backend)"
)

# Options of pip that write somewhere else than into its environment, or leave a link to a folder.
_ELSEWHERE = re.compile(r"-[et]|--(editable|target|prefix|root|user|src|log|report)(=|$)")


@dataclass(frozen=True)
class PipInstall:
    """One `pip install` of a command: what it names, and the indexes it was told to use."""

    requirements: tuple[Requirement, ...]
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()


def compiles_cuda(command: str) -> bool:
    """Whether a shell command names the CUDA compiler or its folder."""
    return _COMPILES_CUDA.search(command) is not None


def pip_installs(command: str, *, where: str, key: str) -> tuple[PipInstall, ...]:
    """Every `pip install` in a shell command.

    Best effort: what a script installs, or what quoting hides, is not seen; what cannot be parsed is passed over.
    """
    found = []
    for words in _simple_commands(command):
        arguments = _after_pip_install(words)
        if arguments is not None:
            found.append(_parse(arguments, where=where, key=key))
    return tuple(found)


def only_installs(command: str) -> bool:
    """Whether a shell command does nothing but `pip install` into the environment of the Python it finds."""
    if re.search(r"[$`<>]|\(", command):
        return False
    for words in _simple_commands(command):
        while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
            words = words[1:]
        text = " ".join(words)
        if not re.match(r"((python[\d.]*|python) -m )?pip[\d.]* install ", text):
            return False
        if any(_ELSEWHERE.match(word) for word in words):
            return False
    return True


def _simple_commands(command: str) -> Iterator[list[str]]:
    """The words of each command between `&&`, `;`, `|` and newlines; those of `bash -c "…"` too."""
    lexer = shlex.shlex(command.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # an unmatched quote: the shell will say so
        tokens = command.split()
    for token in [*tokens, ";"]:
        if token and not set(token) - set("();|&"):
            if words:
                yield words
            words = []
        elif words[-1:] == ["-c"] and " " in token:
            yield from _simple_commands(token)
        else:
            words.append(token)


def _after_pip_install(words: list[str]) -> list[str] | None:
    """The arguments of `[A=b] [python -m|uv] pip[3] install …`, None for any other command."""
    for number, word in enumerate(words[:-1]):
        program = word.rpartition("/")[2]
        if re.fullmatch(r"pip[\d.]*", program) and words[number + 1] == "install":
            return words[number + 2 :]
    return None


def _parse(arguments: list[str], *, where: str, key: str) -> PipInstall:
    installs = PipInstall(())
    requirements: list[Requirement] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in (">", ">>", "<") and rest:
            # `pip install cog>=0.7` without quotes: the shell would redirect, but the name was meant as a package.
            rest.pop(0)
            continue
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            if _WITH_VALUE.fullmatch(name) and not equals:
                value = rest.pop(0) if rest else ""
            if name in ("-i", "--index-url", "--default-index"):
                installs = replace(installs, index_url=value)
            elif name in ("--extra-index-url", "--index", "-f", "--find-links"):
                installs = replace(installs, extra_index_urls=(*installs.extra_index_urls, value))
            elif name in ("-e", "--editable"):
                rest.insert(0, value or (rest.pop(0) if rest else "."))
            continue
        try:
            requirement = parse_requirement(word)
        except InvalidLine:
            continue
        requirements.append(replace(requirement, where=where, key=key))
    return replace(installs, requirements=tuple(requirements))
