"""What long work tells of itself where no terminal draws bars."""

import io

from rich.console import Console

from hago.cli.progress import _Lines


def told(seconds_each, count):
    """The lines of ``count`` items that take so many seconds each."""
    now = [0.0]
    screen = io.StringIO()
    lines = _Lines(Console(file=screen, width=80), clock=lambda: now[0])
    for _ in lines.track(range(count), "brecq", count):
        now[0] += seconds_each
    return screen.getvalue().splitlines()


def test_a_long_count_says_how_far_it_is_and_how_long_it_takes():
    assert told(20.0, 5) == [
        "  brecq: 2 of 5, about 60 s more",
        "  brecq: 4 of 5, about 20 s more",
    ]


def test_a_short_count_says_nothing():
    assert told(1.0, 20) == []
