"""predict as a static method, and a class attribute as a default."""

from cog import Input


class Predictor:
    SIZES = [1, 2]
    DEFAULT = SIZES[0]

    @staticmethod
    def predict(size: int = Input(choices=SIZES, default=DEFAULT)) -> int:
        return size * 10


CASES = [({}, 10), ({"size": 2}, 20)]
BAD_INPUTS = [({"size": 3}, "size")]
