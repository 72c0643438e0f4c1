"""An iterator of objects."""

from typing import Any, Dict, Iterator

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, document: Path) -> Iterator[Dict[str, Any]]:
        for number, word in enumerate(document.read_text().split()):
            yield {"number": number, "word": word, "first": number == 0, "last": None}


CASES = [
    (
        {"document": "data:text/plain;base64,aGkgaG8="},
        [
            {"number": 0, "word": "hi", "first": True, "last": None},
            {"number": 1, "word": "ho", "first": False, "last": None},
        ],
    ),
]
BAD_INPUTS = [({"document": []}, "document")]
