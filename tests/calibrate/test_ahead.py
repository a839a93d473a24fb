"""Work on the next sample begins before the last one is used up."""

import threading

import pytest

from hago.calibrate.ahead import one_ahead


def test_results_come_in_order():
    assert list(one_ahead(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
    assert list(one_ahead(lambda x: x, [])) == []


def test_the_next_one_is_under_way_while_one_is_used():
    begun = threading.Semaphore(0)

    def work(item: int) -> int:
        begun.release()
        return item

    results = one_ahead(work, range(3))
    next(results)
    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    assert not begun.acquire(blocking=False)  # the third one waits: memory holds two


def test_an_error_is_raised_in_its_turn():
    results = one_ahead(lambda x: 1 // x, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
