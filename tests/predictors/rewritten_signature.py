"""A decorator that gives the method a `__signature__` of its own."""

import functools
import inspect

from cog import BasePredictor, Input, Path


def with_inputs(**inputs):
    """Give the method these inputs; it gets them as one dict."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(self, **given):
            return function(self, given)

        parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for name, (annotation, default) in inputs.items():
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            )
        wrapper.__signature__ = inspect.Signature(parameters, return_annotation=str)
        return wrapper

    return decorate


class Predictor(BasePredictor):
    @with_inputs(document=(Path, Input(description="A text")), times=(int, Input(default=1, ge=1)))
    def predict(self, given):
        return given["document"].read_text() * given["times"]


CASES = [
    ({"document": "data:text/plain;base64,aGk=", "times": 2}, "hihi"),
    ({"document": "data:,ho"}, "ho"),
]
BAD_INPUTS = [({"document": "data:,", "times": 0}, "times"), ({"given": {}}, "document")]
