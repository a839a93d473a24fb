"""What importers share in building a function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import relax


@contextmanager
def closed_on_error(
    builder: relax.BlockBuilder, error: type[Exception]
) -> Iterator[None]:
    """A builder that is dropped with an open block warns on stderr, on top of our ``error``."""
    try:
        yield
    except error:
        builder._end_block()
        raise
