"""Unions with `|`, builtin generics and standard collections (Python 3.10 and newer)."""

from collections.abc import Iterator, Mapping, Sequence

from cog import BasePredictor, Input, Path


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
        yield {}
