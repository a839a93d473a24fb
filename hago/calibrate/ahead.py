"""The network runs on one sample while the statistics of the one before it are taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``work`` of each of ``items``, in order, begun in a thread before the last one was used.

    It gains time where ``work`` is done outside of Python, as kernels are. What ``work`` raises
    is raised in its turn.
    """
    with ThreadPoolExecutor(1) as worker:
        begun: deque[Future[Result]] = deque()
        for item in items:
            begun.append(worker.submit(work, item))
            if len(begun) > 1:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
