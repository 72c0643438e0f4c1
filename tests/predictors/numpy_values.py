"""numpy scalars and arrays as output, alone and inside of others."""

from typing import Any, Dict, List

import numpy
from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, matrix: List[List[float]]) -> Dict[str, Any]:
        array = numpy.array(matrix, dtype=numpy.float32)
        return {
            "array": array,
            "sum": array.sum(),
            "most": array.max(initial=0),
            "count": numpy.int64(array.size),
            "any": array.any(),
            "shape": array.shape,
            "rows": list(array),
            "double": numpy.float64(0.1),
            "name": numpy.str_("x"),
        }


NEEDS = ["numpy"]
CASES = [
    (
        {"matrix": [[1, 2.5], [0, -1]]},
        {
            "array": [[1.0, 2.5], [0.0, -1.0]],
            "sum": 2.5,
            "most": 2.5,
            "count": 4,
            "any": True,
            "shape": [2, 2],
            "rows": [[1.0, 2.5], [0.0, -1.0]],
            "double": 0.1,
            "name": "x",
        },
    ),
]
BAD_INPUTS = [({"matrix": [[1], ["2"]]}, "matrix.1.0")]
