"""Keyword-only parameters, and a class without a base class."""

from cog import Input


class Predictor:
    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def run(self, text: str, *, times: int, separator: str = Input(default=" ")) -> str:
        return separator.join([text] * times)
