"""bytes as output."""

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, document: Path) -> bytes:
        return document.read_bytes()[::-1]


CASES = [
    ({"document": "data:text/plain;base64,aGk="}, "data:application/octet-stream;base64,aWg="),
    ({"document": "data:application/octet-stream;base64,AP8="}, "data:application/octet-stream;base64,/wA="),
]
BAD_INPUTS = [({"document": "x"}, "document")]
