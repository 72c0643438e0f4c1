"""The model room on the oldest and the newest Python of this machine, without any package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

_SCRIPT = """
import json, sys
from typing import List, Optional
import cog, cog.describe, cog.file_names, cog.worker.body
from cog.reading.signature import read_signature

class Out(cog.BaseModel):
    file: Optional[cog.Path]

class Predictor(cog.BasePredictor):
    def predict(self, a: List[str], b: "Optional[int]" = None, c: float = cog.Input(default=1, ge=0)) -> Out: ...

foreign = [m for m in sys.modules if m.split(".")[0] in ("pydantic", "fastapi", "typing_extensions")]
print(json.dumps([read_signature(Predictor).to_json(), foreign]))
"""


def _pythons() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path / "bin" / "python") for path in root.glob("3.*")]
    found += [path for minor in range(8, 15) if (path := shutil.which(f"python3.{minor}"))]
    versions = {}
    for python in found:
        answer = subprocess.run(
            [python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            versions.setdefault(answer.stdout.strip(), python)
    return sorted(python for version, python in versions.items() if version >= "(3, 8)" or len(version) == 7)


@pytest.mark.parametrize("python", _pythons())
def test_a_signature_reads_the_same_on_every_python(python: str, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}

    answer = subprocess.run(
        [python, "-s", "-c", _SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stderr
    spec, foreign = json.loads(answer.stdout)
    assert foreign == []
    assert [item["name"] for item in spec["inputs"]] == ["a", "b", "c"]
    assert spec["output"]["type"]["fields"][0]["type"] == {"kind": "path", "nullable": True}
