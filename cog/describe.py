"""`python -m cog.describe`: print a predictor's spec, from live objects. Imports the user's module."""

import argparse
import json
import os
import sys

from cog.predictor import load_target
from cog.reading.signature import read_signature
from cog.schema.spec import SignatureError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cog.describe", description=__doc__)
    parser.add_argument("--target", required=True, help="file.py:Name or package.module:Name")
    parser.add_argument("--mode", choices=["predict", "train"], default="predict")
    options = parser.parse_args()
    # What the module prints while it is imported must not mix with the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        spec = read_signature(load_target(options.target, os.getcwd()), mode=options.mode)
    except SignatureError as error:
        sys.exit(error.text())
    os.write(answer, json.dumps(spec.to_json()).encode())


if __name__ == "__main__":
    main()
