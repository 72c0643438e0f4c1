"""Imports under conditions and in try, none of which decide the signature."""

import os
import sys

if sys.version_info >= (3, 9):
    from typing import Dict, List
else:
    from typing import Dict, List

try:
    from typing import Literal
except ImportError:
    from typing_extensions import Literal

try:
    import no_such_package  # noqa: F401
except ImportError:
    no_such_package = None

os.environ["HF_HOME"] = "cache"
sys.path.append("src")
if os.environ.get("NEVER_SET"):
    raise RuntimeError("not here")
else:
    MODELS = ["a", "b"]

try:
    LIMIT = int("12")
except ValueError:
    raise SystemExit(1)

from cog import BasePredictor, Input  # noqa: E402

if __name__ == "__main__":
    MODELS = []


class Predictor(BasePredictor):
    def predict(
        self, mode: Literal["x", "y"], model: str = Input(choices=MODELS), n: int = LIMIT, more: List[str] = Input(default=[])
    ) -> Dict[str, int]:
        return {f"{mode} {model}": n, **{word: len(word) for word in more}}


CASES = [({"mode": "x", "model": "b"}, {"x b": 12}), ({"mode": "y", "model": "a", "n": 0, "more": ["one"]}, {"y a": 0, "one": 3})]
BAD_INPUTS = [({"mode": "z", "model": "a"}, "mode"), ({"mode": "x"}, "model"), ({"mode": "x", "model": "c"}, "model")]
