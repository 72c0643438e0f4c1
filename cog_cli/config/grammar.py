"""What each value in a cog.yaml may look like.

The values end up in a Dockerfile, in shell words and in image names, so each has a grammar of its own and a value
that does not fit is refused, never repaired. Every check gives its value back unchanged or raises GrammarError.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Sequence

from cog_cli.config.key_paths import KeyPath, escape, quote

OLDEST_PYTHON_MINOR = 8
NEWEST_PYTHON_MINOR = 14
SUPPORTED_PYTHONS = tuple(f"3.{minor}" for minor in range(OLDEST_PYTHON_MINOR, NEWEST_PYTHON_MINOR + 1))
FREE_THREADED_SINCE_MINOR = 13
CUDA_FLAVORS = ("auto", "slim", "base", "runtime", "cudnn-runtime", "devel")
MAX_CONCURRENCY = 1_000_000
MAX_WORKERS = 64  # as in cog_server.settings

# Linux takes no single argument or variable over 128 KiB, so a longer one would fail in the build, late and unclear.
# BuildKit refuses lines of a Dockerfile over 65,535 bytes; quoting can make a text twice as long.
MAX_TEXT_BYTES = 30_000

_NUMBER = r"(?:0|[1-9][0-9]{0,3})"
PYTHON_VERSION = rf"^3\.{_NUMBER}(?:\.{_NUMBER})?t?$"
CUDA_VERSION = rf"^[1-9][0-9]?\.{_NUMBER}(?:\.{_NUMBER})?$"
CUDNN_VERSION = rf"^[1-9][0-9]?(?:\.{_NUMBER}){{0,3}}$"
DEBIAN_PACKAGE = (
    r"^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9][a-z0-9-]*)?(?:=[A-Za-z0-9][A-Za-z0-9.+:~-]*|/[a-z0-9][a-z0-9.-]*)?$"
)
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
SECRET_ID = r"^[A-Za-z0-9._-]+$"
MOUNT_TARGET = r"^(?:/[A-Za-z0-9._@+-]+)+$"
WEIGHT_NAME = r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$"

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])"
_REGISTRY = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?")
_REPOSITORY_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MAX_REFERENCE_CHARACTERS = 512
_MAX_PATH = 4096  # what Linux takes

_REFERENCE_FILE = re.compile(r"(?:[\w.+@ -]+/)*[\w.+@ -]+\.py")
_RESERVED_NAMES = (
    "PATH",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "PYTHONUNBUFFERED",
    "LIBRARY_PATH",
    "HF_ENDPOINT",
    "HF_HUB_ENABLE_HF_TRANSFER",
)
_RESERVED_PREFIXES = ("R8_", "REPLICATE_", "CUDA_", "NVIDIA_", "NV_", "PGET_", "KUBERNETES_")
_WEIGHT_SCHEMES = ("hf", "file", "https", "http")

_LINE_BREAKS = {"\n": "newline", "\r": "carriage return", "\x85": "newline", "\u2028": "newline", "\u2029": "newline"}


class GrammarError(ValueError):
    """A value that does not fit; `below` leads from a list to the entry that is meant."""

    def __init__(self, message: str, hint: str | None = None, *, below: KeyPath = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.below = below


def check_line(value: str, *, allowed: str = "\t") -> str:
    """Text on one line, without control characters except `allowed`."""
    if len(value.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise GrammarError(f"{len(value):,} characters long; at most {MAX_TEXT_BYTES:,} bytes fit", "Put it in a file.")
    for char in value:
        if char in allowed:
            continue
        if char in _LINE_BREAKS:
            raise GrammarError(f"a {_LINE_BREAKS[char]} in {quote(value)} is refused", "Write it on one line.")
        if char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff":
            name = "NUL" if char == "\0" else f"U+{ord(char):04X}"
            raise GrammarError(f"a control character ({name}) in {quote(value)} is refused", "Remove it.")
    return value


def check_workers(value: object) -> object:
    """A number of processes, or `per_gpu`."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value == "per_gpu" or (is_number and value in range(1, MAX_WORKERS + 1)):
        return value
    raise GrammarError(
        f"must be a whole number from 1 to {MAX_WORKERS}, or per_gpu", "Write workers: 2, or workers: per_gpu."
    )


def check_python_version(value: str) -> str:
    """`3.12`, `3.12.4`, or `3.13t` for the free-threaded build."""
    check_line(value)
    supported = ", ".join(SUPPORTED_PYTHONS)
    if not re.fullmatch(PYTHON_VERSION, value):
        if re.fullmatch(r"[0-9]+\.[0-9]+(?:\.[0-9]+)?", value) and not value.startswith("3."):
            raise GrammarError(
                f"Python {value} is not supported; supported versions are {supported}",
                'Port the code to Python 3 and write e.g. python_version: "3.12".',
            )
        raise GrammarError(
            f"{quote(value)} must match {_readable(PYTHON_VERSION)}",
            f'Write e.g. "3.12" or "3.12.4"; supported: {supported}.',
        )
    minor = int(value.rstrip("t").split(".")[1])
    if minor < OLDEST_PYTHON_MINOR:
        raise GrammarError(
            f"Python {value} is not supported; supported versions are {supported}",
            f'Write python_version: "3.{OLDEST_PYTHON_MINOR}" and raise the pins that have no wheels for it.',
        )
    if minor > NEWEST_PYTHON_MINOR:
        raise GrammarError(
            f"Python {value} is not known; supported versions are {supported}",
            f'Write python_version: "3.{NEWEST_PYTHON_MINOR}".',
        )
    if value.endswith("t") and minor < FREE_THREADED_SINCE_MINOR:
        raise GrammarError(
            f"there is no free-threaded Python {value}; it begins with 3.{FREE_THREADED_SINCE_MINOR}t",
            f'Write "{value[:-1]}" or "3.{FREE_THREADED_SINCE_MINOR}t".',
        )
    return value


def check_cuda(value: str) -> str:
    """`12.4` or `12.4.1`."""
    check_line(value)
    if re.fullmatch(r"[1-9][0-9]?", value):
        raise GrammarError(f"{quote(value)} has no minor version: cuda needs major.minor", f'Write e.g. "{value}.1".')
    if not re.fullmatch(CUDA_VERSION, value):
        raise GrammarError(f"{quote(value)} is not a CUDA version", 'Write major.minor, e.g. "12.4", or "12.4.1".')
    return value


def check_cudnn(value: str) -> str:
    """`8`, `8.9` or `8.9.2.26`."""
    check_line(value)
    if not re.fullmatch(CUDNN_VERSION, value):
        raise GrammarError(f"{quote(value)} is not a cuDNN version", 'Write e.g. "8", "9" or "8.9".')
    return value


def check_system_packages(value: str) -> str:
    """One Debian package, `name`, `name=version`, `name:arch` or `name/release`; or several, separated by spaces."""
    check_line(value)
    if not value.strip():
        raise GrammarError("an empty package name", "Remove the entry.")
    for name in value.split():
        if name.startswith("-"):
            raise GrammarError(f"{quote(value)}: options are not package names", "Name packages only.")
        if re.fullmatch(DEBIAN_PACKAGE, name):
            continue
        if re.fullmatch(DEBIAN_PACKAGE, name.lower()):
            raise GrammarError(
                f"{quote(name)} is not a Debian package name: they are lower case", f"Write {name.lower()}."
            )
        raise GrammarError(
            f"{quote(value)} is not a Debian package name",
            "Write one name an entry, e.g. ffmpeg or ffmpeg=7:5.1.6-0+deb12u1; commands belong under build.run.",
        )
    return value


def check_cuda_flavor(value: str) -> str:
    """One of CUDA_FLAVORS."""
    check_line(value)
    if value in CUDA_FLAVORS:
        return value
    near = difflib.get_close_matches(value.lower(), CUDA_FLAVORS, n=1)
    raise GrammarError(
        f"{quote(value)} is not one of {', '.join(CUDA_FLAVORS)}", f'Write e.g. "{near[0] if near else "auto"}".'
    )


def check_python_package(value: str) -> str:
    """A line for the installer: a requirement or an option like `--extra-index-url URL`."""
    check_line(value)
    if not value.strip():
        raise GrammarError("an empty package", "Remove the entry.")
    return value


def check_command(value: str) -> str:
    """A shell command; several lines are allowed."""
    check_line(value, allowed="\t\n")
    if not value.strip():
        raise GrammarError("an empty command", "Remove the entry.")
    if value.lstrip().startswith("--"):
        raise GrammarError(
            f"{quote(value)} begins with a Dockerfile option, not with a command",
            "Write the command only; a secret goes under mounts: [{type: secret, id: ID, target: /PATH}].",
        )
    return value


def check_secret_id(value: str) -> str:
    """The name of a build secret."""
    if not re.fullmatch(SECRET_ID, value) or not value.isascii():
        raise GrammarError(
            f"{quote(value)} is not a secret id: letters, digits, '.', '_' and '-' only (no commas or spaces)",
            "Write the id given to `cog build --secret id=...`.",
        )
    return value


def check_mount_target(value: str) -> str:
    """An absolute path of a file in the image."""
    if not value.startswith("/"):
        raise GrammarError(f"{quote(value)} must be absolute", f"Write e.g. /run/secrets/{_file_name(value)}.")
    if not re.fullmatch(MOUNT_TARGET, value) or {".", ".."} & set(value.split("/")):
        raise GrammarError(
            f"{quote(value)} is not a path for a secret: no commas, spaces, '..' or other special characters",
            "Write e.g. /root/.netrc.",
        )
    return value


def check_image(value: str) -> str:
    """A name an image can get: `name`, `registry:5000/name:tag`."""
    check_reference(value)
    if "@" in value:
        raise GrammarError(
            f"{quote(value)}: a digest cannot be given to an image that is yet to be built", "Use a tag."
        )
    return value


def check_reference(value: str) -> str:
    """An image reference as Docker reads it: `[registry[:port]/]repository[:tag][@digest]`."""
    check_line(value)
    if len(value) > _MAX_REFERENCE_CHARACTERS:
        raise GrammarError(f"{quote(value)} is longer than {_MAX_REFERENCE_CHARACTERS} characters")
    if "://" in value:
        raise GrammarError(f"{quote(value)} is a URL, not an image name", f"Write {escape(value.split('://', 1)[1])}.")
    name, _, digest = value.partition("@")
    if "@" in value and not _DIGEST.fullmatch(digest):
        raise GrammarError(f"{quote(value)} is an invalid reference: its digest is not sha256:<64 hex digits>")
    first, slash, rest = name.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    if has_registry and not _REGISTRY.fullmatch(first):
        raise GrammarError(f"{quote(value)} is an invalid reference: {quote(first)} is not a registry host")
    repository, colon, tag = (rest if has_registry else name).partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise GrammarError(f"{quote(value)} is an invalid reference: {quote(tag)} is not a tag")
    if all(_REPOSITORY_PART.fullmatch(part) for part in repository.split("/")):
        return value
    if all(_REPOSITORY_PART.fullmatch(part) for part in repository.lower().split("/")):
        fixed = value.replace(repository, repository.lower(), 1)
        raise GrammarError(f"{quote(value)}: repository names are lower case", f"Write {escape(fixed)}.")
    raise GrammarError(
        f"{quote(value)} is an invalid reference", "Write e.g. my-model or registry.example.com/me/my-model."
    )


def check_predict(value: str) -> str:
    """`file.py:ClassName`."""
    return _check_target(value, form="file.py:ClassName", example="predict.py:Predictor")


def check_train(value: str) -> str:
    """`file.py:name`."""
    return _check_target(value, form="file.py:name", example="train.py:train")


def check_project_path(value: str) -> str:
    """A path relative to the project that does not lead out of it."""
    check_line(value)
    if not value.strip():
        raise GrammarError("an empty path", "Write the path of a file, or remove the line.")
    if value.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:[\\/]", value) or ".." in re.split(r"[/\\]", value):
        raise GrammarError(
            f"{quote(value)} must stay inside the project", "Write a path relative to cog.yaml, without `..`."
        )
    return value


def check_variable(value: str) -> str:
    """`NAME=value`, NAME not reserved. The message never shows the value: it may be a secret."""
    name, equals, _ = value.partition("=")
    if not equals or not name.strip():
        shown = quote(value) if not equals else f'"={"..." if len(value) > 1 else ""}"'
        raise GrammarError(f"{shown} is not KEY=VALUE", "Write e.g. LOG_LEVEL=debug.")
    if not re.fullmatch(VARIABLE, name):
        raise GrammarError(f"{quote(name)} is an invalid variable name", "Use letters, digits and `_`, no digit first.")
    if name in _RESERVED_NAMES or name.startswith(_RESERVED_PREFIXES):
        raise GrammarError(
            f"{name} is reserved: the image sets it itself", "Remove it, or give it with `-e` at run time."
        )
    try:
        check_line(value)
    except GrammarError as error:
        raise GrammarError(error.message.replace(quote(value), name), error.hint) from None
    return value


def check_weight_name(value: str) -> str:
    """Lower case letters and digits, joined by single `.`, `_` or `-`."""
    if not re.fullmatch(WEIGHT_NAME, value):
        raise GrammarError(f"{quote(value)} is not a name for weights", "Use lower case, e.g. sd-v1.5.")
    return value


def check_weight_target(value: str) -> str:
    """An absolute folder in the image, not `/`."""
    check_line(value)
    if not value.startswith("/"):
        raise GrammarError(f"{quote(value)} must be absolute", f"Write e.g. /src/{_file_name(value)}.")
    if value.strip("/") == "":
        raise GrammarError('"/" would hide the whole image', "Write e.g. /src/weights.")
    if not re.fullmatch(MOUNT_TARGET, value.rstrip("/")) or {".", ".."} & set(value.split("/")):
        raise GrammarError(f"{quote(value)} is not a plain absolute path", "Write e.g. /src/weights.")
    return value


def check_weight_uri(value: str) -> str:
    """`hf://owner/name`, `https://...`, `file://...` or a path."""
    check_line(value)
    if not value.strip():
        raise GrammarError("an empty source", "Write e.g. hf://owner/name.")
    scheme, separator, rest = value.partition("://")
    if separator and scheme not in _WEIGHT_SCHEMES:
        raise GrammarError(
            f"{quote(scheme)} is not a known source",
            f"Known: {', '.join(f'{each}://' for each in _WEIGHT_SCHEMES)} or a path.",
        )
    if separator and not rest:
        raise GrammarError(f"{quote(value)} names nothing", "Write e.g. hf://owner/name.")
    if separator and "@" in rest.split("/")[0] and scheme != "hf":
        raise GrammarError("a user or password in the URL is refused", "Remove it: cog.yaml is stored in the image.")
    return value


def check_glob(value: str) -> str:
    """A file pattern without `!` and backslash."""
    check_line(value)
    if not value.strip() or "!" in value or "\\" in value:
        raise GrammarError(
            f"{quote(value)} is not a pattern: `!` and backslash are not supported", "Write e.g. *.json."
        )
    return value


def find_repeated_variables(variables: Sequence[object]) -> list[GrammarError]:
    """One error for each `NAME=value` whose NAME an earlier entry sets."""
    names = [str(each).partition("=")[0] if "=" in str(each) else None for each in variables]
    return _repeats(names, "set")


def find_repeated_targets(targets: Sequence[object], *, may_nest: bool) -> list[GrammarError]:
    """One error for each path that an earlier entry uses, or, unless `may_nest`, that lies in or around one."""
    paths = [str(each).rstrip("/") if isinstance(each, str) and len(each) <= _MAX_PATH else None for each in targets]
    errors = _repeats(paths, "used", "target")
    if may_nest:
        return errors
    first = {path: index for index, path in reversed(list(enumerate(paths))) if path}
    for path, index in first.items():
        parts = path.split("/")
        for outer in ("/".join(parts[:length]) for length in range(2, len(parts))):
            if outer in first:
                message = f"{quote(path)} lies inside {quote(outer)}"
                errors.append(GrammarError(message, "Keep them apart.", below=(max(index, first[outer]), "target")))
    return errors


def find_repeated_names(names: Sequence[object]) -> list[GrammarError]:
    """One error for each name that an earlier entry has."""
    return _repeats([name if isinstance(name, str) else None for name in names], "used", "name")


def is_reference_to_code(value: str) -> bool:
    """Whether it looks like `file.py:Name` (as against an image or model name)."""
    return ".py:" in value or value.endswith(".py")


def _repeats(names: Sequence[str | None], verb: str, *key: str) -> list[GrammarError]:
    seen: dict[str, int] = {}
    errors = []
    for index, name in enumerate(names):
        if name is None:
            continue
        if name in seen:
            message = f"duplicate: {escape(name)} is {verb} twice (first as entry {seen[name]})"
            errors.append(GrammarError(message, "Keep one.", below=(index, *key)))
        seen.setdefault(name, index)
    return errors


def _check_target(value: str, *, form: str, example: str) -> str:
    check_line(value)
    hint = f"Write e.g. {example}."
    file, colon, name = value.partition(":")
    if re.match(r"[A-Za-z]:[\\/]", value):
        raise GrammarError(f"{quote(value)} must stay inside the project", hint)
    if not colon:
        raise GrammarError(f"{quote(value)} must be {form}", hint)
    if not file.strip():
        raise GrammarError(f"the file name is empty in {quote(value)}", hint)
    if not name.strip():
        raise GrammarError(f"the class name is empty in {quote(value)}", hint)
    check_project_path(file)
    if not name.isidentifier() or keyword.iskeyword(name):
        if re.fullmatch(r"\w+:\w+", name):
            raise GrammarError(f"{quote(value)} must be {form}", hint)
        raise GrammarError(f"{quote(name)} is not a Python identifier", hint)
    if file.endswith(".py"):
        if not _REFERENCE_FILE.fullmatch(file) or file.startswith(("-", " ")):
            raise GrammarError(f"{quote(file)} is not a file name that can be used", hint)
    elif not all(part.isidentifier() and not keyword.iskeyword(part) for part in file.split(".")):
        raise GrammarError(f"{quote(file)} is neither a .py file nor a module", hint)
    return value


def _file_name(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "", value.rstrip("/").rpartition("/")[2]).strip(".") or "name"


def _readable(pattern: str) -> str:
    """The pattern as documentation writes it."""
    return pattern.replace(_NUMBER, r"\d+").replace("(?:", "(").replace("t?$", "$")
