"""From live objects to the signature as data: what `predict()` and its annotations say."""
