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
        assert isinstance(unique, set) and isinstance(frozen, frozenset) and isinstance(unique2, set)
        assert isinstance(pair, tuple) and isinstance(pair2, tuple) and isinstance(many, tuple)
        return {
            "files": [(len(words), file.read_text()) for file in files],
            "unique": sorted((number, str(sum(unique))) for number in unique),
            "frozen": [(len(frozen), word) for word in sorted(frozen)],
            "pairs": [pair, pair2],
            "matrix": [(len(row), str(row)) for row in matrix],
            "many": [(len(many), str(many)), (len(sequence), str(sequence))],
            "deep": [(len(key), item["file"].read_text()) for key, found in deep.items() for item in found],
            "rest": [(mapping["a"], f"{anything} {items} {words2} {sorted(unique2)} {mapping2}")],
        }


CASES = [
    (
        {
            "words": ["x", "y"],
            "files": ["data:text/plain;base64,aGk=", "data:text/plain;base64,aG8="],
            "matrix": [[1, 2.5], []],
            "unique": [2, 1, 2],
            "frozen": ["b", "a", "b"],
            "pair": [7, "seven"],
            "many": [0.5, 2],
            "sequence": [True, False],
            "mapping": {"a": 5},
            "deep": {"key": [{"file": "data:text/plain;base64,aGk="}]},
            "anything": {"free": [None]},
            "items": [1, "a", None],
        },
        {
            "files": [[2, "hi"], [2, "ho"]],
            "unique": [[1, "3"], [2, "3"]],
            "frozen": [[2, "a"], [2, "b"]],
            "pairs": [[7, "seven"], [1, "x"]],
            "matrix": [[2, "[1.0, 2.5]"], [0, "[]"]],
            "many": [[2, "(0.5, 2.0)"], [2, "[True, False]"]],
            "deep": [[3, "hi"]],
            "rest": [[5, "{'free': [None]} [1, 'a', None] ['a', 'b'] ['a', 'b', 'c'] {'a': [1, None]}"]],
        },
    ),
]
BAD_INPUTS = [
    ({"words": "x"}, "words"),
    ({"words": [1]}, "words.0"),
    ({"words": [], "files": ["no URL"]}, "files.0"),
    ({"words": [], "files": [], "matrix": [[], [1, "2"]]}, "matrix.1.1"),
    ({"words": [], "files": [], "matrix": [], "unique": {"1": 1}}, "unique"),
    ({"words": [], "files": [], "matrix": [], "unique": [], "frozen": [], "pair": [1]}, "pair.1"),
    ({"words": [], "files": [], "matrix": [], "unique": [], "frozen": [], "pair": [1, "a", 2]}, "pair"),
]
