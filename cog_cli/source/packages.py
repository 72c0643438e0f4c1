"""What is known of the packages a project imports: very little, and why a member of one is unknown."""

from __future__ import annotations

from typing import Any

from cog_cli.source.values import Place, Unknown
from cog_cli.source.vocabulary import find_foreign, is_known_module

# Decorators that leave the signature as it is: they wrap with functools.wraps, or only mark.
_HARMLESS_DECORATORS = frozenset(
    {
        "torch.inference_mode",
        "torch.no_grad",
        "torch.enable_grad",
        "torch.set_grad_enabled",
        "torch.autocast",
        "torch.amp.autocast",
        "torch.cuda.amp.autocast",
        "torch.cpu.amp.autocast",
        "torch.autograd.no_grad",
        "torch.autograd.inference_mode",
        "torch.autograd.grad_mode.no_grad",
        "torch.autograd.grad_mode.inference_mode",
        "typing.final",
        "typing.override",
        "functools.lru_cache",
        "functools.cache",
    }
)

_REASONS = {
    "os.environ": "environment variables are known only where the model runs",
    "os.getenv": "environment variables are known only where the model runs",
    "random": "it is random",
    "time": "the time is known only where the model runs",
    "sys": "the interpreter is known only where the model runs",
    "os": "files and settings are known only where the model runs",
}

# Calls into these keep nothing of what they are given and change none of it.
_READ_ONLY = (
    "os",
    "sys.path",
    "logging",
    "json",
    "warnings",
    "time",
    "torch.device",
    "torch.cuda",
    "torch.backends",
    "re",
)

# Context managers that let exceptions pass.
_PLAIN_CONTEXTS = (
    "open",
    "io",
    "os",
    "torch",
    "warnings",
    "zipfile",
    "tarfile",
    "tempfile",
    "gzip",
    "urllib",
    "requests",
)


def package_value(path: str, place: Place) -> Any:
    """What `path` (`numpy.ndarray`, `torch`) stands for: the stand-in of a well-known class, or Unknown and why."""
    known = find_foreign(path)
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
    return isinstance(value, Unknown) and value.path.removesuffix("()") in _HARMLESS_DECORATORS


def is_read_only(value: Any) -> bool:
    """Whether calling this unknown function leaves its arguments alone."""
    return isinstance(value, Unknown) and _is_under(value.path, _READ_ONLY)


def is_plain_context(value: Any) -> bool:
    """Whether this unknown context manager lets exceptions pass, so that its body runs to the end or not at all."""
    return isinstance(value, Unknown) and _is_under(value.path.replace("()", ""), _PLAIN_CONTEXTS)


def _is_under(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)
