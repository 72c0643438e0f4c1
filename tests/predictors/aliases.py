"""NewType, aliases and Annotated."""

from typing import Dict, List, NewType, Optional, Union

try:
    from typing import Annotated
except ImportError:  # Python 3.8
    from typing_extensions import Annotated

from cog import BasePredictor, Input, Opaque, Path
from shapes.files import text_file

UserId = NewType("UserId", int)
Names = List[str]
MaybeNames = Optional[Names]
Number = Union[int, float]


class Predictor(BasePredictor):
    def predict(
        self,
        user: UserId,
        names: Names,
        maybe: MaybeNames = None,
        number: Number = 0.5,
        raw: Annotated[Dict[str, int], Opaque] = None,
        steps: Annotated[int, Input(ge=1, le=9, description="How many")] = 4,
        note: Annotated[Optional[str], Input(description="A note")] = None,
    ) -> Annotated[Path, "where it is"]:
        return text_file(f"{user + 1} {names} {maybe} {number} {raw} {steps} {note}")


NEEDS = ["typing-extensions; python_version < '3.9'"]
CASES = [
    # 42 ['a', 'b'] None 0.5 None 4 None
    ({"user": 41, "names": ["a", "b"]}, "data:text/plain;base64,NDIgWydhJywgJ2InXSBOb25lIDAuNSBOb25lIDQgTm9uZQ=="),
    # 1 [] ['c'] 2 {'k': 'any'} 9 n
    (
        {"user": 0, "names": [], "maybe": ["c"], "number": 2, "raw": {"k": "any"}, "steps": 9, "note": "n"},
        "data:text/plain;base64,MSBbXSBbJ2MnXSAyIHsnayc6ICdhbnknfSA5IG4=",
    ),
]
BAD_INPUTS = [
    ({"user": "1", "names": []}, "user"),
    ({"user": 1, "names": ["a", 2]}, "names.1"),
    ({"user": 1, "names": [], "maybe": [None]}, "maybe.0"),
    ({"user": 1, "names": [], "steps": 10}, "steps"),
    ({"user": 1}, "names"),
]
