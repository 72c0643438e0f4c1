"""Which versions fit each other: the tables of facts, the index that knows more, and the solver."""
