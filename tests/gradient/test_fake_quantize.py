"""Fake quantization has the values of the codes and the gradients of the papers."""

import numpy as np
import pytest

from hago.gradient.fake_quantize import fake_quantize, round_integer
from hago.scheme import (
    BFLOAT16,
    E4M3,
    E5M2,
    FLOAT16,
    INT4,
    INT8,
    UINT8,
    PerAxis,
    PerGroup,
    PerTensor,
    QuantScheme,
    TensorQuant,
)

torch = pytest.importorskip("torch")

SCHEMES = [
    (QuantScheme(UINT8, PerTensor(), False), 0.05, 90),
    (QuantScheme(INT8, PerAxis(1)), [0.01, 0.02, 0.04, 0.5], 0),
    (QuantScheme(INT4, PerGroup(0, 16)), np.full((4, 4), 0.3), 0),
    (QuantScheme(E4M3), 0.02, 0),
    (QuantScheme(E5M2), 0.001, 0),
    (QuantScheme(BFLOAT16), 1.0, 0),
    (QuantScheme(FLOAT16), 1.0, 0),
]


@pytest.mark.parametrize(("scheme", "scale", "zero"), SCHEMES, ids=[str(s[0]) for s in SCHEMES])
def test_values_are_those_of_the_codes(scheme, scale, zero):
    real = np.random.default_rng(3).normal(0, 8, (64, 4)).astype(np.float32)
    quant = TensorQuant(scheme, scale, zero)
    expected = quant.decode(quant.encode(real))
    np.testing.assert_array_equal(fake_quantize(torch.from_numpy(real), quant).numpy(), expected)


def test_gradients_pass_inside_the_range_and_stop_outside():
    quant = TensorQuant(QuantScheme(INT4), 1.0, 0)
    real = torch.tensor([-20.0, -3.3, 0.2, 6.9, 20.0], requires_grad=True)
    fake_quantize(real, quant).sum().backward()
    assert real.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(("real", "expected"), [(2.7, 0.3), (-1.2, 0.2), (50.0, 7.0), (-50, -8)])
def test_the_gradient_of_a_step_is_that_of_lsq(real, expected):
    """Equation 3: round(x / s) - x / s inside, the bound outside (here s = 1)."""
    scale = torch.tensor(1.0, requires_grad=True)
    round_integer(torch.tensor(real), scale, torch.tensor(0.0), INT4).backward()
    assert scale.grad.item() == pytest.approx(expected, abs=1e-6)
