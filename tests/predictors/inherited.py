"""predict() comes from a class of another file of the project."""

from shapes.parts import Base


class Predictor(Base):
    def setup(self) -> None:
        pass


CASES = [({"prompt": "cat", "guidance": 10}, ["data:text/plain;base64,Y2F0IDEwLjAgTm9uZQ=="])]  # cat 10.0 None
BAD_INPUTS = [({"prompt": "cat", "guidance": 10.5}, "guidance"), ({"prompt": "cat", "seed": "1"}, "seed")]
