"""`item_type`: what one client sends to a batched `predict`, whose parameters are lists of it."""

import sys
import typing
from typing import Any

from cog.reading.annotations import bare, split_annotated, type_spec, union_members
from cog.schema.spec import SignatureError


def item_type(annotation: Any, name: str, *, is_output: bool = False, may_be_none: bool = False) -> Any:
    """The annotation of one item of the list that `annotation` is; what `Annotated` says of the list is said of it.

    `name` is the parameter, for errors; it `may_be_none` if that is its default. Raises SignatureError if it is not a
    list.
    """
    spec = type_spec(annotation, name, is_output=is_output)
    plain, metadata = split_annotated(_without_none(annotation) if may_be_none else annotation)
    plain = bare(plain)
    origin = typing.get_origin(plain) or plain
    if spec.kind != "list" or origin is tuple:
        raise _no_list(name, is_output=is_output)
    arguments = typing.get_args(plain)
    item = arguments[0] if arguments and not isinstance(arguments[0], typing.TypeVar) else Any
    return _annotated(item, metadata) if metadata else item


def _without_none(annotation: Any) -> Any:
    """Python before 3.11 makes `Optional[List[T]]` of `x: List[T] = None`, where None is the default of an item."""
    if len(union_members(annotation)) != 1:
        return annotation
    return next(each for each in typing.get_args(bare(annotation)) if each is not type(None))


def _annotated(item: Any, metadata: Any) -> Any:
    # Python 3.8 has it only where the user's typing_extensions made the annotation.
    annotated: Any = getattr(typing, "Annotated", None) or sys.modules["typing_extensions"].Annotated
    parts = (item, *metadata)
    return annotated[parts]


def _no_list(name: str, *, is_output: bool) -> SignatureError:
    if is_output:
        return SignatureError(
            "predict() with @cog.batch gives back a list with one output for each item",
            name=name,
            hint="For example `-> List[str]`; each client gets its own element.",
        )
    return SignatureError(
        "with @cog.batch it must be a list of what one client sends",
        name=name,
        hint=f"For example `{name}: List[float]` for clients that send one float each.",
    )
