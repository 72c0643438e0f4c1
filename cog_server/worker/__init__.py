"""The worker processes, as the server sees them."""
