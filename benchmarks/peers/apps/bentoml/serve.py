"""`bentoml serve serve:NAME`: each of the models as a BentoML service."""

import bentoml
import model
from bentoml.exceptions import InvalidArgument
from messages import Answer

options = {"workers": 1, "logging": {"access": {"enabled": False}}, "traffic": {"timeout": 30}}


@bentoml.service(**options)
class Text:
    @bentoml.api
    async def predict(self, s: str) -> Answer:
        return Answer(output=model.greet(s))


@bentoml.service(**options)
class FileIn:
    @bentoml.api
    async def predict(self, file: str) -> Answer:
        try:
            return Answer(output=model.measure_url(file))
        except ValueError as error:
            raise InvalidArgument(str(error)) from error


@bentoml.service(**options)
class FileOut:
    @bentoml.api
    async def predict(self, seed: int) -> Answer:
        return Answer(output=model.draw_url(seed))


@bentoml.service(**options)
class Sleep:
    @bentoml.api
    async def predict(self, s: str) -> Answer:
        return Answer(output=await model.greet_later(s))


@bentoml.service(**options)
class Matmul:
    def __init__(self) -> None:
        self.matrix = model.Matrix()

    # A batch can only be made of lists: a client sends a list of one.
    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, x: list[float]) -> list[float]:
        return self.matrix.multiply(x)
