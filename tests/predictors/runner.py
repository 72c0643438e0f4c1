"""The newer spelling: BaseRunner with run()."""

from cog import BaseRunner, Input


class Predictor(BaseRunner):
    def setup(self) -> None:
        self.prefix = "> "

    def run(self, text: str = Input(default="nothing", max_length=8)) -> str:
        return self.prefix + text


CASES = [({"text": "hello"}, "> hello"), ({}, "> nothing")]
BAD_INPUTS = [({"text": "too much of it"}, "text"), ({"prefix": "a"}, "prefix")]
