"""`BaseModel`: an object with typed fields, as an output (or input) of a predictor."""

import copy
import sys
import typing
from typing import Any, Dict, List, NamedTuple

from cog.input import MISSING, FieldInfo


class ModelField(NamedTuple):
    """One declared field; `default` is a FieldInfo if it was declared with `Input(...)`, MISSING if there is none."""

    name: str
    annotation: Any
    default: Any


class BaseModel:
    """Declare fields as annotations; build with keyword arguments.

    A field without a default is required, unless its type admits None: then it is None.
    Raises TypeError for a missing or an unknown field.
    """

    def __init__(self, **values: Any) -> None:
        declared = self.model_fields_()
        unknown = sorted(set(values) - {field.name for field in declared})
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {unknown[0]!r}")
        for field in declared:
            default = field.default.default if isinstance(field.default, FieldInfo) else field.default
            if field.name in values:
                value = values[field.name]
            elif default is not MISSING:
                value = copy.deepcopy(default)
            elif admits_none(field.annotation):
                value = None
            else:
                raise TypeError(f"{type(self).__name__} needs the field {field.name!r}")
            setattr(self, field.name, value)

    @classmethod
    def model_fields_(cls) -> List[ModelField]:
        """The declared fields in order, those of base classes first."""
        if sys.version_info >= (3, 9):
            hints = typing.get_type_hints(cls, include_extras=True)
        else:
            hints = typing.get_type_hints(cls)
        return [
            ModelField(name, hint, getattr(cls, name, MISSING))
            for name, hint in hints.items()
            if not name.startswith("_") and typing.get_origin(hint) is not typing.ClassVar
        ]

    def model_dump(self) -> Dict[str, Any]:
        """The fields as a dict, values untouched."""
        return {field.name: getattr(self, field.name) for field in self.model_fields_()}

    dict = model_dump

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.model_dump().items())
        return f"{type(self).__name__}({inside})"


def admits_none(annotation: Any) -> bool:
    """Whether a field of this type may be left out: it is then None."""
    return annotation is Any or annotation is None or type(None) in typing.get_args(annotation)
