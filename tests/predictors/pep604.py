"""Unions with `|`, builtin generics and standard collections (Python 3.10 and newer)."""

from collections.abc import Iterator, Mapping, Sequence

from cog import BasePredictor, Input, Path
from shapes.files import text_file


class Predictor(BasePredictor):
    def predict(
        self,
        a: str | None,
        b: int | float = 3,
        c: list[Path] | None = None,
        d: dict[str, list[int | None]] = Input(default={}),
        e: tuple[int, ...] = (1, 2),
        f: Sequence[str] = ("x",),
        g: "Mapping[str, bool] | None" = None,
        h: None | int = Input(default=None, ge=3),
    ) -> Iterator[dict[str, Path | None]]:
        yield {"none": None}
        for file in c or []:
            yield {"copy": text_file(file.read_text()), "rest": text_file(f"{a} {b} {d} {e} {f} {g} {h}")}


PYTHON = "3.10"
CASES = [
    ({"a": None}, [{"none": None}]),
    (
        {
            "a": "x",
            "b": 2.5,
            "c": ["data:text/plain;base64,aGk="],
            "d": {"k": [1, None]},
            "e": [3],
            "f": ["y"],
            "g": {"t": True},
            "h": 3,
        },
        [
            {"none": None},
            {
                "copy": "data:text/plain;base64,aGk=",
                # x 2.5 {'k': [1, None]} (3,) ['y'] {'t': True} 3
                "rest": "data:text/plain;base64,eCAyLjUgeydrJzogWzEsIE5vbmVdfSAoMywpIFsneSddIHsndCc6IFRydWV9IDM=",
            },
        ],
    ),
]
BAD_INPUTS = [({"a": None, "h": 2}, "h"), ({"a": None, "d": {"k": ["1"]}}, "d.k.0"), ({"a": None, "e": [1.5]}, "e.0")]
