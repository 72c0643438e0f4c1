"""`order` moves an input in the API document."""

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self, last: str = Input(default="", order=9), first: int = Input(order=-1, default=0), middle: bool = True
    ) -> None:
        pass
