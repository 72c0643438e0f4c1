"""An iterator of files; each is read when it is yielded."""

from typing import Iterator

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, document: Path) -> Iterator[Path]:
        for word in document.read_text().split():
            # The same file each time.
            document.write_text(word)
            yield document


CASES = [
    ({"document": "data:text/plain;base64,aGkgaG8="}, ["data:text/plain;base64,aGk=", "data:text/plain;base64,aG8="]),
    ({"document": "data:,"}, []),
]
BAD_INPUTS = [({}, "document")]
