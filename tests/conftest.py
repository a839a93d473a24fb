"""Options of the test run, and what it must not inherit."""

import signal

import pytest

# A shell starts its background jobs with interrupts ignored. Children inherit that, and tests
# interrupt programs.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what the golden tests compare with"
    )
