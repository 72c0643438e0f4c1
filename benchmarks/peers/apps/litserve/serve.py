"""`python serve.py NAME PORT`: one of the models on LitServe."""

import sys

import litserve
import model
from fastapi import HTTPException
from messages import FileInput, NumberInput, SeedInput, TextInput


class Served(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def encode_response(self, output: str | float) -> dict[str, str | float]:
        return {"output": output}


class Text(Served):
    def decode_request(self, request: TextInput) -> str:
        return request.s

    def predict(self, s: str) -> str:
        return model.greet(s)


class FileIn(Served):
    def decode_request(self, request: FileInput) -> str:
        return request.file

    def predict(self, file: str) -> str:
        try:
            return model.measure_url(file)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


class FileOut(Served):
    def decode_request(self, request: SeedInput) -> int:
        return request.seed

    def predict(self, seed: int) -> str:
        return model.draw_url(seed)


class Sleep(Served):
    async def decode_request(self, request: TextInput) -> str:
        return request.s

    async def predict(self, s: str) -> str:
        return await model.greet_later(s)

    async def encode_response(self, output: str) -> dict[str, str]:
        return {"output": output}


class Matmul(Served):
    def setup(self, device: str) -> None:
        self.matrix = model.Matrix()

    def decode_request(self, request: NumberInput) -> float:
        return request.x

    def batch(self, inputs: list[float]) -> list[float]:
        return inputs

    def predict(self, x: list[float]) -> list[float]:
        return self.matrix.multiply(x)

    def unbatch(self, output: list[float]) -> list[float]:
        return output


OPTIONS = {Sleep: {"enable_async": True}, Matmul: {"max_batch_size": 32, "batch_timeout": 0.002}}

if __name__ == "__main__":
    served = globals()[sys.argv[1]]
    server = litserve.LitServer(served(**OPTIONS.get(served, {})), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
