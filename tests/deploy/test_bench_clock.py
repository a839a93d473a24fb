"""What counts as the time of a call."""

import time

from hago.deploy.bench import measure, measure_cost


def test_time_that_the_cpu_spent_elsewhere_is_no_cost_of_one_thread():
    def waits():
        time.sleep(0.005)

    assert measure(waits, 1, 0.05).median_ms >= 5
    assert measure_cost(waits, 1, 0.002).median_ms < 1
    assert measure_cost(waits, 2, 0.05).median_ms >= 5  # others may be what it waits for
