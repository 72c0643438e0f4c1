"""NewType, aliases and Annotated."""

from typing import Dict, List, NewType, Optional, Union

try:
    from typing import Annotated
except ImportError:  # Python 3.8
    from typing_extensions import Annotated

from cog import BasePredictor, Input, Opaque, Path

UserId = NewType("UserId", int)
Names = List[str]
MaybeNames = Optional[Names]
Number = Union[int, float]


class Predictor(BasePredictor):
    def predict(
        self,
        user: UserId,
        names: Names,
        maybe: MaybeNames = None,
        number: Number = 0.5,
        raw: Annotated[Dict[str, int], Opaque] = None,
        steps: Annotated[int, Input(ge=1, le=9, description="How many")] = 4,
        note: Annotated[Optional[str], Input(description="A note")] = None,
    ) -> Annotated[Path, "where it is"]:
        return Path("x")
