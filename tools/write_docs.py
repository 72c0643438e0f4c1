"""`make docs`: write what is made from the code: docs/cli.md and the editor schema of cog.yaml."""

from __future__ import annotations

from pathlib import Path

import click

from cog_cli.config.schema import schema_text
from cog_cli.main import ALIASES, COMMANDS, cli

REPOSITORY = Path(__file__).resolve().parent.parent


def generated() -> dict[Path, str]:
    """Each generated file with its text."""
    return {
        REPOSITORY / "docs" / "cli.md": cli_page(),
        REPOSITORY / "cog_cli" / "config" / "cog.schema.json": schema_text(),
    }


def cli_page() -> str:
    """The help of every command, as one page."""
    parts = ["# The commands\n", "Made from the code by `make docs`.\n"]
    context = click.Context(cli, info_name="cog")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        others = [alias for alias, target in ALIASES.items() if target == name]
        also = f"\nAlso called `cog {others[0]}`.\n" if others else ""
        parts.append(f"## cog {name}\n{also}\n```text\n{command.get_help(inner).strip()}\n```\n")
    return "\n".join(parts)


def main() -> None:
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
