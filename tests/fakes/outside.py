"""A package that is not part of the project: the static reader cannot see that its functions change what they get."""

from typing import Any

YES = True
NO = False


def change(value: Any) -> Any:
    """Change everything that can be reached, call what can be called, and give the value back."""
    if isinstance(value, list):
        value.append("outside")
    elif isinstance(value, dict):
        value["outside"] = ["new"]
    elif isinstance(value, tuple):
        for item in value:
            change(item)
    elif isinstance(value, type):
        for item in list(vars(value).values()):
            change(item)
    elif callable(value):
        value()
    return value


def keep(value: Any) -> Any:
    """The same object."""
    return value


def fail() -> None:
    """Raise."""
    raise ValueError("outside")


def words() -> list[str]:
    """Something new each time."""
    return ["word"]
