"""What is known of modules that are not the project's: the names that are real objects here, and little of packages.

Nothing in the known ones runs the project's code when it is looked at; what may be called is decided in calls.py.
"""

from __future__ import annotations

import importlib
import math
import posixpath
import re
import string
import sys
from typing import Any

from cog_cli.source.values import ABSENT, KnownModule, Place, Unknown

_COG = ("cog", "cog.types", "cog.input", "cog.model", "cog.predictor", "cog.scope")

# Module -> the names of it that may be used; None for all that are public.
_MODULES: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(_COG),
    "typing": None,
    "collections.abc": None,
    "collections": frozenset({"OrderedDict", "namedtuple"}),
    "pathlib": frozenset({"Path", "PurePath", "PosixPath", "PurePosixPath"}),
    "datetime": frozenset({"datetime", "date", "time", "timedelta", "timezone"}),
    "enum": frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "auto", "unique"}),
    "io": frozenset(
        {"IOBase", "BytesIO", "StringIO", "BufferedReader", "TextIOWrapper", "RawIOBase", "BufferedIOBase"}
    ),
    "dataclasses": frozenset({"dataclass", "field", "KW_ONLY", "InitVar", "MISSING"}),
    "functools": frozenset({"wraps", "lru_cache", "cache", "partial", "partialmethod", "total_ordering"}),
    "abc": frozenset({"ABC", "ABCMeta", "abstractmethod"}),
    "numbers": frozenset({"Number", "Real", "Integral"}),
}

_CONSTANTS: dict[str, dict[str, Any]] = {
    "math": {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")},
    "string": {name: getattr(string, name) for name in dir(string) if isinstance(getattr(string, name), str)},
    "sys": {"maxsize": 2**63 - 1},
    "os": {"sep": "/", "linesep": "\n", "path": KnownModule("posixpath")},
    "posixpath": {name: getattr(posixpath, name) for name in ("join", "basename", "dirname", "splitext", "normpath")},
}

_ALIASES = {
    "os.path": "posixpath",
    "typing_extensions": "typing",
    "pydantic.v1": "pydantic",
    "pydantic.fields": "pydantic",
}


class PydanticBase:
    """What stands in for pydantic's BaseModel; `cog.reading.objects` knows it by its name and module."""

    __module__ = "pydantic.main"


PydanticBase.__name__ = "BaseModel"


class PydanticField:
    """What stands in for pydantic's `Field`."""


class PydanticConfig:
    """What stands in for pydantic's `ConfigDict`, which no signature depends on."""


_PYDANTIC = {"BaseModel": PydanticBase, "Field": PydanticField, "ConfigDict": PydanticConfig}


def _foreign(name: str, module: str) -> type:
    return type(name, (), {"__module__": module})


# Classes that people return, and what is known of them without their packages: they are plain classes.
_FOREIGN: dict[str, type] = {
    "numpy.ndarray": _foreign("ndarray", "numpy"),
    "torch.Tensor": _foreign("Tensor", "torch"),
    "torch.nn.Module": _foreign("Module", "torch.nn.modules.module"),
    "PIL.Image.Image": _foreign("Image", "PIL.Image"),
    "pandas.DataFrame": _foreign("DataFrame", "pandas.core.frame"),
}


# Decorators that leave the signature as it is: they wrap with functools.wraps, or only mark.
_HARMLESS_DECORATORS = re.compile(
    r"torch\.(inference_mode|no_grad|enable_grad|set_grad_enabled|autocast|(cuda\.|cpu\.)?amp\.autocast)(\(\))?"
    r"|torch\.autograd\.(grad_mode\.)?(no_grad|inference_mode)(\(\))?"
    r"|(typing\.(final|override)|functools\.(lru_cache|cache))(\(\))?"
)

_REASONS = {
    "os.environ": "environment variables are known only where the model runs",
    "os.getenv": "environment variables are known only where the model runs",
    "random": "it is random",
    "time": "the time is known only where the model runs",
    "sys": "the interpreter is known only where the model runs",
    "os": "files and settings are known only where the model runs",
}


def is_known_module(dotted: str) -> bool:
    """Whether the names of a module are known here."""
    dotted = _ALIASES.get(dotted, dotted)
    return dotted in _MODULES or dotted in _CONSTANTS or dotted in ("pydantic", "pydantic.main", "pydantic.v1")


def is_known_object(dotted: str) -> bool:
    """Whether a dotted name is a real object here."""
    module, _, name = dotted.rpartition(".")
    return is_known_module(module) and find_known(module, name) is not ABSENT


def find_known(dotted: str, name: str) -> Any:
    """The object that `dotted.name` is, ABSENT if there is none or it is not to be used."""
    module = _ALIASES.get(dotted, dotted)
    if module == "pydantic":
        if is_known_module(f"{dotted}.{name}"):
            return KnownModule(f"{dotted}.{name}")
        return _PYDANTIC.get(name, ABSENT)
    if module in _CONSTANTS:
        return _CONSTANTS[module].get(name, ABSENT)
    if is_known_module(f"{module}.{name}"):
        return KnownModule(f"{module}.{name}")
    allowed = _MODULES.get(module)
    if (allowed is not None and name not in allowed) or name.startswith("_"):
        return ABSENT
    found = getattr(_module(module), name, ABSENT)
    if found is ABSENT and module == "typing":
        found = getattr(_module("typing_extensions"), name, ABSENT)
    return ABSENT if _is_module(found) else found


def star_names(dotted: str) -> list[str]:
    """The names that `from dotted import *` brings."""
    module = _ALIASES.get(dotted, dotted)
    if module == "pydantic":
        return list(_PYDANTIC)
    if module in _CONSTANTS:
        return list(_CONSTANTS[module])
    return [name for name in getattr(_module(module), "__all__", ()) if find_known(dotted, name) is not ABSENT]


def _module(dotted: str) -> Any:
    try:
        return importlib.import_module(dotted)
    except ImportError:
        return None


def _is_module(value: Any) -> bool:
    return isinstance(value, type(sys))


def package_value(path: str, place: Place) -> Any:
    """What `path` (`numpy.ndarray`, `torch`) stands for: the stand-in of a well-known class, or Unknown and why."""
    known = _FOREIGN.get(path)
    if known is not None:
        return known
    parts = path.split(".")
    if parts[0] == "cog" and is_known_module(".".join(parts[:-1])):
        return Unknown(f"{'.'.join(parts[:-1])} has no `{parts[-1]}`", place, path=path, is_error=True)
    for length in range(len(parts), 0, -1):
        reason = _REASONS.get(".".join(parts[:length]))
        if reason is not None:
            return Unknown(f"`{path}`: {reason}", place, path=path)
    return Unknown(f"`{path}` comes from a package, which is not imported here", place, path=path)


def describe_member(value: Unknown, name: str, place: Place) -> Any:
    """`value.name` for something unknown."""
    if not value.path or "(" in value.path:
        return Unknown(value.reason, value.place, is_error=value.is_error)
    return package_value(f"{value.path}.{name}", place)


def is_harmless_decorator(value: Any) -> bool:
    """Whether decorating with this unknown value leaves a function's signature as it is."""
    return isinstance(value, Unknown) and _HARMLESS_DECORATORS.fullmatch(value.path) is not None
