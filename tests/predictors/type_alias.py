"""`type X = ...` (Python 3.12 and newer)."""

from cog import BasePredictor, Path

type Pair = tuple[int, int]
type Pairs = list[Pair] | None
type Files = list[Path]
type Number = int | float
type Given = Number | str


class Predictor(BasePredictor):
    def predict(
        self, pair: Pair, pairs: Pairs = None, files: Files = [], given: Given = 0, maybe: Files | None = None
    ) -> Pairs:
        assert type(pair) is tuple and all(type(each) is tuple for each in pairs or [])
        texts = [file.read_text() for file in [*files, *(maybe or [])]]
        return [pair, *(pairs or []), (sum(len(text) for text in texts), len(str(given)))]


PYTHON = "3.12"
CASES = [
    ({"pair": [1, 2]}, [[1, 2], [0, 1]]),
    (
        {
            "pair": [1, 2],
            "pairs": [[3, 4]],
            "files": ["data:text/plain;base64,aGk="],
            "given": 1.5,
            "maybe": ["data:text/plain;base64,aGk="],
        },
        [[1, 2], [3, 4], [4, 3]],
    ),
    ({"pair": [1, 2], "given": "text"}, [[1, 2], [0, 4]]),
]
BAD_INPUTS = [({"pair": [1, "2"]}, "pair.1"), ({"pair": [1, 2], "pairs": [[1]]}, "pairs.0.1"), ({"pair": [1, 2], "files": [1]}, "files.0")]
