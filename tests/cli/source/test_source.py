"""Reading a signature from source text: the same as from live objects, or an error with its place, never a guess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from importlib.metadata import distributions
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cog.schema.spec import PredictorSpec, SignatureError
from cog_cli.source import Undecidable, read_partly, read_source
from tests.cli.source.programs import SHARED_FILE, ProgramMaker
from tests.cli.source.signatures import SignatureMaker
from tests.conftest import REPOSITORY, examples
from tests.predictor_cases import load_predictors

HERE = Path(__file__).parent
PREDICTORS = REPOSITORY / "tests" / "predictors"
CASES = json.loads((HERE / "signature_cases.json").read_text())
# Enough in one run of the tests; the search that found the bugs was a thousand times longer.
EXAMPLES = examples(250)
FUZZING = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def read_default(folder: Path, expression: str, prelude: str = "") -> Any:
    """The default of an input written as `expression` below `prelude`."""
    head = "from typing import Any\nfrom cog import Input\n"
    (folder / "predict.py").write_text(
        f"{head}{textwrap.dedent(prelude)}\ndef predict(x: Any = {expression}) -> str:\n    return ''\n"
    )
    return read_source("predict.py:predict", folder).inputs[0].default


# --- errors of the user


def write_case(folder: Path, source: Any) -> None:
    if isinstance(source, str):
        data = source.encode()
    elif "bytes" in source:
        data = bytes.fromhex(source["bytes"])
    else:
        data = (source["before"] + source["repeat"] * source["times"]).encode()
    (folder / "predict.py").write_bytes(data)


@pytest.mark.parametrize("case", [case for case in CASES if "says" in case["expected"]], ids=lambda case: case["id"])
def test_wrong_signature_is_told_with_its_place(case: dict[str, Any], tmp_path: Path) -> None:
    expected = case["expected"]
    write_case(tmp_path, case["source"])
    begun = time.monotonic()

    with pytest.raises(SignatureError) as caught:
        read_source(f"predict.py:{expected.get('target', 'Predictor')}", tmp_path)

    error = caught.value
    assert not isinstance(error, Undecidable), error
    assert expected["says"] in error.message
    assert (error.file, error.line) == ("predict.py", expected.get("line"))
    assert error.name == expected.get("name", error.name)
    assert error.column == expected.get("column", error.column)
    assert expected.get("hint", "") in (error.hint or "")
    assert [other.name for other in error.others] == expected.get("others", [])
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("case", [case for case in CASES if "inputs" in case["expected"]], ids=lambda case: case["id"])
def test_module_that_cannot_be_imported_still_has_a_signature(case: dict[str, Any], tmp_path: Path) -> None:
    write_case(tmp_path, case["source"])

    spec = read_source("predict.py:Predictor", tmp_path)

    assert [item.name for item in spec.inputs] == case["expected"]["inputs"]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("predict.py", "does not name a class or function"),
        (":Predictor", "does not name a class or function"),
        ("predict.py:Predictor.predict", "does not name a class or function"),
        ("predict.py:a:b", "does not name a class or function"),
        ("missing.py:Predictor", "the file does not exist"),
        ("../predict.py:Predictor", "must be inside the project"),
        ("/etc/passwd.py:Predictor", "must be inside the project"),
        ("folder.py:Predictor", "is not a regular file"),
        ("no.such.module:Predictor", "the project has no module no.such.module"),
        ("pack.broken:Predictor", "SyntaxError"),
        ("pack.module:Nothing", "pack/module.py has no class or function named Nothing; it has Predictor"),
    ],
)
def test_reference_that_names_nothing_is_an_error(reference: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, {"folder.py/x": "", "pack/broken.py": "def", "pack/module.py": "class Predictor: pass\n"})

    with pytest.raises(SignatureError, match=says):
        read_source(reference, tmp_path)


# --- what is known


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[1, -2, +3, not 5]", [1, -2, 3, False]),
        ("2 ** 10 + 7 // 2 - 7 % 4", 1024 + 3 - 3),
        ("1 / 4 if 3 > 2 >= 2 != 1 else 0", 0.25),
        ("'a' 'b' + 'c' * 2", "abcc"),
        ("f'{1 + 1:03d} {[1, None]} {\"q\"!r}'", "002 [1, None] 'q'"),
        ("', '.join(str(i) for i in range(3))", "0, 1, 2"),
        ("'a,b'.split(',') + list('cd')", ["a", "b", "c", "d"]),
        ("' X '.strip().lower().title()", "X"),
        ("sorted({'b': 1, 'a': 2})", ["a", "b"]),
        ("list({'a': 1, **{'b': 2}}.items())", [["a", 1], ["b", 2]]),
        ("{key: value * 2 for key, value in [('a', 1), ('b', 2)] if value > 1}", {"b": 4}),
        ("[x * 2 for x in range(3) if x != 1]", [0, 4]),
        ("sorted({x % 3 for x in range(10)})", [0, 1, 2]),
        ("[*range(2), *(5, 6)][1:-1][::-1]", [5, 1]),
        ("[min(3, 1), max([1, 4]), abs(-2), round(2.567, 1), len('abc')]", [1, 4, 2, 2.6, 3]),
        ("[int('7'), float('2'), bool(''), str(1.50), tuple([1])]", [7, 2.0, False, "1.5", [1]]),
        ("['a' in 'cat', 2 not in [1], None is None]", [True, True, True]),
        ("0 or '' or 'x'", "x"),
        ("1 and None", None),
        ("dict(a=1, **{'b': 2}) | {'c': 3}", {"a": 1, "b": 2, "c": 3}),
        ("{'a': 1}.get('b', 'none')", "none"),
        ("{'a': {'b': [1]}}['a']['b'][0]", 1),
        ("[item.value for item in Color] + [Color.RED.name, Color('g').name]", ["r", "g", "RED", "GREEN"]),
        ("Inner.Deep.level", 3),
        ("LATE", [1, 2]),
        ("Holder.size", 4),
        ("[COUNT, *LATE[:1]]", [3, 1]),
        ("TABLE", {"a": 1, "b": 2}),
        ("CHOSEN", "windows"),
        ("FIRST + SECOND", 21),
        ("math.pi", 3.141592653589793),
        ("sys.maxsize", 2**63 - 1),
        ("pathlib.PurePath('a') / 'b.txt'", "a/b.txt"),
        ("datetime.date(2024, 1, 2)", "2024-01-02"),
        ("datetime.datetime(2024, 1, 2, 3)", "2024-01-02T03:00:00"),
        ("Point(1, y=2)", {"x": 1, "y": 2}),
        ("Size(3)", {"width": 3, "height": 4}),
        ("[Size(3).width, Point(1)[0]]", [3, 1]),
        ("OrderedDict([('b', 1), ('a', 2)])", {"b": 1, "a": 2}),
    ],
)
def test_constant_expression_is_evaluated(expression: str, value: Any, tmp_path: Path) -> None:
    prelude = """
        import datetime, math, pathlib, sys, typing
        from collections import OrderedDict, namedtuple
        from dataclasses import dataclass
        from enum import Enum
        class Holder:
            size = 4
        class Color(Enum):
            RED = "r"
            GREEN = "g"
        class Inner:
            class Deep:
                level = 3
        Point = namedtuple("Point", "x y", defaults=[0])
        @dataclass
        class Size:
            width: int
            height: int = 4
        LATE = [1]
        LATE = LATE + [2]
        LATE[2:3]
        TABLE = {"a": 1}
        TABLE = {**TABLE, "b": 2}
        if 1 > 2:
            CHOSEN = "linux"
        elif len("ab") == 2:
            CHOSEN = "windows"
        else:
            CHOSEN = "mac"
        FIRST, SECOND = 1, 20
        COUNT = 1
        COUNT = COUNT + 2
    """
    assert read_default(tmp_path, expression, prelude) == value


def test_choices_may_be_the_keys_of_a_table_of_unknown_things(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": """
                import torch
                from cog import BasePredictor, Input, Path
                from diffusers import DDIMScheduler, PNDMScheduler
                SCHEDULERS = {"DDIM": DDIMScheduler.from_config, "PNDM": PNDMScheduler}
                class Predictor(BasePredictor):
                    @torch.inference_mode()
                    def predict(self, scheduler: str = Input(choices=SCHEDULERS.keys(), default="DDIM")) -> Path: ...
            """
        },
    )

    spec = read_source("predict.py:Predictor", tmp_path)

    assert spec.inputs[0].choices == ("DDIM", "PNDM")


@pytest.mark.parametrize(
    "decorator",
    [
        "torch.inference_mode()",
        "torch.inference_mode",
        "torch.no_grad()",
        "no_grad()",
        "t.autocast('cuda')",
        "cog.streaming",
        "cog.streaming()",
        "functools.lru_cache(maxsize=None)",
        "timed",
        "retried(3)",
    ],
)
def test_decorator_that_keeps_the_signature_is_seen_through(decorator: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": f"""
                import functools
                import cog, torch
                import torch as t
                from torch import no_grad
                from timing import timed, retried
                class Predictor:
                    @{decorator}
                    def predict(self, n: int) -> str: ...
            """,
            "timing.py": """
                import functools
                def timed(function):
                    @functools.wraps(function)
                    def wrapper(*args, **kwargs):
                        return function(*args, **kwargs)
                    return wrapper
                def retried(times):
                    'Try again.'
                    def decorate(function):
                        @functools.wraps(function)
                        def wrapper(*args, **kwargs):
                            return function(*args, **kwargs)
                        return wrapper
                    return decorate
            """,
        },
    )

    assert [item.name for item in read_source("predict.py:Predictor", tmp_path).inputs] == ["n"]


def test_class_comes_from_another_file_through_packages(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "serve/app.py": "from models import Base\nclass Predictor(Base): pass\n",
            "models/__init__.py": "from .base import *\n",
            "models/base.py": """
                from cog import BasePredictor
                from models.sizes import SIZES
                from . import sizes as again
                class Base(BasePredictor):
                    def predict(self, n: int = SIZES[0], m: int = again.SIZES[1]) -> str: ...
            """,
            "models/sizes/__init__.py": "SIZES = [3, 4]\n",
        },
    )

    for reference in ("serve/app.py:Predictor", "serve.app:Predictor"):
        spec = read_source(reference, tmp_path)
        assert [item.default for item in spec.inputs] == [3, 4]


def test_error_in_another_file_is_told_with_that_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": "from base import Base\nclass Predictor(Base): pass\n",
            "base.py": "class Base:\n    def predict(self, n: int = 'x') -> str: ...\n",
        },
    )

    with pytest.raises(SignatureError) as caught:
        read_source("predict.py:Predictor", tmp_path)

    assert (caught.value.file, caught.value.line, caught.value.column) == ("base.py", 2, 23)


def test_modules_that_import_each_other_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": """
                SIZES = [1, 2]
                import other
                def predict(n: int = other.LARGEST) -> str: ...
            """,
            "other.py": "import predict\nLARGEST = max(predict.SIZES)\n",
        },
    )

    assert read_source("predict.py:predict", tmp_path).inputs[0].default == 2


def test_modules_that_import_everything_of_each_other_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": "from a import *\ndef predict(n: int = N, m: int = M) -> str: ...\n",
            "a.py": "from b import *\nN = 1\n",
            "b.py": "from a import *\nM = 2\n",
        },
    )

    assert [item.default for item in read_source("predict.py:predict", tmp_path).inputs] == [1, 2]


@pytest.mark.parametrize("line", ["from m{} import N\n", "from m{} import *\n"])
def test_long_chain_of_modules_does_not_crash(line: str, tmp_path: Path) -> None:
    write(tmp_path, {f"m{i}.py": line.format(i + 1) for i in range(190)})
    write(tmp_path, {"m190.py": "N = 3\n", "predict.py": line.format(0) + "def predict(n: int = N) -> str: ...\n"})

    try:
        assert read_source("predict.py:predict", tmp_path).inputs[0].default == 3
    except Undecidable as error:
        assert "nested too deeply" in error.message


def test_all_decides_what_a_star_brings(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": "N = 1\nM = 1\nfrom a import *\ndef predict(n: int = N, m: int = M) -> str: ...\n",
            "a.py": "N = 2\nM = 2\n__all__ = ['M']\n",
        },
    )
    assert [item.default for item in read_source("predict.py:predict", tmp_path).inputs] == [1, 2]

    write(tmp_path, {"a.py": "import os\nN = 2\n__all__ = os.listdir()\n"})
    with pytest.raises(Undecidable, match="__all__ of a is not known"):
        read_source("predict.py:predict", tmp_path)


def test_folder_without_init_may_be_an_installed_package(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": "from datasets import SPLIT\ndef predict(n: str = SPLIT) -> str: ...\n",
            "datasets/readme.txt": "",
        },
    )

    with pytest.raises(Undecidable, match=r"`datasets\.SPLIT` comes from a package"):
        read_source("predict.py:predict", tmp_path)


def test_folder_on_sys_path_is_searched(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "predict.py": "import sys\nsys.path.append('src')\nfrom sizes import N\ndef predict(n: int = N) -> str: ...\n",
            "src/sizes.py": "N = 7\n",
        },
    )

    assert read_source("predict.py:predict", tmp_path).inputs[0].default == 7


def test_training_function_is_read_in_its_mode(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train.py": """
                from cog import BaseModel, Path
                class TrainingOutput(BaseModel):
                    weights: Path
                def train(data: Path, steps: int = 10) -> TrainingOutput: ...
            """
        },
    )

    spec = read_source("train.py:train", tmp_path, mode="train")

    assert (spec.mode, spec.output.type.name) == ("train", "TrainingOutput")


# --- what is not known


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        (
            "import os\ndef predict(n: str = os.getenv('N', 'a')) -> str: ...\n",
            2,
            "environment variables are known only",
        ),
        ("import os\nN = os.environ['N']\ndef predict(n: str = N) -> str: ...\n", 2, "environment variables"),
        ("import os\nN = 1 if os.cpu_count() else 2\ndef predict(n: int = N) -> str: ...\n", 2, "os.cpu_count"),
        ("from numpy import pi\ndef predict(n: float = pi) -> str: ...\n", 1, "`numpy.pi` comes from a package"),
        ("import json\nN = json.load(open('n.json'))\ndef predict(n: int = N) -> str: ...\n", 2, "json.load"),
        ("from nowhere import *\ndef predict(n: int = SIZE) -> str: ...\n", 1, "may bind any name"),
        ("SIZE = 3\nfrom nowhere import *\ndef predict(n: int = SIZE) -> str: ...\n", 2, "may bind any name"),
        ("SIZE = 3\nexec('SIZE = 4')\ndef predict(n: int = SIZE) -> str: ...\n", 2, "may bind any name"),
        ("SIZE = 3\nglobals()['SIZE'] = 4\ndef predict(n: int = SIZE) -> str: ...\n", 2, "may bind any name"),
        (
            "import x\nL = ['a']\nx.add(L)\ndef predict(n: list[str] = L) -> str: ...\n",
            3,
            "`L` may be changed by what happens to it here",
        ),
        (
            "import x\nL = ['a']\nif x.y:\n    L.append('b')\ndef predict(n: list[str] = L) -> str: ...\n",
            4,
            "`L` may be changed by what happens to it here",
        ),
        (
            "import x\nif x.y:\n    N = 1\nelse:\n    N = 2\ndef predict(n: int = N) -> str: ...\n",
            2,
            "depends on a condition",
        ),
        (
            "try:\n    import x\n    N = 1\nexcept ImportError:\n    N = 2\ndef predict(n: int = N) -> str: ...\n",
            1,
            "depends",
        ),
        ("import x\n@x.deco\ndef predict(n: int) -> str: ...\n", 2, "the decorator @x.deco may change the signature"),
        ("import x\n@x.deco\nclass predict:\n    def predict(self) -> str: ...\n", 2, "may change the class"),
        ("from x import Base\nclass predict(Base): pass\n", 2, "inherits from Base, which comes from a package"),
        (
            "from x import Base\nclass predict(Base):\n    def predict(self) -> str: ...\n",
            2,
            "inherits from Base, which comes from a package",
        ),
        ("from x import T\ndef predict(n: T) -> str: ...\n", 1, "`x.T` comes from a package"),
        ("from x import T\ndef predict(n: int) -> T: ...\n", 1, "`x.T` comes from a package"),
        ("from x import T\nfrom typing import List\ndef predict(n: 'List[T]') -> str: ...\n", 1, "`x.T` comes from"),
        (
            "from x import T\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    t: T\n"
            "def predict(a: A) -> str: ...\n",
            1,
            "`x.T` comes from a package",
        ),
        (
            "import functools\ndef f(n: int) -> str: ...\npredict = functools.partial(f, n=1)\n",
            3,
            "partial is not followed",
        ),
        ("class predict:\n    def predict(self) -> str: ...\npredict.predict.__signature__ = 3\n", 3, "may be changed"),
        ("def f(n: int) -> str: ...\nf.__annotations__['n'] = str\npredict = f\n", 2, "may be changed"),
        ("class M(type): pass\nclass predict(metaclass=M):\n    def predict(self) -> str: ...\n", 2, "the metaclass"),
        (
            "class B:\n    def __init_subclass__(cls): cls.predict = cls.other\nclass predict(B):\n"
            "    def predict(self) -> str: ...\n",
            2,
            "`predict` may be bound to something else here",
        ),
        ("def predict(n: list[str] = list({'a', 'b'})) -> str: ...\n", 1, "the order of a set"),
        (
            "from enum import Enum\nclass E(str, Enum):\n    A = 'a'\ndef predict(n: str = f'{E.A}') -> str: ...\n",
            4,
            "the text of a E is not evaluated",
        ),
        (
            "from typing import Optional\nfrom pydantic import BaseModel\nclass A(BaseModel):\n    n: Optional[int]\n"
            "def predict(a: A) -> str: ...\n",
            3,
            "pydantic 1 and 2 disagree",
        ),
        ("def predict(n: Late) -> str: ...\nLate = int\n", 1, "needs Python 3.14"),
        (
            "import x\nsetattr(x, 'y', 1)\nclass A: n = 1\nsetattr(A, 'n', 2)\ndef predict(n: int = A.n) -> str: ...\n",
            4,
            "`A` may be changed by what happens to it here",
        ),
        ("def f():\n    yield 1\ndef predict(n: list[int] = list(f())) -> str: ...\n", 3, "is not followed"),
        ("async def f(): return 1\ndef predict(n: int = f()) -> str: ...\n", 2, "is not followed"),
        ("X = 'X'\ndef predict(n: X) -> str: ...\n", 2, "the forward reference 'X' is not followed"),
        (
            "from cog import Input\nL = ['a']\nclass K:\n    def __add__(self, other):\n        other.append('b')\n        return other\n"
            "K() + L\ndef predict(n: str = Input(choices=L)) -> str: ...\n",
            7,
            "`L` may be changed by what happens to it here",
        ),
        (
            "from cog import Input\nL = ['a']\nclass K:\n    def __getitem__(self, other): other.append('b')\n"
            "k = K()\nk[L]\ndef predict(n: str = Input(choices=L)) -> str: ...\n",
            6,
            "`L` may be changed by what happens to it here",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass A:\n    n: int\n    def grow(self): self.n += 1\n"
            "a = A(1)\na.grow()\ndef predict(n: int = a.n) -> str: ...\n",
            7,
            "`a` may be changed by what happens to it here",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass A:\n    n: int\nL = ['a']\nA(1).keep(L)\n"
            "def predict(n: list[str] = L) -> str: ...\n",
            6,
            "`L` may be changed by what happens to it here",
        ),
        (
            "import x\nfrom cog import BaseModel\nclass A(BaseModel):\n    n: int = 1\nA.n = x.n\n"
            "def predict(a: A) -> str: ...\n",
            5,
            "`n` may be bound to something else here",
        ),
        (
            "import x\nN = 1\ndef two():\n    global N\n    N = 2\nif x.a:\n    x.b and two()\nelse:\n    N = 2\n"
            "def predict(n: int = N) -> str: ...\n",
            4,
            "`N` may be bound to something else here",
        ),
        ("def f(n): return n\ndef predict(n: int = f(1)) -> str: ...\n", 2, "calling f is not followed"),
        ("def predict(n: list[int] = sorted([1], key=abs)) -> str: ...\n", 1, "a key is not followed"),
        ("def predict(n: list[int] = list(map(abs, [1]))) -> str: ...\n", 1, "calling map is not followed"),
        ("N = 0\nfor i in range(3):\n    N = i\ndef predict(n: int = N) -> str: ...\n", 2, "bound in a `for`"),
        ("N = 0\nfor N in range(3): pass\ndef predict(n: int = N) -> str: ...\n", 2, "bound in a `for`"),
        (
            "import x\nL = ['a']\nclass K:\n    items = L\nx.change(K)\ndef predict(n: list[str] = L) -> str: ...\n",
            4,
            "`L` may be changed by what happens to it here",
        ),
        (
            "D = {'k': ['a']}\nD['k'].append('b')\ndef predict(n: list[str] = D['k']) -> str: ...\n",
            2,
            "an element of `D` may be changed",
        ),
        ("L = ['a']\n@L.append\ndef f(): ...\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        ("L = ['a']\nsorted('b', key=L.append)\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        (
            "L = ['a']\nclass B:\n    def __init_subclass__(cls, x): x.append('b')\nclass C(B, x=L): pass\n"
            "def predict(n: list[str] = L) -> str: ...\n",
            4,
            "may be changed",
        ),
        (
            "A = 0\ntry:\n    A = 1\n    f()\nexcept NameError:\n    N = A\ndef predict(n: int = N) -> str: ...\n",
            3,
            "`A` depends on where an exception comes",
        ),
        (
            "import x\nN = 0\ntry:\n    N = 1\n    f()\nexcept NameError:\n    if x.y:\n        N = 0\n"
            "def predict(n: int = N) -> str: ...\n",
            3,
            "`N` depends on",
        ),
        ("L = ['a']\nL.insert(0, 'b')\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        (
            "L = ['a']\nfor i in 'bc':\n    L.append(i)\ndef predict(n: list[str] = L) -> str: ...\n",
            3,
            "may be changed",
        ),
        ("L = ['a']\ndef predict(n: list[str] = L) -> str: ...\nL.append('b')\n", 3, "may be changed"),
        ("L = ['a']\nL.append('b')\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        ("L = ['a']\nL += ['b']\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        ("L = ['a']\nM = L\nM.append('b')\ndef predict(n: list[str] = L) -> str: ...\n", 2, "may be changed"),
        (
            "L = ['a']\ndef f(): L.append('b')\nf()\ndef predict(n: list[str] = L) -> str: ...\n",
            2,
            "`L` may be changed by what happens to it here",
        ),
        ("import random\ndef predict(n: int = random.randint(0, 9)) -> str: ...\n", 2, "it is random"),
        ("def predict(n: int = 1 // 0) -> str: ...\n", 1, "raises ZeroDivisionError"),
    ],
)
def test_what_only_running_could_tell_is_undecidable_with_its_place(
    source: str, line: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "predict.py").write_text(source)

    with pytest.raises(Undecidable, match=r"cannot be known without running the code") as caught:
        read_source("predict.py:predict", tmp_path)

    assert says in caught.value.message
    assert (caught.value.file, caught.value.line) == ("predict.py", line)


def test_own_mistake_comes_before_what_is_undecidable(tmp_path: Path) -> None:
    write(tmp_path, {"predict.py": "import os\ndef predict(a: str = os.getenv('A'), b: int = 'x') -> str: ...\n"})

    with pytest.raises(SignatureError, match="the default 'x' is not an int") as caught:
        read_source("predict.py:predict", tmp_path)

    assert not isinstance(caught.value, Undecidable)


# --- words that are left out


@pytest.mark.parametrize(
    ("parameter", "gaps"),
    [
        ("n: int = 1 if x.y else 2", ["n default 2:27"]),
        ("n: int = Input(default=1 if x.y else 2, ge=1, description='d')", ["n default 2:41"]),
        ("n: int = Input(default=1, description=x.y)", ["n description 2:51"]),
        ("n: int = Input(1 if x.y else 2, title=f'{x.y}')", ["n default 2:33", "n title 2:54"]),
        ("n: int | None = x.y", ["n default 2:29"]),
        ("n: int = None if x.y else None", []),
        ("n: int = 1 if x.y else 1", []),
    ],
)
def test_word_that_decides_no_type_is_left_out_and_told(parameter: str, gaps: list[str], tmp_path: Path) -> None:
    write(
        tmp_path,
        {"predict.py": f"import x; from typing import *; from cog import *\ndef predict({parameter}) -> str: ...\n"},
    )

    partial = read_partly("predict.py:predict", tmp_path)

    places = [(gap.parameter, gap.word, f"{gap.error.line}:{gap.error.column}") for gap in partial.gaps]
    assert [" ".join(place) for place in places] == gaps
    assert [item.required for item in partial.spec.inputs] == [False]
    (found,) = partial.spec.inputs
    is_left_out = any(word == "default" for _, word, _ in places)
    assert found.default_is_unknown == is_left_out
    assert PredictorSpec.from_json(json.loads(json.dumps(partial.spec.to_json()))) == partial.spec


@pytest.mark.parametrize(
    "parameter",
    [
        "n: int = 1 if x.y else None",
        "n: int = x.y",
        "n: int = 1 if x.y else 'a'",
        "n: int = Input(default=1, ge=x.y)",
        "n: Annotated[int, Input(description=x.y)] = 1",
        "n: int = Input(default=1, choices=[x.y])",
        "n: x.y = 1 if x.y else 2",
    ],
)
def test_word_that_may_decide_a_type_is_not_left_out(parameter: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        {"predict.py": f"import x; from typing import *; from cog import *\ndef predict({parameter}) -> str: ...\n"},
    )

    with pytest.raises(Undecidable):
        read_partly("predict.py:predict", tmp_path)


def test_default_of_two_constants_is_left_out(tmp_path: Path) -> None:
    source = "import x\nif x.y:\n    N = 1\nelse:\n    N = 2\ndef predict(n: int = N) -> str: ...\n"
    write(tmp_path, {"predict.py": source})

    partial = read_partly("predict.py:predict", tmp_path)

    assert [(gap.parameter, gap.word, gap.error.line) for gap in partial.gaps] == [("n", "default", 2)]


# --- nothing runs, nothing hangs


def test_nothing_of_the_project_is_run(tmp_path: Path) -> None:
    touch = f"__import__('pathlib').Path({str(tmp_path / 'touched')!r}).touch()"
    write(
        tmp_path,
        {
            "other.py": f"{touch}\nX = 1\n",
            "predict.py": f"""
                import other
                from dataclasses import dataclass, field
                from enum import Enum
                from functools import lru_cache
                from typing import *
                from cog import BaseModel, Input
                {touch}
                def touch(*args, **kwargs): {touch}
                class Meta(type):
                    def __new__(cls, *args): {touch}; return type.__new__(cls, *args)
                class M(metaclass=Meta): pass
                class Base:
                    def __init_subclass__(cls): {touch}
                    def __class_getitem__(cls, item): {touch}
                    def __set_name__(self, *args): {touch}
                    def __eq__(self, other): {touch}; return True
                    def __hash__(self): {touch}; return 1
                    def __del__(self): {touch}
                class E(Enum):
                    _generate_next_value_ = touch
                    A = 1
                    def __init__(self, value): {touch}
                @dataclass
                class A:
                    x: "{touch}" = 1
                    y: "ClassVar[{touch}]" = 2
                    z: list = field(default_factory=touch)
                    def __post_init__(self): {touch}
                class T(TypedDict):
                    x: List["{touch}"]
                class O(BaseModel):
                    x: "{touch}" = {touch}
                def predict(
                    a: "{touch}", b: Optional["{touch}"], c: A, d: T, e: E, f: Base[int],
                    g: int = {touch}, h: Any = A(), i: Any = [Base()] == [Base()], j: O = Input(default={touch}),
                    k: List[List["{touch}"]] = [], l: Any = sorted([3], key=touch), m: int = other.X,
                ) -> "Iterator[{touch}]": ...
            """,
        },
    )

    with pytest.raises(SignatureError):
        read_source("predict.py:predict", tmp_path)

    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10**9",
        "[0] * 10**9",
        "list(range(10**9))",
        "10**10**10",
        "1 << 10**9",
        "'{:1000000000}'.format(1)",
        "f'{1:1000000000}'",
        "'%1000000000d' % 1",
        "'a'.ljust(10**9)",
        "'\\t'.expandtabs(10**9)",
        "('a' * 100000).replace('a', 'b' * 100000)",
        "[i for i in range(10000) for j in range(10000)]",
        "FOREVER",
        "DOUBLED",
        "LAUGHS",
        "LAUGHS if unknown.x else CRIES",
        "str(LAUGHS)",
        "ITSELF",
        "Input(choices=ITSELF)",
        "recursive(3)",
        "-" * 3000 + "1",
        "+".join(["1"] * 3000),
        "f" + "()" * 3000,
        "lambda: " * 500 + "1",
    ],
    ids=lambda text: text[:40],
)
def test_costly_source_is_given_up_quickly(expression: str, tmp_path: Path) -> None:
    laughs = "\n".join(f"L{i} = [L{i - 1}] * 10" if i else "L0 = ['ha'] * 10" for i in range(9))
    prelude = (
        "FOREVER = 0\nwhile True:\n    FOREVER += 1\nDOUBLED = 'x'\nfor _ in range(99):\n    DOUBLED += DOUBLED\n"
        f"import unknown\n{laughs}\nLAUGHS = L8\n{laughs.replace('L', 'C')}\nCRIES = C8\nITSELF = []\nITSELF.append(ITSELF)\n"
        "def recursive(n):\n    return recursive(n) + recursive(n)\n"
    )
    begun = time.monotonic()

    with pytest.raises(SignatureError):
        read_default(tmp_path, expression, prelude)

    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n" * 340_000 + "def predict(n: int) -> str: ...\n",
        "x = [1]\nx.append(x)\n" * 90_000 + "def predict(n: int = x) -> str: ...\n",
        "class predict:\n" + "    x = 1\n" * 200_000 + "    def predict(self) -> str: ...\n",
        "\n".join(f"class C{i}({f'C{i - 1}' if i else 'object'}): pass" for i in range(3000)) + "\npredict = C2999\n",
        "\n".join(f"X{i} = {f'X{i - 1} + ' if i else ''}[1]" for i in range(2000))
        + "\ndef predict(n: int = X9) -> str: ...\n",
    ],
    ids=["statements", "changes", "class", "classes", "chain"],
)
@pytest.mark.slow
def test_huge_source_is_answered_in_seconds(source: str, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(source)
    begun = time.monotonic()

    with pytest.raises(SignatureError):
        read_source("predict.py:predict", tmp_path)

    assert time.monotonic() - begun < 20


def test_reading_needs_no_package_and_little_time() -> None:
    code = (
        "import sys, time, pathlib\n"
        "from cog_cli.source import read_source\n"
        "begun = time.perf_counter()\n"
        f"read_source('choices_from_constants.py:Predictor', pathlib.Path({str(PREDICTORS)!r}))\n"
        "print(time.perf_counter() - begun, sorted({'pydantic', 'click', 'yaml', 'asyncio'} & set(sys.modules)))\n"
    )

    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    seconds, packages = result.stdout.split(maxsplit=1)
    assert packages.strip() == "[]"
    assert float(seconds) < 0.3


# --- the two readers agree

DESCRIBE_ALL = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cog.predictor import load_target
from cog.reading.signature import read_signature
for line in sys.stdin:
    reference, mode = line.split()
    try:
        answer = read_signature(load_target(reference, sys.argv[2]), mode=mode).to_json()
    except (SyntaxError, ImportError, TypeError) as error:  # too new, or needs what is not there
        answer = repr(error)
    print(json.dumps(answer))
"""
# What an older Python cannot tell of live objects.
LOST = {(3, 8): {"typed_dict_totals.py:Predictor"}}
# What no reading of the text can tell.
UNDECIDABLE = {
    "choices_from_code.py:Predictor",
    "partial.py:predict",
    "pydantic_1_models.py:Predictor",
    "rewritten_signature.py:Predictor",
}


PREDICTOR_FILES = load_predictors()


def live_answers(python: str) -> dict[str, Any]:
    lines = "".join(f"{each.reference} {each.mode}\n" for each in PREDICTOR_FILES)
    result = subprocess.run(
        [python, "-c", DESCRIBE_ALL, str(REPOSITORY), str(PREDICTORS)],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    return dict(zip((each.reference for each in PREDICTOR_FILES), answers, strict=True))


def pythons(*versions: str) -> list[str]:
    """The interpreters of those versions that pyenv has here."""
    root = Path(os.environ.get("PYENV_REPOSITORY", Path.home() / ".pyenv"))
    return [str(path) for path in sorted(root.glob("versions/3.*/bin/python")) if path.parts[-3].startswith(versions)]


@pytest.mark.parametrize("python", [sys.executable, *pythons("3.8.", "3.13.")])
def test_source_and_live_objects_give_the_same_spec(python: str) -> None:
    live = live_answers(python)
    version, packages = version_and_packages(python)
    compared = 0

    for each in PREDICTOR_FILES:
        if not each.runs_with(version, packages) or each.reference in LOST.get(version, ()):
            continue
        assert isinstance(live[each.reference], dict), live[each.reference]
        try:
            spec = read_source(each.reference, PREDICTORS, mode=each.mode)
        except Undecidable:
            assert each.reference in UNDECIDABLE or sys.version_info < each.python
            continue
        assert json.loads(json.dumps(spec.to_json())) == live[each.reference], each.reference
        compared += 1

    assert compared >= 50


def version_and_packages(python: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Which Python it is, and what a predictor may ask for there: packages are beside our own only."""
    if python != sys.executable:
        major, minor = python.split("/")[-3].split(".")[:2]
        return (int(major), int(minor)), {}
    return sys.version_info[:2], {item.name.replace("_", "-"): item.version for item in distributions()}


READ_ALL = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from cog_cli.source import read_source
for line in sys.stdin:
    reference, mode = line.split()
    print(json.dumps(read_source(reference, pathlib.Path(sys.argv[2]), mode=mode).to_json()))
"""


@pytest.mark.parametrize("python", pythons("3.10.", "3.12.", "3.13.", "3.14."))
def test_source_is_read_alike_by_every_python_that_runs_cog(python: str) -> None:
    known = [(each.reference, each.mode) for each in PREDICTOR_FILES if each.python <= (3, 10)]
    known = [item for item in known if item[0] not in UNDECIDABLE]
    lines = "".join(f"{reference} {mode}\n" for reference, mode in known)

    result = subprocess.run(
        [python, "-c", READ_ALL, str(REPOSITORY), str(PREDICTORS)],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )

    here = [json.dumps(read_source(reference, PREDICTORS, mode=mode).to_json()) for reference, mode in known]
    assert result.stdout.splitlines() == here


def import_text(text: str, name: str) -> dict[str, Any]:
    """Run a module's text as an import would; its names."""
    module = type(sys)(name)
    sys.modules[name] = module
    exec(compile(text, name, "exec"), module.__dict__)
    return module.__dict__


def live_spec(target: Any) -> PredictorSpec | SignatureError:
    from cog.reading.signature import read_signature

    try:
        return read_signature(target)
    except SignatureError as error:
        return error


@FUZZING
@given(random=st.randoms(use_true_random=False))
def test_generated_signature_is_the_same_live_and_from_source(random: Random, tmp_path: Path) -> None:
    source = SignatureMaker(random).source()
    (tmp_path / "generated.py").write_text(source)
    try:
        live = live_spec(import_text(source, "generated")["TARGET"])
    except (NameError, SyntaxError, TypeError, ValueError):
        return  # not a module that can be imported

    if isinstance(live, PredictorSpec):
        if "NoSuchInText" in source:
            return  # A name in an annotation's text that the live reader never looked up; the static one refuses it.
        assert read_source("generated.py:TARGET", tmp_path) == live
        return
    with pytest.raises(SignatureError) as caught:
        read_source("generated.py:TARGET", tmp_path)
    found = [caught.value, *caught.value.others]
    assert all(error.line for error in found)
    if not live.others and "NoSuchInText" not in source:
        assert (live.name, live.message) in [(error.name, error.message) for error in found]


@pytest.mark.slow
@FUZZING
@given(random=st.randoms(use_true_random=False))
def test_changed_constants_are_followed_or_undecidable_never_guessed(
    random: Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "tests" / "fakes")
    source = ProgramMaker(random).program()
    write(tmp_path, {"shared.py": SHARED_FILE, "generated.py": source})
    try:
        import_text(SHARED_FILE, "shared")
        live = live_spec(import_text(source, "generated")["predict"])
    except (LookupError, NameError, TypeError, ValueError, RecursionError, AttributeError):
        return  # not a module that can be imported

    try:
        found: Any = read_source("generated.py:predict", tmp_path)
    except Undecidable:
        return
    except SignatureError as error:
        found = error
    assert type(found) is type(live)
    assert str(found) == str(live)
