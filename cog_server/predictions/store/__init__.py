"""Where predictions are kept once nobody works on them: in memory, or in a file that survives the server."""
