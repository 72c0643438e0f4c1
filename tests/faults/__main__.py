"""`python -m tests.faults [ID ...] [--scale 0.1]`: run the matrix, or rows of it, and print the figures."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import matrix
from tests.faults.lab import Lab
from tests.server.conftest import serving


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="rows to run, e.g. A3 C (all by default)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size (default 1)")
    options = parser.parse_args()
    broken = 0
    print("| id | fault | figure | s |\n|---|---|---|---|")
    for each in matrix():
        if options.ids and not any(each.id == wanted or each.id[0] == wanted for wanted in options.ids):
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cog-faults-") as folder:
            try:
                with serving(Path(folder)) as serve:
                    figure = each.run(Lab(serve), max(1, round(each.size * options.scale)))
            except AssertionError as error:
                broken += 1
                figure = f"BROKEN: {str(error)[:2000]}"
        print(f"| {each.id} | {each.what} | {figure} | {time.monotonic() - started:.0f} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
