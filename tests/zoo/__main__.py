"""``python -m tests.zoo NAME... | all``: build models into the cache, print where they are."""

from __future__ import annotations

import argparse

from tests.zoo.cache import write_whole, zoo_folder
from tests.zoo.models import MODELS, model_file


def main() -> None:
    """Build what was asked for, one line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*MODELS, "all"], metavar="NAME|all")
    parser.add_argument("--again", action="store_true", help="build even what the cache has")
    arguments = parser.parse_args()
    for name in MODELS if "all" in arguments.names else arguments.names:
        if arguments.again:
            write_whole(zoo_folder() / f"{name}.onnx", MODELS[name].build)
        print(model_file(name), flush=True)


if __name__ == "__main__":
    main()
