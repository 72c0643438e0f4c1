"""Inputs that may be left out or be None, in every spelling."""

from typing import List, Optional, Union

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        a: Optional[str],
        b: Optional[int] = None,
        c: str = Input(default=None),
        d: Path = None,  # type: ignore[assignment]  # an older spelling that must work
        e: Union[int, str, None] = Input(default=3),
        f: Optional[List[Optional[float]]] = Input(default=None, description="numbers"),
        g: Union[float, List[float]] = 0.5,
    ) -> Optional[str]:
        return f"{a} {b} {c} {d} {e} {f} {g}"
