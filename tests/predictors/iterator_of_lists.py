"""An iterator of lists of files, spelled with module attributes."""

import typing

import cog


class Predictor(cog.BasePredictor):
    def predict(self, count: int = 2) -> typing.Iterator[typing.List[cog.Path]]:
        for _ in range(count):
            yield []
