"""`python -m cog.worker`: started by the server, never by hand."""

import argparse
import faulthandler
import os
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cog.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the worker's end of the socket to the server")
    parser.add_argument("--memory", type=int, default=-1, help="memory for text that is not yet sent")
    parser.add_argument("--target", required=True, help="file.py:Name or package.module:Name")
    parser.add_argument("--mode", choices=["predict", "train"], default="predict")
    options = parser.parse_args()
    # A crash in C code leaves its stack in the log of the prediction.
    faulthandler.enable(file=2, all_threads=False)
    # `python -m` put the working folder first on sys.path; load_target() puts it there itself, after cog is imported.
    from cog.worker.body import run
    from cog.worker.channel import Channel

    return run(Channel(options.fd, options.memory), options.target, os.getcwd(), options.mode)


if __name__ == "__main__":
    sys.exit(main())
