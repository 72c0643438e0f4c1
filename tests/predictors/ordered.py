"""`order` moves an input in the API document."""

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self, last: str = Input(default="", order=9), first: int = Input(order=-1, default=0), middle: bool = True
    ) -> None:
        assert (last, first, middle) in (('', 0, True), ('z', 1, False))


CASES = [({}, None), ({"last": "z", "first": 1, "middle": False}, None)]
BAD_INPUTS = [({"middle": 1}, "middle"), ({"middle": "true"}, "middle")]
