"""What a prediction is, and where it is kept: its state, its events, its record. Who runs it is not known here."""
