"""`cog`: the commands, loaded one at a time, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from cog.version import __version__
from cog_cli.console import console
from cog_cli.errors import CogError

EXIT_BUG = 3
EXIT_INTERRUPTED = 130

# Name -> (module in cog_cli.commands, what the list of commands says). The modules are loaded when they are called:
# `cog --help` needs none of them.
COMMANDS = {
    "init": ("init", "Write the files of a new model."),
    "build": ("build", "Build a Docker image from cog.yaml."),
    "lock": ("lock", "Write cog.lock: images and packages with digests."),
    "predict": ("predict", "Run a prediction."),
    "train": ("train", "Run a training."),
    "serve": ("serve", "Serve the model over HTTP."),
    "exec": ("exec", "Run a command in the model's environment."),
    "push": ("push", "Build the image and send it to a registry."),
    "dockerfile": ("dockerfile", "Print the Dockerfile that would be built."),
    "explain": ("explain", "Print the versions that would be used, and why."),
    "schema": ("schema", "Print the OpenAPI document of the model."),
}
ALIASES = {"run": "predict", "debug": "dockerfile"}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"cog_cli.commands.{COMMANDS[name][0]}")
        command = module.command
        assert isinstance(command, click.Command), name
        if not {parameter.name for parameter in command.params} & set(_EVERYWHERE):
            # Where people put them, too; the help of `cog` has them.
            command.params += [_everywhere(option) for option in _EVERYWHERE]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and ALIASES.get(args[0], args[0]) not in COMMANDS:
            close = difflib.get_close_matches(args[0], [*COMMANDS, *ALIASES], n=1)
            hint = f" Did you mean `{close[0]}`?" if close else " `cog --help` lists them."
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


_EVERYWHERE = ("is_debug", "no_color")


def _everywhere(attribute: str) -> click.Option:
    """The option of `cog` itself that sets this attribute of the console, for behind a command."""

    def turn_on(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
        if is_given:
            setattr(console, attribute, True)

    flag = "--" + attribute.removeprefix("is_").replace("_", "-")
    return click.Option([flag, attribute], is_flag=True, hidden=True, expose_value=False, callback=turn_on)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks, and more of what happens.")
@click.option("--no-color", is_flag=True, help="No colours (also NO_COLOR=1).")
@click.version_option(__version__, prog_name="cog")
def cli(debug: bool, no_color: bool) -> None:
    """Turn a predict.py into an image that serves a typed HTTP API."""
    console.is_debug = debug
    console.no_color = no_color


def main() -> None:
    """The console script. Exit codes: 0 done, 1 fixable by the user, 2 wrong usage, 3 our bug, 130 Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_run())


def _run() -> int:
    try:
        result: Any = cli.main(prog_name="cog", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CogError as error:
        return _report(error)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _report_usage(error)
    except (KeyboardInterrupt, click.Abort):
        console.info("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough, as in `cog schema | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report_bug(error)


def _report(error: CogError) -> int:
    console.error(error.message)
    if error.hint:
        console.info(f"  {error.hint}")
    if console.is_debug:
        traceback.print_exc()
    return error.exit_code


def _report_usage(error: click.ClickException) -> int:
    console.error(error.format_message())
    context = getattr(error, "ctx", None)
    if context is not None:
        console.info(f"  `{context.command_path} --help` shows how it is used.")
    return 2


def _report_bug(error: Exception) -> int:
    log = Path("cog-crash.log")
    text = "".join(traceback.format_exception(error))
    try:
        log.write_text(f"cog {__version__}, Python {sys.version}\n{sys.argv}\n\n{text}", encoding="utf-8")
        place = f"the details are in {log}"
    except OSError:
        place = text
    console.error(f"this is a bug in cog: {type(error).__name__}: {error}; {place}")
    if console.is_debug:
        console.write(text)
    return EXIT_BUG


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM ends us like Ctrl-C does: what was started is stopped."""
    raise KeyboardInterrupt
