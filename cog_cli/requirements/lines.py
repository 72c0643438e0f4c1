"""`parse_line`: one line of a requirements file, as pip and uv read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class InvalidLine(Exception):
    """A line that the installer would refuse, with the reason in the user's words."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class Requirement:
    """One package the user asks for.

    `name` is normalised, "" where only the installer can know it (`git+…` without `#egg=`, a folder). `url` is a
    direct reference: a URL, `git+…`, or a path inside the project. `where` is `file:line:column`, `key` the path of
    the cog.yaml key it came through, `text` what the user wrote.
    """

    name: str
    extras: frozenset[str] = frozenset()
    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    url: str | None = None
    marker: Marker | None = None
    hashes: tuple[str, ...] = ()
    is_editable: bool = False
    is_constraint: bool = False
    where: str = ""
    key: str = ""
    text: str = ""

    def applies(self, *, python: str, machine: str = "x86_64") -> bool:
        """Whether the marker holds on Linux for this Python (`3.12`, `3.12.4`) and machine (x86_64 or aarch64)."""
        if self.marker is None:
            return True
        python = python.removesuffix("t")
        full = python if python.count(".") > 1 else f"{python}.0"
        environment = {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": ".".join(full.split(".")[:2]),
            "sys_platform": "linux",
            "extra": "",
        }
        return self.marker.evaluate(environment)

    @property
    def is_local(self) -> bool:
        """Whether it is a path inside the project."""
        return self.url is not None and "://" not in self.url and not self.url.startswith("git+")

    @property
    def filename(self) -> str:
        """The file name of a direct reference, unquoted: `torch-2.3.1+cu121-cp310-cp310-linux_x86_64.whl`."""
        return unquote(urlsplit(self.url or "").path).rpartition("/")[2]


@dataclass(frozen=True)
class IndexOptions:
    """Where packages are looked for, and how. Repeated options add up, as in pip; the last `index_url` wins."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    config_settings: tuple[str, ...] = ()  # "package:key=value"
    allows_prereleases: bool = False
    has_no_index: bool = False
    requires_hashes: bool = False

    def plus(self, other: IndexOptions) -> IndexOptions:
        return IndexOptions(
            index_url=other.index_url or self.index_url,
            extra_index_urls=_union(self.extra_index_urls, other.extra_index_urls),
            find_links=_union(self.find_links, other.find_links),
            trusted_hosts=_union(self.trusted_hosts, other.trusted_hosts),
            config_settings=_union(self.config_settings, other.config_settings),
            allows_prereleases=self.allows_prereleases or other.allows_prereleases,
            has_no_index=self.has_no_index or other.has_no_index,
            requires_hashes=self.requires_hashes or other.requires_hashes,
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """Every index the user named."""
        return ((self.index_url,) if self.index_url else ()) + self.extra_index_urls


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return first + tuple(item for item in second if item not in first)


@dataclass(frozen=True)
class Line:
    """A logical line: `text` joined over backslashes and without comment, `physical` the lines it is made of."""

    number: int
    column: int
    text: str
    physical: tuple[str, ...]


@dataclass(frozen=True)
class ParsedLine:
    """What a line says. `kept` is how an inline item is written for the installer: one option or package a line."""

    requirement: Requirement | None = None
    options: IndexOptions = field(default_factory=IndexOptions)
    includes: tuple[tuple[str, bool], ...] = ()  # (file, is it a constraints file)
    kept: tuple[str, ...] = ()


def logical_lines(text: str) -> Iterator[Line]:
    """The lines of a requirements file. Only \\n and \\r\\n end a line, a `#` starts a comment at the start or after a
    space, and a backslash at the end continues the line."""
    pending: list[str] = []
    start = 1
    # One list element per "\n": joining the physical lines again gives the file back byte for byte.
    physical_lines = text.split("\n")
    for number, physical in enumerate(physical_lines, 1):
        bare = physical.rstrip("\r")
        is_comment = bare.lstrip().startswith("#")
        if not pending:
            start = number
        pending.append(physical)
        if bare.endswith("\\") and not is_comment and number < len(physical_lines):
            continue
        pieces = [re.sub(r"^#.*$|\s#.*$", "", piece.rstrip("\r").removesuffix("\\")) for piece in pending]
        joined = "".join(pieces)
        yield Line(start, len(joined) - len(joined.lstrip()) + 1, joined.strip(), tuple(pending))
        pending = []


def parse_line(line: Line, *, where: str, key: str, is_inline: bool) -> ParsedLine:
    """Parse one logical line. Raises InvalidLine with what is wrong and what to write instead."""
    if not line.text:
        return ParsedLine()
    split = re.search(r"(^|\s)-", line.text)
    subject = line.text[: split.start()].strip() if split else line.text
    tokens = _tokens(line.text[split.start() :]) if split else []
    parsed = _parse_options(tokens, subject=subject, is_inline=is_inline)
    editable = next((value for name, value in parsed.pairs if name == "--editable"), None)
    requirement = None
    kept = parsed.kept
    if subject or editable:
        requirement = parse_requirement(editable or subject)
        requirement = replace(
            requirement,
            hashes=tuple(value for name, value in parsed.pairs if name == "--hash"),
            is_editable=editable is not None,
            where=where,
            key=key,
            text=f"-e {editable}" if editable else subject,
        )
        hashes = "".join(f" --hash={value}" for value in requirement.hashes)
        kept = (*kept, f"{requirement.text}{hashes}")
    settings = tuple(
        f"{requirement.name}:{value}" for name, value in parsed.pairs if name == "--config-settings" and requirement
    )
    options = replace(_index_options(parsed.pairs), config_settings=settings)
    includes = tuple(
        (value, name == "--constraint") for name, value in parsed.pairs if name in ("--requirement", "--constraint")
    )
    return ParsedLine(requirement, options, includes, kept)


# Option -> (canonical name, takes a value). What the installer does not read in a file becomes one of its arguments
# (see Stack.install_args); the rest would change where or what pip installs to, which is not the user's to say here.
_OPTIONS = {
    "-r": ("--requirement", True),
    "--requirement": ("--requirement", True),
    "-c": ("--constraint", True),
    "--constraint": ("--constraint", True),
    "-e": ("--editable", True),
    "--editable": ("--editable", True),
    "-i": ("--index-url", True),
    "--index-url": ("--index-url", True),
    "--pypi-url": ("--index-url", True),
    "--extra-index-url": ("--extra-index-url", True),
    "-f": ("--find-links", True),
    "--find-links": ("--find-links", True),
    "--trusted-host": ("--trusted-host", True),
    "--no-binary": ("--no-binary", True),
    "--only-binary": ("--only-binary", True),
    "--use-feature": ("--use-feature", True),
    "--hash": ("--hash", True),
    "-C": ("--config-settings", True),
    "--config-settings": ("--config-settings", True),
    "--config-setting": ("--config-settings", True),
    "--no-index": ("--no-index", False),
    "--pre": ("--pre", False),
    "--prefer-binary": ("--prefer-binary", False),
    "--require-hashes": ("--require-hashes", False),
}
_OF_A_PACKAGE = ("--hash", "--config-settings")


@dataclass(frozen=True)
class _Options:
    pairs: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]


def _tokens(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidLine(f"quotes do not match in `{text}`") from error


def _parse_options(tokens: list[str], *, subject: str, is_inline: bool) -> _Options:
    """Option tokens as (canonical name, value) pairs, and the lines they become when they came from cog.yaml."""
    pairs: list[tuple[str, str]] = []
    kept: list[str] = []
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.partition("=")
        if name not in _OPTIONS and token[:2] in ("-r", "-c", "-e", "-i", "-f") and not token.startswith("--"):
            name, equals, value = token[:2], "=", token[2:]
        if name not in _OPTIONS:
            raise InvalidLine(
                f"`{token}` is not allowed here",
                "Options that may stand in a requirements file: " + ", ".join(sorted(set(_OPTIONS) - {"--pypi-url"})),
            )
        canonical, takes_value = _OPTIONS[name]
        if takes_value and not equals:
            if not rest:
                raise InvalidLine(f"`{token}` needs a value")
            value = rest.pop(0)
        value = value.lstrip("=")
        if takes_value and not value:
            raise InvalidLine(f"`{token}` needs a value")
        if subject and canonical not in _OF_A_PACKAGE and not is_inline:
            raise InvalidLine(f"`{name}` must stand on a line of its own, not after `{subject}`")
        pairs.append((canonical, value))
        if canonical not in (*_OF_A_PACKAGE, "--editable"):
            kept.append(f"{canonical} {value}".rstrip())
    return _Options(tuple(pairs), tuple(kept))


def _index_options(pairs: tuple[tuple[str, str], ...]) -> IndexOptions:
    def values(wanted: str) -> tuple[str, ...]:
        return tuple(value for name, value in pairs if name == wanted)

    names = {name for name, _ in pairs}
    return IndexOptions(
        index_url=(values("--index-url") or (None,))[-1],
        extra_index_urls=values("--extra-index-url"),
        find_links=values("--find-links"),
        trusted_hosts=values("--trusted-host"),
        allows_prereleases="--pre" in names,
        has_no_index="--no-index" in names,
        requires_hashes="--require-hashes" in names,
    )


def parse_requirement(text: str) -> Requirement:
    """A requirement in any of pip's forms: PEP 508, URL, `git+…`, a path. Raises InvalidLine."""
    if re.match(r"(git|hg|svn|bzr)\+|(?!file:)[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        return _from_url(text)
    path = text.partition(";")[0].strip()
    bare = re.sub(r"\[[^\]]*\]$", "", path)
    if "@" not in path and (text.startswith((".", "/", "~", "file:")) or bare.lower().endswith(ARCHIVES)):
        return _from_path(text)
    try:
        parsed = Pep508(text)
    except InvalidRequirement as error:
        raise InvalidLine(f"`{text}` is not a requirement: {_reason(text, error)}", _correction(text)) from error
    if parsed.url is not None and parsed.url.startswith("file://"):
        raise _absolute(text)
    if "${" in text and parsed.url is None:
        raise InvalidLine(f"`{text}`: variables are replaced in URLs only", "Write the version itself.")
    return Requirement(
        name=canonicalize_name(parsed.name),
        extras=frozenset(canonicalize_name(extra) for extra in parsed.extras),
        specifier=parsed.specifier,
        url=parsed.url,
        marker=parsed.marker,
        text=text,
    )


def _reason(text: str, error: InvalidRequirement) -> str:
    if "${" in text:
        return "variables are replaced in URLs only"
    return str(error).splitlines()[0].rstrip(":")


def _correction(text: str) -> str | None:
    """What the user probably meant, for the slips that people make."""
    if match := re.fullmatch(r"([\w.-]+(?:\[[^\]]*\])?)\s*=\s*([\w.+!*]+)", text):
        return f"Write `{match[1]}=={match[2]}`."
    if match := re.fullmatch(r"([\w.-]+(?:\[[^\]]*\])?)\s*=([<>!~])\s*([\w.+!*]+)", text):
        return f"Write `{match[1]}{match[2]}={match[3]}`."
    if match := re.fullmatch(r"([\w.-]+)\s+v?(\d[\w.+]*)", text):
        return f"Write `{match[1]}=={match[2]}`."
    if re.search(r"\S#", text):
        return "A comment needs a space before its `#`."
    return None


def _split_marker(text: str) -> tuple[str, Marker | None]:
    """`URL ; marker`: in a URL a semicolon only ends it when a space stands beside it."""
    match = re.search(r"\s;|;\s", text)
    if match is None:
        return text.strip(), None
    try:
        return text[: match.start()].strip(), Marker(text[match.end() :].strip())
    except ValueError as error:
        raise InvalidLine(f"`{text}`: the marker after `;` is not valid") from error


def _from_url(text: str) -> Requirement:
    url, marker = _split_marker(text)
    egg = re.search(r"[#&]egg=([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", url)
    if egg:
        extras = frozenset(canonicalize_name(extra.strip()) for extra in (egg[2] or "").split(",") if extra.strip())
        return Requirement(canonicalize_name(egg[1]), extras, url=url, marker=marker, text=text)
    requirement = Requirement("", url=url, marker=marker, text=text)
    name, specifier = _name_of_file(requirement.filename)
    return replace(requirement, name=name, specifier=specifier)


def _absolute(text: str) -> InvalidLine:
    return InvalidLine(f"`{text}` is an absolute path, which the image does not have", "Write `./path` instead.")


def _from_path(text: str) -> Requirement:
    path, marker = _split_marker(text)
    if path.startswith("file://"):
        raise _absolute(text)
    extras = re.search(r"\[([^\]]*)\]$", path)
    bare = path[: extras.start()] if extras else path
    name, specifier = _name_of_file(bare.rpartition("/")[2])
    names = frozenset(canonicalize_name(extra.strip()) for extra in extras[1].split(",")) if extras else frozenset()
    return Requirement(name, names, specifier, url=path, marker=marker, text=text)


def _name_of_file(filename: str) -> tuple[str, SpecifierSet]:
    """Name and `==version` from the name of a wheel or sdist; ("", any) if it has neither."""
    try:
        if filename.endswith(".whl"):
            name, version, *_ = parse_wheel_filename(filename)
            return name, SpecifierSet(f"=={version}")
        if filename.endswith((".tar.gz", ".zip")):
            name, version = parse_sdist_filename(filename)
            return name, SpecifierSet(f"=={version}")
    except (InvalidWheelFilename, InvalidSdistFilename):
        pass
    return "", SpecifierSet()
