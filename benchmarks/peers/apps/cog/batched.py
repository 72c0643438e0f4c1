"""The batched predictor of this checkout: a client sends one `x`, predict() gets up to 32 of them."""

import model

import cog


class Matmul(cog.BasePredictor):
    def setup(self) -> None:
        self.matrix = model.Matrix()

    @cog.batch(max_size=32, max_wait_ms=2)
    def predict(self, x: list[float]) -> list[float]:
        return self.matrix.multiply(x)
