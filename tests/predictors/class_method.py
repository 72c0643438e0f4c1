"""predict as a class method."""


class Predictor:
    @classmethod
    def predict(cls, size: int = 3) -> int:
        return size * len(cls.__name__)


CASES = [({}, 27), ({"size": 1}, 9)]
BAD_INPUTS = [({"size": 1.5}, "size"), ({"cls": 1}, "cls")]
