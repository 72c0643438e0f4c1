"""An iterator of lists of files, spelled with module attributes."""

import typing

import cog
from shapes.files import text_file


class Predictor(cog.BasePredictor):
    def predict(self, count: int = 2) -> typing.Iterator[typing.List[cog.Path]]:
        for number in range(count):
            yield [text_file(str(each)) for each in range(number)]


CASES = [
    ({}, [[], ["data:text/plain;base64,MA=="]]),
    ({"count": 3}, [[], ["data:text/plain;base64,MA=="], ["data:text/plain;base64,MA==", "data:text/plain;base64,MQ=="]]),
]
BAD_INPUTS = [({"count": [2]}, "count")]
