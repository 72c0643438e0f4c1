"""Random modules whose constants are changed, shared and passed around in every way before a signature uses them."""

from __future__ import annotations

from random import Random

HEAD = """\
import functools
import outside
import shared
from contextlib import suppress
from outside import YES, change
from shared import SHARED, twice
from cog import Input
"""

# A second file of the project, with constants that the first may change.
SHARED_FILE = """\
SHARED = ["s1", "s2"]
TABLE = {"t1": ["x"], "t2": ["y"]}


def twice(items):
    return [item * 2 for item in items]


class Options:
    items = ["o1"]

    @classmethod
    def add(cls, item):
        cls.items.append(item)
        return cls.items
"""


class ProgramMaker:
    """Makes one program from `random`; the names that exist so far decide what comes next."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lists = ["A", "B", "C"]
        self.dicts = ["D", "E"]
        self.functions: list[str] = []
        self.classes: list[str] = []
        # Most programs are mostly made of what is followed, so that many are decided, and one strange thing matters.
        self.strangeness = random.choice([0.05, 0.2, 1.0])

    def program(self) -> str:
        """The text of a module with a function `predict`."""
        pick = self.random
        lines = [HEAD]
        for name in self.lists:
            words = [pick.choice("abcdef") + str(pick.randrange(9)) for _ in range(pick.randrange(1, 4))]
            lines.append(f"{name} = {words!r}")
        for name in self.dicts:
            lines.append(f'{name} = {{"k1": ["x"], "k2": ["y", "z"]}}')
        before = [line for _ in range(pick.randrange(1, 7)) for line in self.statement()]
        choices = f'["zz"] + {self.expression()}'
        keys = f'["zz"] + list({pick.choice(self.dicts)})'
        signature = (
            f"def predict(x: list[str] = {self.expression()},\n"
            f'            y: str = Input(choices={choices}, default="zz"),\n'
            f'            z: str = Input(choices={keys}, default="zz")) -> str:\n'
            "    return x"
        )
        after = [line for _ in range(pick.randrange(0, 4)) for line in self.statement()]
        return "\n".join([*lines, *before, signature, *after, ""])

    def some_list(self) -> str:
        return self.random.choice([*self.lists, "SHARED", "shared.SHARED"])

    def expression(self) -> str:
        """An expression whose value is a list of texts."""
        one, other = self.some_list(), self.some_list()
        table = self.random.choice([*self.dicts, "shared.TABLE"])
        options = [
            one,
            f'[*{one}, "n"]',
            f"{one} + {other}",
            f"{one}.copy()",
            f"list({table}.keys())",
            f"sorted({table})",
            f"{table}[{self.random.choice(['min(' + table + ')', repr('k1')])}]",
            f'[item + "s" for item in {one} if len(item) > 1]',
            f"{one}[::-1]",
            f"{one} * 2",
            f"sorted(word.upper() for word in {one})",
            f'["a, b".split(", ")[0], ", ".join({one})]',
            f"list({{word: 1 for word in {one}}})",
            *[f"{name}.items" for name in self.classes],
        ]
        if self.random.random() >= self.strangeness:
            return self.random.choice(options)
        options += [
            f"({one} if YES else {other})",
            f"({one} or {other})",
            f"list(dict.fromkeys({one}))",
            f"twice({one})",
            f"[key for key, value in {table}.items() if value]",
            f"[word for word in ({one}, {other})[-1]]",
            'shared.Options.add("o")',
        ]
        options += [f"{name}()" for name in self.functions]
        options += [f"{name}.items" for name in self.classes]
        return self.random.choice(options)

    def statement(self, indent: str = "", depth: int = 0, *, in_function: bool = False) -> list[str]:
        """One statement, simple or with others inside."""
        if self.random.random() >= (max(self.strangeness, 0.5) if indent else self.strangeness):
            return self.followed(indent, in_function)
        kinds = [self.simple] * 6
        if depth < 2:
            kinds += [self.condition, self.attempt, self.loop, self.context]
        if depth == 0 and not in_function:
            kinds += [self.function, self.class_, self.wrapped]
        return self.random.choice(kinds)(indent, depth, in_function)

    def followed(self, indent: str, in_function: bool) -> list[str]:
        """One statement of those that are followed."""
        name, table = self.random.choice(self.lists), self.random.choice(self.dicts)
        number = self.random.randrange(4)
        options = [
            [f"{name} = {self.expression()}"],
            [f"{name} = {self.expression()}"],
            ["if outside.YES:", f"    {name} = ['same']", "else:", f"    {name} = ['same']"],
            [f"if len({self.some_list()}) > {number}:", f"    {name} = {self.expression()}"],
            [
                "try:",
                "    import outside as out",
                f"    {name} = {self.expression()}",
                "except ImportError:",
                "    raise",
            ],
        ]
        if not in_function and not indent:
            options += [
                [f'{name} = [*{name}, "m{number}"]'],
                [f'{table} = {{**{table}, "k{number}": {self.expression()}}}'],
                [f"{name}, *others = {self.expression()}, 1, 2"],
                [f"class K{len(self.classes)}:", f"    items = {self.expression()}"],
                ["def quiet():", f"    {name}.append('never')"],
                ["def sized(items=A):", f"    return len(items) + len({name})", "sized()"],
            ]
        chosen = self.random.choice(options)
        if chosen[0].startswith("class"):
            self.classes.append(f"K{len(self.classes)}")
        return [indent + line for line in chosen]

    def block(self, indent: str, depth: int, in_function: bool) -> list[str]:
        count = self.random.randrange(1, 3)
        return [
            line for _ in range(count) for line in self.statement(indent + "    ", depth + 1, in_function=in_function)
        ]

    def simple(self, indent: str, depth: int, in_function: bool) -> list[str]:
        one, table = self.some_list(), self.random.choice([*self.dicts, "shared.TABLE"])
        name = self.random.choice(self.lists)
        number = self.random.randrange(4)
        options = [
            f"{name} = {self.expression()}",
            f'{one}.append("m{number}")',
            f"{one}.extend({self.expression()})",
            f'{table}["k{number}"] = {self.expression()}',
            f'{table}["k1"].append("i")',
            f'{one}.insert(0, {one}[-1] if {one} else "e")',
            f"outside.change({one})",
            f"change({table})",
            f"outside.change(({one}, 1))",
            f"change([{table}])",
            f"{name} = outside.keep({one})",
            f"{name} = list(outside.words())",
            f"{one}.pop()",
            f"{one}.reverse()",
            f'{table}.update({{"u": {one}}})',
            f'{one}[0] = "s"',
            f"alias = {one}; alias.append('al')",
            f"[{one}.append(word) for word in outside.words()]",
            f"YES and {one}.append('and')",
            f"alias = lambda: {one}.append('la'); alias()",
            f"outside.keep(lambda: {one})().append('lk')",
            f"setattr(shared.Options, 'items', {one})",
        ]
        if not in_function:
            options += [f"{name} += {self.expression()}", f"{name}, {self.random.choice(self.lists)} = {one}, {name}"]
        options += [f"{each}()" for each in self.functions]
        options += [f"outside.change({each})" for each in self.functions]
        options += [f"{each}.items = {self.expression()}" for each in self.classes]
        options += [f'{each}.items.append("k")' for each in self.classes]
        options += [f"outside.change({each})" for each in self.classes]
        return [indent + self.random.choice(options)]

    def condition(self, indent: str, depth: int, in_function: bool) -> list[str]:
        test = self.random.choice(["YES", "outside.NO", f"len({self.some_list()}) > 2", "True"])
        lines = [f"{indent}if {test}:", *self.block(indent, depth, in_function)]
        if self.random.random() < 0.5:
            lines += [f"{indent}else:", *self.block(indent, depth, in_function)]
        return lines

    def attempt(self, indent: str, depth: int, in_function: bool) -> list[str]:
        body = self.block(indent, depth, in_function)
        if self.random.random() < 0.5:
            body += [f"{indent}    outside.fail()", *self.block(indent, depth, in_function)]
        handler = self.block(indent, depth, in_function)
        return [f"{indent}try:", *body, f"{indent}except ValueError:", *handler]

    def context(self, indent: str, depth: int, in_function: bool) -> list[str]:
        body = self.block(indent, depth, in_function)
        if self.random.random() < 0.5:
            body.insert(self.random.randrange(2) * len(body), f"{indent}    outside.fail()")
        return [f"{indent}with suppress(ValueError):", *body]

    def loop(self, indent: str, depth: int, in_function: bool) -> list[str]:
        items = self.random.choice([f"{self.some_list()}[:2]", "outside.words()", "range(2)"])
        lines = [f"{indent}for item in {items}:", *self.block(indent, depth, in_function)]
        if self.random.random() < 0.3:
            lines.append(f"{indent}    break" if self.random.random() < 0.5 else f"{indent}    if YES: continue")
        return lines

    def function(self, indent: str, depth: int, in_function: bool) -> list[str]:
        body = self.block(indent, 1, True)
        stores = {name for name in self.lists for line in body if f"{name} = " in line or f"{name}, " in line}
        heads = [f"    global {', '.join(sorted(stores))}"] if stores else []
        name = f"f{len(self.functions)}"
        lines = [f"def {name}():", *heads, *body, f"    return {self.expression()}"]
        self.functions.append(name)
        return [*lines, f"{name}()"] if self.random.random() < 0.5 else lines

    def wrapped(self, indent: str, depth: int, in_function: bool) -> list[str]:
        """A function behind a decorator that changes a constant when it decorates."""
        name = f"f{len(self.functions)}"
        lines = [
            f"def deco_{name}(function):",
            f"    {self.some_list()}.append('deco')",
            "    @functools.wraps(function)",
            "    def wrapper():",
            "        return function()",
            "    return wrapper",
            f"@deco_{name}",
            f"def {name}():",
            f"    return {self.expression()}",
        ]
        self.functions.append(name)
        return lines

    def class_(self, indent: str, depth: int, in_function: bool) -> list[str]:
        base = f"({self.random.choice(self.classes)})" if self.classes and self.random.random() < 0.3 else ""
        name = f"K{len(self.classes)}"
        lines = ["@outside.keep"] if self.random.random() < 0.2 else []
        lines += [f"class {name}{base}:", f"    items = {self.expression()}"]
        if self.random.random() < 0.3:
            lines.append('    items.append("c")')
        if self.random.random() < 0.3:
            lines += ["    def __init_subclass__(cls):", f"        {self.some_list()}.append('sub')"]
        self.classes.append(name)
        return lines
