"""The server: fronts on one side, worker processes on the other. It never imports the user's code."""
