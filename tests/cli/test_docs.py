"""What is made from the code is what lies in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Cog

# A cog.yaml, and what a command says of it.
EXAMPLES = re.findall(
    r"```yaml\n(.*?)```\s+```text\n\$ cog (.*?)\n(.*?)```", (REPOSITORY / "docs" / "gpu.md").read_text(), re.DOTALL
)


def test_the_generated_files_are_current() -> None:
    script = "import write_docs as w; print([str(p) for p, t in w.generated().items() if p.read_text() != t])"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY / "tools", capture_output=True, text=True, check=True
    )

    assert answer.stdout == "[]\n", "run `make docs`"


@pytest.mark.slow
@pytest.mark.parametrize(("config", "arguments", "said"), EXAMPLES)
def test_examples_of_the_gpu_page_say_what_cog_says(
    config: str, arguments: str, said: str, project: Callable[..., Path], cog: Cog
) -> None:
    folder = project({"cog.yaml": config + 'predict: "predict.py:Predictor"\n'})

    answer = cog(*arguments.split(), folder=folder)

    assert answer.stderr + answer.stdout == said
