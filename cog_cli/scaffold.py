"""`write_scaffold`: the files of a new model."""

from __future__ import annotations

from pathlib import Path

from cog_cli.errors import CogError
from cog_cli.image.dockerfile import templates_folder

# Name in the project -> name among the templates: a file called .dockerignore or requirements.txt would act there.
_FILES = {
    "cog.yaml": "cog.yaml",
    "predict.py": "predict.py",
    "requirements.txt": "requirements.txt",
    ".dockerignore": "dockerignore",
}


def write_scaffold(folder: Path) -> list[tuple[str, bool]]:
    """Write what is missing; give (name, was it written) for each. Raises CogError if the folder takes no files."""
    templates = templates_folder() / "init"
    result = []
    for name, template in _FILES.items():
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write((templates / template).read_text(encoding="utf-8"))
            result.append((name, True))
        except FileExistsError:
            result.append((name, False))
        except OSError as error:
            raise CogError(f"{folder / name} cannot be written: {error.strerror}") from error
    return result
