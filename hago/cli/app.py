"""The program ``hago``: its verbs, and what its exit codes mean.

0  done        1  a defect of hago        2  something the user can mend        130  interrupted
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

import typer
from typer.main import get_command

from hago.cli.bench import bench
from hago.cli.compile import compile_
from hago.cli.demo import demo
from hago.cli.diagnose import diagnose
from hago.cli.explain import explain
from hago.cli.inspect import inspect
from hago.cli.recipes import recipes
from hago.cli.report import report
from hago.cli.run import run
from hago.cli.serve import serve
from hago.cli.spec import app as spec
from hago.cli.tune import tune
from hago.errors import HagoError

app = typer.Typer(
    help="Quantizes a trained model for one machine, compiles it, and shows that it was worth it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("compile")(compile_)
app.command("run")(run)
app.command("bench")(bench)
app.command("tune")(tune)
app.command("report")(report)
app.command("serve")(serve)
app.command("inspect")(inspect)
app.command("explain")(explain)
app.command("diagnose")(diagnose)
app.command("recipes")(recipes)
app.add_typer(spec, name="spec")
app.command("demo")(demo)

_USER, _INTERRUPTED, _TERMINATED = 2, 130, 143


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command; always ends in SystemExit, or in the exception that is a defect."""
    try:
        code = get_command(app)(args=arguments, prog_name="hago", standalone_mode=False)
    except HagoError as error:
        _fail(f"{type(error).__name__}: {error}")
    except typer.TyperException as error:
        _fail(f"UsageError: {error.format_message()}\n  See 'hago --help', 'hago COMMAND --help'.")
    except MemoryError as error:
        fact = str(error) or "the memory of this computer, or of this process, is used up"
        _fail(f"MemoryError: out of memory\n  {fact}\n  Use a smaller model or batch.")
    except OSError as error:
        _fail(f"OSError: {error}\n  Free or change what the system refuses, and run again.")
    if code == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    """One error on stderr, and the exit code for what the user can mend."""
    print(message, file=sys.stderr)
    sys.exit(_USER)


def run_program() -> None:
    """The entry point: a defect is told in two lines, in full with HAGO_DEBUG=1."""
    if os.environ.get("HAGO_DEBUG") != "1":
        sys.excepthook = tell_defect
    signal.signal(signal.SIGTERM, _terminate)
    main()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Ends as an exception, so that scratch folders are removed."""
    sys.exit(_TERMINATED)


def tell_defect(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Says what a defect looks like; the interpreter then ends with exit code 1."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    print(f"hago has a defect: {kind.__name__}: {error}", file=sys.stderr)
    print("  Run again with HAGO_DEBUG=1 for the traceback, and report it.", file=sys.stderr)
