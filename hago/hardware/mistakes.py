"""What went wrong in a specification that is no valid Python: the line, and the nearest word."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

_KEYWORD = re.compile(r"(?P<word>\w+)\(\) got an unexpected keyword argument '(?P<keyword>\w+)'")
_IMPORT = re.compile(r"cannot import name '(?P<name>\w+)'")


def line_in(path: Path, error: BaseException) -> int:
    """The last line of ``path`` that ``error`` went through; 0 where there is none."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 0 for frame in frames if Path(frame.filename) == path]
    return lines[-1] if lines else 0


def hint_for(error: BaseException) -> str:
    """``"Did you mean 'u8'? "`` where a word is misspelt, or nothing."""
    from hago import hardware

    words = hardware.__all__
    if isinstance(error, NameError):
        return _nearest(str(error.name), words)
    if isinstance(error, AttributeError):
        return _nearest(str(error.name), [n for n in dir(error.obj) if not n.startswith("_")])
    if match := _IMPORT.search(str(error)):
        return _nearest(match["name"], words)
    match = _KEYWORD.search(str(error))
    if match and match["word"] in words:
        return _nearest(
            match["keyword"], inspect.signature(getattr(hardware, match["word"])).parameters
        )
    return ""


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean '{close[0]}'? " if close else ""
