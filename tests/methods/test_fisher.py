"""The diagonal Fisher information is diag(J^T J), here against the Jacobian itself."""

import pytest

from hago.gradient import read_program, run_steps
from hago.methods.descent import seeded
from hago.methods.fisher import fisher_diagonal
from tests.graphs import residual_network
from tests.methods.narrowed import samples

torch = pytest.importorskip("torch")

PROBES = 400


def test_it_converges_to_the_squared_jacobian():
    module = residual_network()
    program = read_program(module)
    feed = program.feed(samples(module, 1))
    found = fisher_diagonal(program, feed, ["add_3"], PROBES, seeded(0))["add_3"]

    def results(value):
        values = {name: each[0] for name, each in feed.items()}
        for name, step in program.steps.items():
            values |= run_steps([step], values, {})
            if name == "add_3":
                values[name] = value
        return values[program.outputs[0]]

    before = run_steps(program.steps.values(), {n: v[0] for n, v in feed.items()}, {})
    jacobian = torch.autograd.functional.jacobian(results, before["add_3"])
    expected = jacobian.square().flatten(0, 1).sum(0)
    expected = expected / expected.mean()
    # Each element is a mean of PROBES squared normals, whose relative deviation is
    # sqrt(2 / PROBES) = 7 %; six deviations leave one element in 10^9 outside.
    torch.testing.assert_close(found, expected, rtol=6 * (2 / PROBES) ** 0.5, atol=1e-3)
