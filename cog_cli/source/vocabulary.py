"""What is known of modules that are not the project's: the names that are real objects here, and little of packages.

Nothing in the known ones runs the project's code when it is looked at; what may be called is decided in calls.py.
"""

from __future__ import annotations

import importlib.util
import math
import re
import types
from functools import cache
from typing import Any

from cog_cli.source.values import ABSENT, KnownModule, Place, Unknown

# Module -> the names of it that may be used; None for all that are public.
_MODULES: dict[str, str | None] = {
    **dict.fromkeys(("cog", "cog.types", "cog.input", "cog.model", "cog.predictor", "cog.scope")),
    "typing": None,
    "collections.abc": None,
    "collections": "OrderedDict namedtuple",
    "pathlib": "Path PurePath PosixPath PurePosixPath",
    "datetime": "datetime date time timedelta timezone",
    "enum": "Enum IntEnum StrEnum Flag IntFlag auto unique",
    "io": "IOBase BytesIO StringIO BufferedReader TextIOWrapper RawIOBase BufferedIOBase",
    "dataclasses": "dataclass field KW_ONLY InitVar MISSING",
    "functools": "wraps lru_cache cache partial partialmethod total_ordering",
    "abc": "ABC ABCMeta abstractmethod",
}

_ALIASES = {
    "typing_extensions": "typing",
    **dict.fromkeys(("pydantic.v1", "pydantic.fields", "pydantic.main"), "pydantic"),
}


class PydanticBase:
    """What stands in for pydantic's BaseModel; `cog.reading.objects` knows it by its name and module."""

    __module__ = "pydantic.main"


PydanticBase.__name__ = "BaseModel"


class PydanticField:
    """What stands in for pydantic's `Field`."""


_TABLES: dict[str, dict[str, Any]] = {
    "pydantic": {"BaseModel": PydanticBase, "Field": PydanticField},
    "math": {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")},
    "sys": {"maxsize": 2**63 - 1},
}

# Classes that people return, and what is known of them without their packages: they are plain classes.
_FOREIGN = {
    "numpy.ndarray": "numpy",
    "torch.Tensor": "torch",
    "torch.nn.Module": "torch.nn.modules.module",
    "PIL.Image.Image": "PIL.Image",
    "pandas.DataFrame": "pandas.core.frame",
}
_FOREIGN_CLASSES = {path: type(path.split(".")[-1], (), {"__module__": where}) for path, where in _FOREIGN.items()}

# Decorators that leave the signature as it is: they wrap with functools.wraps, or only mark.
HARMLESS_DECORATORS = re.compile(
    r"torch\.(inference_mode|no_grad|enable_grad|set_grad_enabled|autocast|(cuda\.|cpu\.)?amp\.autocast)(\(\))?"
    r"|torch\.autograd\.(grad_mode\.)?(no_grad|inference_mode)(\(\))?"
    r"|(typing\.(final|override)|functools\.(lru_cache|cache))(\(\))?"
)

_REASONS = {
    **dict.fromkeys(("os.environ", "os.getenv"), "environment variables are known only where the model runs"),
    "random": "it is random",
    "time": "the time is known only where the model runs",
    "sys": "the interpreter is known only where the model runs",
    "os": "files and settings are known only where the model runs",
}


def is_known_module(dotted: str) -> bool:
    """Whether the names of a module are known here."""
    return _ALIASES.get(dotted, dotted) in (*_MODULES, *_TABLES)


@cache
def known_names(dotted: str) -> dict[str, Any]:
    """The names of a known module that may be used, with the objects that they are."""
    module = _ALIASES.get(dotted, dotted)
    if module in _TABLES:
        return _TABLES[module]
    made = importlib.import_module(module)
    names = (_MODULES[module] or " ".join(getattr(made, "__all__", vars(made)))).split()
    found = {name: getattr(made, name) for name in names if hasattr(made, name) and not name.startswith("_")}
    return {name: value for name, value in found.items() if not isinstance(value, types.ModuleType)}


def find_known(dotted: str, name: str) -> Any:
    """The object that `dotted.name` is, ABSENT if there is none or it is not to be used."""
    if is_known_module(f"{dotted}.{name}"):
        return KnownModule(f"{dotted}.{name}")
    found = known_names(dotted).get(name, ABSENT)
    if found is ABSENT and dotted in ("typing", "typing_extensions") and importlib.util.find_spec("typing_extensions"):
        return getattr(importlib.import_module("typing_extensions"), name, ABSENT)
    return found


def package_value(path: str, place: Place) -> Any:
    """What `path` (`numpy.ndarray`, `torch`) stands for: the stand-in of a well-known class, or Unknown and why."""
    if path in _FOREIGN:
        return _FOREIGN_CLASSES[path]
    parts = path.split(".")
    if parts[0] == "cog" and is_known_module(".".join(parts[:-1])):
        return Unknown(f"{'.'.join(parts[:-1])} has no `{parts[-1]}`", place, path=path, is_error=True)
    reason = _REASONS.get(".".join(parts[:2]), _REASONS.get(parts[0]))
    where = f": {reason}" if reason else " comes from a package, which is not imported here"
    return Unknown(f"`{path}`{where}", place, path=path)
