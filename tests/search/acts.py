"""What tests let a worker do: nothing to import, so that a new one is ready at once."""

from __future__ import annotations

import os
import signal
import time


def noted(folder: str, number: int, seconds: float = 0.02) -> int:
    """Leaves a file for each time that it ends."""
    time.sleep(seconds)
    os.close(os.open(f"{folder}/{number}-{os.getpid()}", os.O_CREAT))
    return 2 * number


def process_id() -> int:
    return os.getpid()


def raise_it(text: str) -> None:
    raise ValueError(text)


def once(folder: str, act: str) -> str:
    """Crashes or hangs where it is called first."""
    try:
        os.close(os.open(f"{folder}/once", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "elsewhere"
    if act == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1000)
    return act
