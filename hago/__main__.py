"""``python -m hago``: the same program as ``hago``."""

from hago.cli.app import run_program

if __name__ == "__main__":
    run_program()
