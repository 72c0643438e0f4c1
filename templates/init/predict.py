from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Load the model into memory; runs once."""
        self.greeting = "hello"

    def predict(
        self,
        text: str = Input(description="Whom to greet"),
        times: int = Input(description="How often", default=1, ge=1, le=10),
    ) -> str:
        """Run one prediction. The types above are the HTTP API."""
        return " ".join([f"{self.greeting} {text}"] * times)
