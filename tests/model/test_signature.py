"""Reading a signature from live objects: every form of predictor and type, and every contradiction."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import inspect
import json
from pathlib import PurePath
from typing import (
    Annotated,
    Any,
    Dict,
    Iterator,
    List,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypedDict,
    Union,
)

import pydantic
import pytest

import cog
from cog.reading.signature import read_signature
from cog.schema.spec import FieldSpec, OutputSpec, PredictorSpec, SignatureError, TypeSpec


class Color(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int = 2


class Box(TypedDict, total=False):
    left: int


@dataclasses.dataclass
class Size:
    width: int
    names: List[str] = dataclasses.field(default_factory=lambda: ["a"])


class Settings(cog.BaseModel):
    size: Size
    note: Optional[str]
    steps: int = cog.Input(default=4, ge=1)


class Model(pydantic.BaseModel):
    width: int = pydantic.Field(ge=1, description="Pixels")
    tags: List[str] = pydantic.Field(default_factory=list, max_length=3)
    note: Optional[str] = None


@dataclasses.dataclass
class Node:
    child: Optional[Node] = None


UserId = NewType("UserId", int)
INT, STR, PATH = TypeSpec("int"), TypeSpec("str"), TypeSpec("path")


def spec_of(annotation: Any, default: Any = inspect.Parameter.empty) -> FieldSpec:
    """The spec of one input of that type."""

    def predict(x: Any) -> str:
        return ""

    parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    predict.__signature__ = inspect.Signature([parameter], return_annotation=str)  # type: ignore[attr-defined]  # read there
    return read_signature(predict).inputs[0]


def output_of(annotation: Any) -> TypeSpec:
    def predict() -> Any:
        return None

    predict.__signature__ = inspect.Signature(return_annotation=annotation)  # type: ignore[attr-defined]  # read there
    return read_signature(predict).output.type


# --- types


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, STR),
        (int, INT),
        (float, TypeSpec("float")),
        (bool, TypeSpec("bool")),
        (cog.Path, PATH),
        (PurePath, PATH),
        (cog.File, TypeSpec("file")),
        (cog.Secret, TypeSpec("secret")),
        (datetime.datetime, TypeSpec("datetime")),
        (datetime.date, TypeSpec("date")),
        (Any, TypeSpec("any")),
        (None, TypeSpec("none")),
        (UserId, INT),
        (Optional[int], TypeSpec("int", nullable=True)),
        (Optional[UserId], TypeSpec("int", nullable=True)),
        (Union[int, str], TypeSpec("union", items=(INT, STR))),
        (int | str | None, TypeSpec("union", items=(INT, STR), nullable=True)),
        (Union[UserId, Optional[int]], TypeSpec("int", nullable=True)),
        (Union[str, NewType("Maybe", Optional[int])], TypeSpec("union", items=(STR, INT), nullable=True)),  # type: ignore[valid-newtype]  # works when it runs
        (List[cog.Path], TypeSpec("list", items=(PATH,))),
        (list[list[int]], TypeSpec("list", items=(TypeSpec("list", items=(INT,)),))),
        (Tuple[int, ...], TypeSpec("list", items=(INT,))),
        (tuple[int, str], TypeSpec("tuple", items=(INT, STR))),
        (Set[str], TypeSpec("set", items=(STR,))),
        (Dict[str, int], TypeSpec("dict", items=(INT,))),
        (dict, TypeSpec("dict", items=(TypeSpec("any"),))),
        (Literal["a", 1, True, None], TypeSpec("literal", values=("a", 1, True), nullable=True)),
        (Color, TypeSpec("enum", values=("red", "blue"), name="Color")),
        (Annotated[int, "note"], INT),
        (Annotated[Dict[str, int], cog.Opaque], TypeSpec("any")),
    ],
    ids=str,
)
def test_type_of_an_input(annotation: Any, expected: TypeSpec) -> None:
    assert spec_of(annotation).type == expected


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (object, "type object is not supported"),
        (bytes, "type bytes is not supported"),
        (list, "list needs an element type"),
        (List, "list needs an element type"),
        (tuple, "tuple needs an element type"),
        (set, "set needs an element type"),
        (Dict[int, str], "the keys of a dict must be str"),
        (Literal[b"x"], "Literal values must be str, int or bool"),
        (enum.Enum("Empty", []), "has no members"),
        (enum.Enum("Pairs", {"A": (1, 2)}), "it must be str, int or float"),
        (List[Annotated[int, cog.Input(ge=1)]], "constraints inside a list, dict or union"),
        (Node, "Node contains itself"),
        (functools.reduce(lambda inner, _: List[inner], range(30), int), "nested too deeply"),
        (type, "type type is not supported"),
    ],
    ids=str,
)
def test_type_without_a_json_form_is_refused_as_an_input(annotation: Any, says: str) -> None:
    with pytest.raises(SignatureError, match=says) as caught:
        spec_of(annotation)

    assert caught.value.name.startswith("x")


@pytest.mark.parametrize("annotation", [object, list, bytes, type("ndarray", (), {})])
def test_output_may_be_what_only_the_encoder_knows(annotation: Any) -> None:
    assert output_of(annotation).kind in ("any", "list")


def test_objects_become_fields() -> None:
    spec = spec_of(Settings).type

    assert spec.name == "Settings"
    size, note, steps = spec.fields
    assert [(item.name, item.required, item.default) for item in size.type.fields] == [
        ("width", True, None),
        ("names", False, ["a"]),
    ]
    assert (note.required, note.default, note.type.nullable) == (False, None, True)
    assert (steps.required, steps.default, steps.ge) == (False, 4, 1)


def test_named_tuple_and_typed_dict_are_objects() -> None:
    point, box = spec_of(Point, Point(1)), spec_of(Box)

    assert point.default == {"x": 1, "y": 2}
    assert [item.required for item in point.type.fields] == [True, False]
    assert [(item.required, item.type.nullable) for item in box.type.fields] == [(False, False)]


def test_pydantic_model_keeps_its_constraints() -> None:
    width, tags, note = spec_of(Model).type.fields

    assert (width.ge, width.description, width.required) == (1, "Pixels", True)
    assert (tags.max_items, tags.max_length, tags.default) == (3, None, [])
    assert (note.required, note.default) == (False, None)


def test_output_field_that_may_be_none_is_not_required() -> None:
    assert [item.required for item in output_of(Settings).fields] == [True, False, False]
    assert [item.required for item in output_of(Model).fields] == [True, False, False]


def test_pydantic_model_may_hold_a_path_of_cog() -> None:
    class Result(pydantic.BaseModel):
        file: cog.Path
        token: cog.Secret

    result = Result.model_validate({"file": "a/b", "token": "t"})

    assert (result.file, result.token) == (cog.Path("a/b"), cog.Secret("t"))
    assert output_of(Result).fields[0].type == PATH


# --- defaults and constraints


def _named(value: object) -> str:
    """As text that is the same in every process: pytest's workers find each other's tests by it."""
    if isinstance(value, set):
        return str(sorted(value))
    return "object" if type(value) is object else str(value)


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (float, 1, 1),
        (cog.Path, cog.Path("a/b"), "a/b"),
        (Color, Color.RED, "red"),
        (Color, "red", "red"),
        (List[Color], [Color.RED], ["red"]),
        (Set[str], {"b", "a"}, ["a", "b"]),
        (Tuple[int, str], (1, "a"), [1, "a"]),
        (datetime.date, datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.datetime, "2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        (Size, Size(3), {"width": 3, "names": ["a"]}),
        (Model, Model(width=3), {"width": 3, "tags": [], "note": None}),
        (Dict[str, Any], {"a": (1, None)}, {"a": [1, None]}),
        (Union[int, str], "a", "a"),
    ],
    ids=_named,
)
def test_default_becomes_json(annotation: Any, default: Any, expected: Any) -> None:
    spec = spec_of(annotation, default)

    assert (spec.required, spec.default) == (False, expected)


@pytest.mark.parametrize(
    ("annotation", "default", "says"),
    [
        (int, "a", "the default 'a' is not an int"),
        (int, True, "the default True is not an int"),
        (bool, 0, "the default 0 is not a bool"),
        (List[int], ["a"], r"the default \['a'\] is not a list of int"),
        (Tuple[int, str], (1,), "is not a tuple of 2"),
        (Color, "green", "is not one of 'red', 'blue'"),
        (Literal["a"], "b", "is not one of 'a'"),
        (Literal[1], True, "is not one of 1"),
        (datetime.date, "yesterday", "is not a date"),
        (Size, {"height": 1}, "is not a Size"),
        (Any, object(), "has no JSON form"),
        (float, float("nan"), "has no JSON form"),
        (str, "\ud800", "has no JSON form"),
        (Dict[str, int], {1: 1}, "the key 1 in its default is not a str"),
    ],
    ids=_named,
)
def test_default_of_another_type_is_refused(annotation: Any, default: Any, says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        spec_of(annotation, default)


def test_default_that_contains_itself_is_refused() -> None:
    endless: List[Any] = []
    endless.append(endless)

    with pytest.raises(SignatureError, match="contains itself"):
        spec_of(Any, endless)


def test_default_of_none_makes_any_type_optional() -> None:
    spec = spec_of(cog.Path, cog.Input(default=None))

    assert (spec.required, spec.type) == (False, TypeSpec("path", nullable=True))


def test_none_among_the_choices_means_that_it_may_be_left_out() -> None:
    spec = spec_of(str, cog.Input(choices=[None, "a"], default=None))

    assert (spec.choices, spec.type.nullable) == (("a",), True)


def test_choices_of_a_list_are_for_its_elements() -> None:
    assert spec_of(List[str], cog.Input(choices=["a", "b"], default=["a"])).choices == ("a", "b")
    with pytest.raises(SignatureError, match="is not among the choices"):
        spec_of(List[str], cog.Input(choices=["a", "b"], default=["c"]))


def test_choices_from_a_set_have_one_order() -> None:
    assert spec_of(str, cog.Input(choices={"c", "a", "b"})).choices == ("a", "b", "c")


# --- pydantic's Field and Annotated


def test_pydantic_field_in_the_signature() -> None:
    field = pydantic.Field(default=3, ge=1, lt=9, title="T", description="D", examples=[4], deprecated=True)

    spec = spec_of(int, field)

    assert (spec.default, spec.ge, spec.lt, spec.title, spec.description) == (3, 1, 9, "T", "D")
    assert (spec.examples, spec.deprecated) == ((4,), True)


def test_pydantic_lengths_of_a_list_count_items() -> None:
    spec = spec_of(List[str], pydantic.Field(default_factory=lambda: ["a"], min_length=1, max_length=2))

    assert (spec.min_items, spec.max_items, spec.min_length, spec.default) == (1, 2, None, ["a"])


def test_pydantic_pattern_is_the_regex() -> None:
    assert spec_of(str, pydantic.Field(pattern="^a")).regex == "^a"


def test_annotated_constraints_and_the_default_are_put_together() -> None:
    assert (
        spec_of(Annotated[int, pydantic.Field(ge=1)], 3).ge,
        spec_of(Annotated[int, cog.Input(ge=1)], 3).default,
    ) == (1, 3)
    merged = spec_of(Annotated[int, pydantic.Field(ge=1, le=5)], cog.Input(default=2, le=3))
    assert (merged.ge, merged.le, merged.default) == (1, 3, 2)
    assert spec_of(Optional[Annotated[int, cog.Input(ge=1)]], None).ge == 1


# --- forms of predictors


def names(spec: PredictorSpec) -> List[str]:
    return [item.name for item in spec.inputs]


def test_function_class_and_methods_of_every_kind() -> None:
    class Plain:
        def predict(self, a: int) -> str:
            return ""

    class Static:
        @staticmethod
        def run(a: int) -> str:
            return ""

    class OfClass:
        @classmethod
        def run(cls, a: int) -> str:
            return ""

    class Inherited(Plain):
        pass

    async def function(a: int) -> str:
        return ""

    for target in (Plain, Static, OfClass, Inherited, function):
        assert names(read_signature(target)) == ["a"]
    assert read_signature(function).is_async


def test_partial_and_decorated_functions_keep_their_types() -> None:
    def base(text: str, scale: float = 2) -> str:
        return text

    def timed(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    partial = read_signature(functools.partial(base, scale=3))

    assert [(item.name, item.default) for item in partial.inputs] == [("text", None), ("scale", 3)]
    assert read_signature(timed(base)) == read_signature(base)


def test_rewritten_signature_counts() -> None:
    def predict(**kwargs: Any) -> str:
        return ""

    parameter = inspect.Parameter("n", inspect.Parameter.KEYWORD_ONLY, annotation=int)
    predict.__signature__ = inspect.Signature([parameter], return_annotation=str)  # type: ignore[attr-defined]  # read there

    assert read_signature(predict).inputs == (FieldSpec("n", INT),)


def test_mark_on_a_wrapped_function_is_seen() -> None:
    def timed(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    class Predictor:
        @cog.concurrent(max=3)
        @timed
        async def predict(self, a: int) -> str:
            return ""

    assert read_signature(Predictor).max_concurrency == 3


def test_order_moves_an_input() -> None:
    def predict(a: int = cog.Input(order=2), b: int = cog.Input(order=1)) -> str:
        return ""

    assert names(read_signature(predict)) == ["b", "a"]


def test_every_problem_is_told() -> None:
    def predict(a, *args: int, b: object, c: int = "x"):  # type: ignore[no-untyped-def, assignment]  # what is tested
        return ""

    with pytest.raises(SignatureError) as caught:
        read_signature(predict)

    assert [error.name for error in (caught.value, *caught.value.others)] == ["a", "args", "b", "c", "predict"]


def test_undefined_annotation_is_told_with_its_parameter() -> None:
    def predict(a: int, b: NoSuch) -> str:  # type: ignore[name-defined]  # noqa: F821 - what is tested
        return ""

    with pytest.raises(SignatureError, match="NoSuch is not defined") as caught:
        read_signature(predict)

    assert caught.value.name == "b"


def test_async_setup_needs_an_async_predict() -> None:
    class Predictor:
        async def setup(self) -> None:
            pass

        def predict(self) -> str:
            return ""

    with pytest.raises(SignatureError, match=r"async setup\(\) needs an async predict\(\)") as caught:
        read_signature(Predictor)

    assert caught.value.name == "setup"


def test_spec_survives_json() -> None:
    def predict(a: Settings, b: Optional[List[Color]] = None, c: str = cog.Input(choices=["x"], default="x")) -> Model:
        return Model(width=1)

    spec = read_signature(predict)

    assert PredictorSpec.from_json(spec.to_json()) == spec


def test_batched_predict_is_described_by_one_item() -> None:
    class Predictor:
        @cog.batch(max_size=8, max_wait_ms=2.5)
        def predict(
            self,
            text: List[str],
            scale: List[float] = cog.Input(default=1, ge=0, le=4),
            size: Annotated[List[int], cog.Input(ge=1)] = 3,
            sizes: Sequence[List[int]] = [1],
            image: List[cog.Path] = None,  # type: ignore[assignment]  # noqa: RUF013 - what models write
        ) -> List[Dict[str, int]]:
            return []

    spec = read_signature(Predictor)

    assert spec.inputs == (
        FieldSpec("text", STR),
        FieldSpec("scale", TypeSpec("float"), required=False, default=1, ge=0, le=4),
        FieldSpec("size", INT, required=False, default=3, ge=1),
        FieldSpec("sizes", TypeSpec("list", items=(INT,)), required=False, default=[1]),
        FieldSpec("image", TypeSpec("path", nullable=True), required=False),
    )
    assert spec.output == OutputSpec(TypeSpec("dict", items=(INT,)))
    assert (spec.batch_size, spec.batch_wait_ms) == (8, 2.5)
    assert PredictorSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_spec_of_before_there_were_batches_still_reads() -> None:
    spec = PredictorSpec.from_json({"inputs": [], "output": {"type": {"kind": "str"}}})

    assert (spec.batch_size, spec.batch_wait_ms) == (None, 0)


def test_batched_predict_that_takes_no_lists_is_told_what_to_write() -> None:
    @cog.batch(max_size=8)
    async def predict(
        text: str, pair: Tuple[int, ...], count: Optional[List[int]] = 3, *, given: Dict[str, int]
    ) -> Iterator[str]:
        yield ""

    with pytest.raises(SignatureError) as caught:
        read_signature(predict)

    errors = [caught.value, *caught.value.others]
    assert [error.name for error in errors] == ["text", "pair", "count", "given", "output", "predict"]
    assert "`text: List[float]`" in (errors[0].hint or "")
    assert "not an iterator" in errors[4].message
    assert "`def predict(self, ...)`" in (errors[5].hint or "")


def test_batched_output_must_be_a_list() -> None:
    @cog.batch(max_size=8)
    def predict(text: List[str]) -> str:
        return ""

    with pytest.raises(SignatureError, match="gives back a list with one output for each item"):
        read_signature(predict)


@pytest.mark.parametrize(
    "given",
    [
        *({"max_size": size} for size in (0, True, 2.0, 10_001)),
        *({"max_size": 2, "max_wait_ms": wait_ms} for wait_ms in (-1, float("nan"), "5", 60_001)),
    ],
    ids=str,
)
def test_batch_of_nonsense_is_refused_where_it_is_written(given: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"@cog\.batch: max_"):
        cog.batch(**given)
