"""What python -m tests.zoo.machines compares, and how it counts."""

import numpy as np
import pytest

from hago.annotate import annotate
from hago.hardware.load import load_spec
from hago.sample import Sample
from tests.graphs import attention, input_for, residual_network
from tests.zoo.cases import Case
from tests.zoo.machines import _loss, arithmetic, compare


def of(machine, module):
    return arithmetic(annotate(module, load_spec(machine)))


@pytest.mark.parametrize("module", [residual_network(), attention()], ids=["residual", "attention"])
def test_machines_with_other_instructions_for_the_same_codes_are_one(module):
    assert of("arm-neon", module) == of("arm-dotprod", module)
    assert of("cuda-sm75", module) == of("cuda-sm80", module)
    assert of("cuda-sm89", module) == of("cuda-sm90", module) == of("cuda-sm90a", module)
    kinds = ("x86-vnni", "x86-avx2", "arm-dotprod", "cuda-sm80", "gaudi-fp8")
    assert len({of(machine, module) for machine in kinds}) == len(kinds)


def test_views_of_one_photograph_are_one_observation():
    # Two photographs of three views: 2 of 3 and 1 of 3 are worse.
    mean, error = _loss(np.array([1.0, 1, 0, 0, 0, 1]), views=3)
    assert mean == pytest.approx(50)
    assert error == pytest.approx(100 / 6)  # half of the distance of two means


def toy_case() -> Case:
    main = residual_network()["main"].with_attr("hago.input_names", ["x"])
    module = type(residual_network())({"main": main.with_attr("hago.output_names", ["y"])})
    samples: list[Sample] = [{"x": input_for(module, seed)["x"]} for seed in range(5)]
    return Case(module, samples, samples, lambda x, y: -np.abs(x - y).max(axis=-1))


def test_a_machine_is_compared_and_its_likes_are_not_measured_again():
    found = compare("toy", toy_case(), ["x86-vnni", "arm-neon", "arm-dotprod"], "mse")
    assert [(each.machine, each.same_as) for each in found] == [
        ("x86-vnni", ""), ("arm-neon", ""), ("arm-dotprod", "arm-neon"),
    ]  # fmt: skip
    assert found[0].loss == 0
    assert found[1].score == found[2].score != found[0].score


def test_losses_of_several_seeds_come_one_by_one_and_as_their_mean():
    found = compare("toy", toy_case(), ["x86-vnni", "arm-neon"], "mse", [0, 1])
    assert [each.seed for each in found] == ["0", "0", "1", "1", "mean", "mean"]
    zero, one, mean = found[1::2]
    assert zero.loss != one.loss
    assert mean.loss == pytest.approx((zero.loss + one.loss) / 2)
    # The means of pictures vary less than those of one seed, or as much.
    assert 0 < mean.error <= (zero.error + one.error) / 2
