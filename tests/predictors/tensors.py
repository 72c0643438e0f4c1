"""What has the methods of a tensor is one: no package is named."""

from typing import Any, List

from cog import BasePredictor


class Tensor:
    """As torch has it: on a device, with a gradient."""

    def __init__(self, values, device="cuda", has_gradient=True):
        self.values, self.device, self.has_gradient = values, device, has_gradient
        self.dtype = "float32"

    def detach(self):
        return Tensor(self.values, self.device, has_gradient=False)

    def cpu(self):
        return Tensor(self.values, "cpu", self.has_gradient)

    def tolist(self):
        if self.device != "cpu" or self.has_gradient:
            raise RuntimeError("only a detached tensor on the CPU can be read")
        return self.values


class Predictor(BasePredictor):
    def predict(self, values: List[float]) -> Any:
        return {"all": Tensor(values), "each": [Tensor(value) for value in values]}


CASES = [({"values": [1, 0.5]}, {"all": [1.0, 0.5], "each": [1.0, 0.5]}), ({"values": []}, {"all": [], "each": []})]
BAD_INPUTS = [({"values": [True]}, "values.0")]
