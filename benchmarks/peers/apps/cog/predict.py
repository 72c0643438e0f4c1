"""The predictors of cog 0.23 and of this checkout: one file for both. The environment names the class."""

import model

from cog import BasePredictor, Path


class Text(BasePredictor):
    def predict(self, s: str) -> str:
        return model.greet(s)


class AsyncText(BasePredictor):
    async def predict(self, s: str) -> str:
        return model.greet(s)


class FileIn(BasePredictor):
    def predict(self, file: Path) -> str:
        return model.measure(file)


class AsyncFileIn(BasePredictor):
    async def predict(self, file: Path) -> str:
        return model.measure(file)


class FileOut(BasePredictor):
    def predict(self, seed: int) -> Path:
        return Path(model.draw(seed))


class AsyncFileOut(BasePredictor):
    async def predict(self, seed: int) -> Path:
        return Path(model.draw(seed))


class Sleep(BasePredictor):
    async def predict(self, s: str) -> str:
        return await model.greet_later(s)


class Matmul(BasePredictor):
    def setup(self) -> None:
        self.matrix = model.Matrix()

    def predict(self, x: float) -> float:
        return self.matrix.multiply([x])[0]
