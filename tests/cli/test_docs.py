"""What is made from the code is what lies in the repository."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY


def test_the_generated_files_are_current() -> None:
    script = "import write_docs as w; print([str(p) for p, t in w.generated().items() if p.read_text() != t])"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY / "tools", capture_output=True, text=True, check=True
    )

    assert answer.stdout == "[]\n", "run `make docs`"
