"""File, the open file of older models, in and out; also one that lies in memory only."""

import io
from typing import List

from cog import BasePredictor, File
from shapes.files import text_file


class Predictor(BasePredictor):
    def predict(self, document: File, more: List[File] = []) -> List[File]:  # noqa: B006 - defaults are copied
        content = document.read()
        assert isinstance(content, bytes)
        document.seek(0)
        return [document, io.BytesIO(content[::-1]), open(text_file(str(len(more))))]


CASES = [
    (
        {"document": "data:text/plain;base64,aGkgaG8="},
        ["data:text/plain;base64,aGkgaG8=", "data:application/octet-stream;base64,b2ggaWg=", "data:text/plain;base64,MA=="],
    ),
    (
        {"document": "data:,", "more": ["data:,a", "data:,b"]},
        ["data:text/plain;base64,", "data:application/octet-stream;base64,", "data:text/plain;base64,Mg=="],
    ),
]
BAD_INPUTS = [({"document": 1}, "document"), ({"document": "data:,", "more": ["a"]}, "more.0")]
