"""A TypedDict as input and output."""

from typing import List, TypedDict

from cog import BasePredictor, Path


class Page(TypedDict):
    number: int
    file: Path


class Predictor(BasePredictor):
    def predict(self, pages: List[Page]) -> Page:
        texts = [page["file"].read_text() for page in pages]
        return Page(number=len("".join(texts)), file=pages[-1]["file"])


CASES = [
    (
        {"pages": [{"number": 1, "file": "data:,abc"}, {"number": 2, "file": "data:text/plain;base64,aGk="}]},
        {"number": 5, "file": "data:text/plain;base64,aGk="},
    ),
]
BAD_INPUTS = [
    ({"pages": [{"number": 1}]}, "pages.0.file"),
    ({"pages": [{"number": 1, "file": "data:,", "name": "x"}]}, "pages.0.name"),
]
