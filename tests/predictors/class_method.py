"""predict as a class method."""


class Predictor:
    @classmethod
    def predict(cls, size: int = 3) -> int:
        return size
