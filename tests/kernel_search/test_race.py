"""A race has one winner, and who computes something else cannot win."""

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.workload import Matmul
from hago.kernel_search.race import agrees, enter, race_schedules
from hago.lower.select import build_kernel, machine_of, schedules
from tests.kernel_search.works import SPEC, depthwise, product

MACHINE = machine_of(SPEC)


@pytest.mark.parametrize("work", [product(), depthwise()], ids=["product", "depthwise"])
def test_the_winner_is_one_of_the_schedules_and_no_slower_than_the_choice_of_the_template(work):
    winner = race_schedules(*work, SPEC, 1)
    assert winner.schedule in map(str, schedules(work[0], MACHINE))
    assert 0 < winner.best_us <= winner.default_us


def test_all_schedules_of_a_kernel_agree_whatever_form_their_weights_have():
    workload, epilogue = depthwise()
    offered = schedules(workload, MACHINE)
    kernels = [build_kernel(workload, epilogue, MACHINE, each) for each in offered]
    assert len({kernel.func.params[1].ty.shape[1] for kernel in kernels}) > 1
    entrants = enter(workload, kernels, SPEC)
    assert all(agrees(each, entrants[0], workload) for each in entrants)
    assert np.ptp(entrants[0].result()) > 0


@pytest.mark.parametrize("data", ["uint8", "float32"])
def test_a_kernel_that_computes_something_else_does_not_agree(data):
    weight = "int8" if data == "uint8" else "float32"
    workload = Matmul(4, 32, 16, data, weight)
    plain = Epilogue(workload.accum, workload.accum)
    right = build_kernel(workload, plain, MACHINE)
    wrong = build_kernel(Matmul(4, 32, 12, data, weight), plain, MACHINE)
    entrants = enter(workload, [right, right], SPEC)
    other = enter(Matmul(4, 32, 12, data, weight), [wrong], SPEC)[0]
    assert agrees(entrants[1], entrants[0], workload)
    assert not agrees(other, entrants[0], workload)


def test_results_that_are_compared_are_not_all_at_a_bound():
    workload, epilogue = product()
    (entrant,) = enter(workload, [build_kernel(workload, fold(epilogue), MACHINE)], SPEC)
    codes = entrant.result()
    assert len(np.unique(codes)) > 10
