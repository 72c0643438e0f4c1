"""`python -m cog.server.http`: hands over to the server, which has an environment of its own."""

import os
import sys

SERVER_PYTHON = "/opt/cog/venv/bin/python"


def main() -> None:
    python = SERVER_PYTHON if os.path.exists(SERVER_PYTHON) else sys.executable
    os.execv(python, [python, "-m", "cog_server", *sys.argv[1:]])


if __name__ == "__main__":
    main()
