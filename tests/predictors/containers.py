"""Lists, sets, tuples and dicts, nested."""

from typing import Any, Dict, FrozenSet, List, Sequence, Set, Tuple

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(
        self,
        words: List[str],
        files: List[Path],
        matrix: List[List[float]],
        unique: Set[int],
        frozen: FrozenSet[str],
        pair: Tuple[int, str],
        many: Tuple[float, ...],
        sequence: Sequence[bool],
        mapping: Dict[str, int],
        deep: Dict[str, List[Dict[str, Path]]],
        anything: Any,
        items: List[Any],
        words2: List[str] = ["a", "b"],  # noqa: B006 - defaults are copied
        pair2: Tuple[int, str] = (1, "x"),
        unique2: Set[str] = {"b", "a", "c"},  # noqa: B006 - defaults are copied
        mapping2: Dict[str, Any] = {"a": [1, None]},  # noqa: B006 - defaults are copied
    ) -> Dict[str, List[Tuple[int, str]]]:
        return {"a": [pair, pair2]}
