"""Schemathesis against the document that the server serves: no 5xx, no undocumented status, no wrong shape."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Serve

SCALARS = """
    import datetime, enum

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Predictor(BasePredictor):
        def predict(
            self,
            s: str = Input(min_length=1, max_length=20),
            n: int = Input(default=1, ge=-5, le=10),
            f: float = 1.0,
            b: bool = False,
            c: Colour = Colour.RED,
            lit: Literal["a", "b"] = "a",
            choice: int = Input(default=1, choices=[1, 2]),
            when: Optional[datetime.date] = None,
        ) -> str:
            return s
"""

NESTED = """
    class Box(TypedDict):
        w: int
        tags: List[str]

    class Out(BaseModel):
        text: str
        n: Optional[int]

    class Predictor(BasePredictor):
        def predict(
            self,
            box: Optional[Box] = None,
            many: List[int] = Input(default=[], max_items=3),
            either: Union[int, str] = 3,
            table: Dict[str, float] = Input(default={}),
            anything: Any = None,
        ) -> Out:
            return Out(text=str(many), n=None)
"""

STREAM = """
    class Predictor(BasePredictor):
        async def predict(self, words: List[str] = Input(default=["a"], max_items=5)) -> AsyncIterator[str]:
            for word in words:
                yield word
"""


@pytest.mark.slow
@pytest.mark.parametrize("source", [SCALARS, NESTED, STREAM], ids=["scalars", "nested", "stream"])
def test_the_server_keeps_to_its_own_document(serve: Serve, source: str, tmp_path: Path) -> None:
    # Made-up webhooks are called through a proxy that is not there: nobody outside gets to know of this test.
    server = serve(source, environment={"ALL_PROXY": "http://127.0.0.1:9", "COG_DRAIN_TIMEOUT": "1"})

    answer = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "st"), "run", f"{server.url}/openapi.json", "--no-color"),
            *(
                "--seed",
                "1",
                "--phases",
                "examples,coverage,fuzzing",
                "--max-examples",
                "20",
                "--continue-on-failure",
                "--checks",
                "all",
            ),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr
    assert "Traceback" not in server.log.read_text()
