"""`python serve.py NAME --port N`: one of the models on mosec, checked by pydantic where mosec's guide puts it."""

import sys
from typing import Any, ClassVar

import model
from messages import Answer, FileInput, NumberInput, SeedInput, TextInput
from mosec import Server, ValidationError, Worker
from pydantic import BaseModel
from pydantic import ValidationError as Invalid


class Typed(Worker):
    """A worker whose input is a `Given`."""

    Given: ClassVar[type[BaseModel]]

    def deserialize(self, data: bytes) -> BaseModel:
        try:
            return self.Given.model_validate_json(data)
        except Invalid as error:
            raise ValidationError(str(error)) from error

    def serialize(self, data: Answer) -> bytes:
        return data.model_dump_json().encode()


class Text(Typed):
    Given = TextInput

    def forward(self, data: TextInput) -> Answer:
        return Answer(output=model.greet(data.s))


class FileIn(Typed):
    Given = FileInput

    def forward(self, data: FileInput) -> Answer:
        try:
            return Answer(output=model.measure_url(data.file))
        except ValueError as error:
            raise ValidationError(str(error)) from error


class FileOut(Typed):
    Given = SeedInput

    def forward(self, data: SeedInput) -> Answer:
        return Answer(output=model.draw_url(data.seed))


class Sleep(Typed):
    Given = TextInput

    def forward(self, data: TextInput) -> Answer:
        return Answer(output=model.greet_after_sleep(data.s))


class Matmul(Typed):
    Given = NumberInput

    def __init__(self) -> None:
        super().__init__()
        self.matrix = model.Matrix()

    def forward(self, data: list[NumberInput]) -> list[Answer]:
        return [Answer(output=value) for value in self.matrix.multiply([each.x for each in data])]


OPTIONS: dict[type[Typed], dict[str, Any]] = {
    Sleep: {"num": 32},
    Matmul: {"max_batch_size": 32, "max_wait_time": 2},
}

if __name__ == "__main__":
    # mosec reads the rest of the command line itself.
    worker = globals()[sys.argv.pop(1)]
    server = Server()
    server.append_worker(worker, **OPTIONS.get(worker, {}))
    server.run()
