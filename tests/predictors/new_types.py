"""NewType of what is not a scalar."""

from dataclasses import dataclass
from typing import Dict, List, NewType, Optional, Tuple, Union

from cog import BasePredictor, Path


@dataclass
class Size:
    width: int


Files = NewType("Files", List[Path])
BigSize = NewType("BigSize", Size)
Pair = NewType("Pair", Tuple[Path, int])
ByName = NewType("ByName", Dict[str, Size])
Either = NewType("Either", Union[int, Size])


class Predictor(BasePredictor):
    def predict(
        self,
        files: Files,
        size: BigSize,
        pair: Optional[Pair] = None,
        named: ByName = {},  # noqa: B006 - defaults are copied
        either: Union[Either, str] = 0,
    ) -> str:
        read = [file.read_text() for file in files]
        first = pair and (pair[0].read_text(), pair[1])
        return f"{read} {size} {first} {named} {either!r}"


CASES = [
    ({"files": ["data:text/plain;base64,aGk="], "size": {"width": 1}}, "['hi'] Size(width=1) None {} 0"),
    (
        {
            "files": [],
            "size": {"width": 2},
            "pair": ["data:,ho", 3],
            "named": {"a": {"width": 3}},
            "either": {"width": 4},
        },
        "[] Size(width=2) ('ho', 3) {'a': Size(width=3)} Size(width=4)",
    ),
    ({"files": [], "size": {"width": 2}, "either": "text"}, "[] Size(width=2) None {} 'text'"),
]
BAD_INPUTS = [({"files": ["hi"]}, "files.0"), ({"files": [], "size": 1}, "size")]
