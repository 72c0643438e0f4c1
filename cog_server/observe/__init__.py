"""What the server says of itself to those who watch it: metrics, logs, traces, the load of the GPUs."""
