"""Keyword-only parameters, and a class without a base class."""

from cog import Input


class Predictor:
    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def run(self, text: str, *, times: int, separator: str = Input(default=" ")) -> str:
        assert self.device == "cpu"
        return separator.join([text] * times)


CASES = [({"text": "a", "times": 2}, "a a"), ({"text": "a", "times": 3, "separator": ""}, "aaa")]
BAD_INPUTS = [({"text": "a"}, "times"), ({"text": "a", "times": 1, "device": "cpu"}, "device")]
