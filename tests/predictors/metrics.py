"""An output object, and metrics of the predictor's own."""

from cog import BaseModel, BasePredictor, current_scope, emit_metric


class Output(BaseModel):
    text: str
    tokens: int


class Predictor(BasePredictor):
    def predict(self, prompt: str) -> Output:
        words = prompt.split()
        current_scope().record_metric("tokens", 0)
        current_scope().record_metric("tokens", len(words))
        emit_metric("model.words", words)
        return Output(text=prompt.upper(), tokens=len(words))


CASES = [
    ({"prompt": "to be"}, {"text": "TO BE", "tokens": 2}, {"tokens": 2, "model": {"words": ["to", "be"]}}),
    ({"prompt": ""}, {"text": "", "tokens": 0}, {"tokens": 0, "model": {"words": []}}),
]
BAD_INPUTS = [({"prompt": 0}, "prompt")]
