"""The value types of a predictor's signature."""

import io
import pathlib
from typing import Any, AsyncIterator, Callable, Dict, Iterator, TypeVar

T_co = TypeVar("T_co", covariant=True)

# The concrete class of the platform: pathlib.Path itself cannot be subclassed before Python 3.12.
_PlatformPath = type(pathlib.Path())


class _InModels:
    """Lets a pydantic model of the user, of either major version, have fields of these types. Imports no pydantic."""

    @classmethod
    def _of(cls, value: Any) -> Any:
        return value if isinstance(value, cls) else cls(value)  # type: ignore[call-arg]  # what the types below take

    @classmethod
    def __get_validators__(cls) -> Iterator[Callable[[Any], Any]]:
        yield cls._of  # pydantic 1

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Dict[str, Any]:
        function = {"type": "no-info", "function": cls._of}
        return {"type": "function-plain", "function": function, "serialization": {"type": "to-string"}}


class Path(_InModels, _PlatformPath):  # type: ignore[misc, valid-type]  # the base is chosen at run time, see above
    """A local file. As an input it arrives downloaded; as an output it becomes a URL."""


class URLPath(Path):
    """A `Path` that came from a URL. Kept for older models; inputs are plain `Path` today."""


class File(io.IOBase):
    """An open binary file (deprecated: take a `Path` and open it)."""


URLFile = File
Weights = Path


class Secret(_InModels):
    """A text that never shows itself: `get_secret_value()` gives it, `str` and `repr` give stars."""

    def __init__(self, secret_value: str) -> None:
        self._value = secret_value

    def get_secret_value(self) -> str:
        """The text itself."""
        return self._value

    def __str__(self) -> str:
        return "**********" if self._value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class ConcatenateIterator(Iterator[T_co]):
    """Yields texts that belong together: clients show them joined."""


class AsyncConcatenateIterator(AsyncIterator[T_co]):
    """The asynchronous `ConcatenateIterator`."""


class Opaque:
    """`Annotated[T, Opaque]`: the value is any JSON, the schema does not look inside T."""


class ExperimentalFeatureWarning(Warning):
    """Kept so that models which silence it still import."""


class CancelationException(BaseException):
    """Raised inside a running `predict` when its prediction is canceled. Let it pass."""
