"""The other names of a file: URLPath and pathlib's own."""

import pathlib
from typing import Dict

from cog import BasePredictor, URLPath


class Predictor(BasePredictor):
    def predict(self, document: URLPath, more: pathlib.Path = None) -> Dict[str, pathlib.Path]:
        assert isinstance(document, pathlib.Path) and document.is_file()
        copy = document.parent / ("copy" + document.suffix)
        copy.write_text(document.read_text() + (more.read_text() if more else ""))
        return {document.suffix: pathlib.PurePath(copy)}


CASES = [
    ({"document": "data:text/plain;base64,aGk="}, {".txt": "data:text/plain;base64,aGk="}),
    ({"document": "data:text/plain;base64,aGk=", "more": "data:,ho"}, {".txt": "data:text/plain;base64,aGlobw=="}),  # hiho
]
BAD_INPUTS = [({"document": "file.txt"}, "document")]
