"""A plain function is a predictor too."""

from cog import Input


def predict(name: str, excitement: int = Input(default=1, ge=0, le=5)) -> str:
    return f"hello {name}" + "!" * excitement


CASES = [({"name": "you", "excitement": 3}, "hello you!!!"), ({"name": ""}, "hello !")]
BAD_INPUTS = [({"name": "you", "excitement": 6}, "excitement"), ({}, "name")]
