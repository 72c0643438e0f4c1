"""The server: FastAPI in front, one worker process behind. It never imports the user's code."""
