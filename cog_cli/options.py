"""The flags that several commands share, each checked where it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import click

from cog_cli.config.grammar import GrammarError, check_image, check_reference
from cog_cli.console import console
from cog_cli.engines.base import Engine
from cog_cli.engines.choose import choose_engine
from cog_cli.hosts import find_host
from cog_cli.image.build import BuildOptions, Secret

F = TypeVar("F", bound=Callable[..., Any])


class Flag(Protocol):
    """A decorator that gives a command one more flag, or several."""

    def __call__(self, function: F, /) -> F: ...


_PLATFORM = re.compile(r"linux/(amd64|arm64)(/v\d+)?")
_GPUS = re.compile(r"all|\d+|device=[\w.:,-]+")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\x00]+", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9._/-]*[a-z0-9])?", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def checked(check: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A click callback that checks a value by a grammar of cog.yaml."""

    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return check(value)
        except GrammarError as error:
            raise click.BadParameter(f"{error.message}. {error.hint or ''}".strip()) from error

    return callback


def check_platform(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: a platform that images are built for."""
    if value is not None and not _PLATFORM.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not linux/amd64 or linux/arm64")
    return value


def check_url(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: a URL with a scheme and a place; the server knows which schemes it takes."""
    if value is not None and not _is_url(value):
        raise click.BadParameter(f"{value!r} is no URL, such as https://example.com/files/ or s3://bucket/folder")
    return value


def _is_url(text: str) -> bool:
    try:
        return _URL.fullmatch(text) is not None and bool(urlsplit(text).netloc or urlsplit(text).path)
    except ValueError:
        return False


def _gpus(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    # docker's own --gpus wants a list in quotes of its own.
    text = value.strip("\"'")
    if not _GPUS.fullmatch(text):
        raise click.BadParameter(f"{value!r} is not `all`, a number or `device=0,1`")
    return text


def _secrets(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Secret, ...]:
    return tuple(_secret(value) for value in values)


def _secret(value: str) -> Secret:
    parts: dict[str, str] = {}
    for part in value.split(","):
        key, equals, text = part.partition("=")
        if not equals or key not in ("id", "src", "source", "env", "type"):
            raise click.BadParameter(f"{value!r}: the form is id=NAME,src=FILE or id=NAME,env=VARIABLE")
        parts["src" if key == "source" else key] = text
    if not parts.get("id"):
        raise click.BadParameter(f"{value!r} has no id")
    if parts.get("type", "file") == "env" or "env" in parts:
        return Secret(parts["id"], variable=parts.get("env") or parts.get("src") or parts["id"])
    file = Path(parts.get("src", parts["id"])).expanduser()
    if not file.is_file():
        raise click.BadParameter(f"{value!r}: there is no file {file}")
    return Secret(parts["id"], file=file.absolute())


def _labels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not _LABEL.fullmatch(name):
            raise click.BadParameter(f"{value!r}: the form is name=value")
        pairs.append((name, text))
    return tuple(pairs)


def _variables(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _VARIABLE.fullmatch(value.partition("=")[0]) or "\0" in value:
            raise click.BadParameter(f"{value!r}: the form is NAME=value")
    return values


def _together(*flags: Flag) -> Flag:
    """One decorator of several, whose flags are shown in this order."""

    def decorate(function: F) -> F:
        for flag in reversed(flags):
            function = flag(function)
        return function

    return decorate


file = click.option("-f", "--file", metavar="FILE", help="The config file (default: cog.yaml, here or in a parent).")
tag = click.option("-t", "--tag", metavar="NAME", callback=checked(check_image), help="The image's name.")
offline = click.option(
    "--offline", "is_offline", is_flag=True, help="Ask no package index for GPU packages (also COG_OFFLINE=1)."
)

# The machine the image will run on.
target_host = _together(
    click.option("--driver", metavar="VERSION", help="Its NVIDIA driver, e.g. 535.104.05."),
    click.option("--gpu-arch", metavar="ARCH", help="Its GPU's compute capability, e.g. sm_86 or 8.6."),
    click.option("--gpu", metavar="NAME", help='Its GPU, e.g. "NVIDIA A100": data-center GPUs can do more.'),
    click.option("--host", "asks_here", is_flag=True, help="It is this machine: ask nvidia-smi."),
)

# Of every command that builds; `gather` reads them.
build_options = _together(
    click.option("--no-cache", is_flag=True, help="Build every layer anew."),
    click.option("--progress", type=click.Choice(["auto", "tty", "plain", "quiet"]), default="auto", show_default=True),
    click.option("--secret", "secrets", metavar="id=ID,src=FILE", multiple=True, callback=_secrets),
    click.option("--platform", metavar="PLATFORM", callback=check_platform, help="linux/amd64 or linux/arm64."),
    click.option("--ca-cert", metavar="CERT", envvar="COG_CA_CERT", help="Trust these certificates in the build."),
    click.option("--ca-in-image", is_flag=True, help="Trust them in the finished image too."),
    click.option("--base-image", metavar="IMAGE", callback=checked(check_reference), help="Build on this image."),
    click.option("--locked", is_flag=True, help="Build exactly what cog.lock says."),
    click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, callback=_labels),
    offline,
)

environment = click.option(
    "-e", "--env", "environment", metavar="NAME=VALUE", multiple=True, callback=_variables, help="Set a variable."
)
gpus = click.option("--gpus", metavar="GPUS", callback=_gpus, help="GPUs to use: all, a number, or device=0,1.")
engine = click.option("--engine", type=click.Choice(["auto", "docker", "local"]), help="Where to run (COG_ENGINE).")
python = click.option("--python", metavar="PATH", help="Local engine: the interpreter to use, as it is.")
inputs = click.option(
    "-i", "--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input; name=@FILE for a file."
)
document = click.option("--json", "document", metavar="JSON", help="The whole input: JSON, @FILE, or - for stdin.")
setup_timeout = click.option(
    "--setup-timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True
)

# Of every command that starts a model or its environment; `defer_engine` and `gather` read them.
run_options = _together(environment, gpus, engine, python, file, build_options)


def prediction_options(output: Flag) -> Flag:
    """The flags of every command that runs a model once; `output` is the command's own `-o`."""
    return _together(inputs, document, output, environment, gpus, setup_timeout, engine, python, file, build_options)


def defer_engine(**flags: Any) -> Callable[[], Engine]:
    """A call that gives the engine `--engine` and `--python` name: nothing is asked of Docker before."""
    return partial(choose_engine, flags["engine"], python=flags["python"], on_notice=console.warn)


def gather(tag: str | None = None, **flags: Any) -> BuildOptions:
    """`BuildOptions` from what the flags of `build_options` gave."""
    return BuildOptions(
        tag=tag,
        platform=flags["platform"],
        no_cache=flags["no_cache"],
        progress=flags["progress"],
        secrets=flags["secrets"],
        ca_cert=flags["ca_cert"],
        image_ca=flags["ca_in_image"],
        base_image=flags["base_image"],
        labels=flags["labels"],
        host=find_host(
            driver=flags.get("driver"),
            gpu_arch=flags.get("gpu_arch"),
            gpu=flags.get("gpu"),
            asks_here=flags.get("asks_here", False),
        ),
        is_offline=flags["is_offline"],
        is_locked=flags["locked"],
    )
