"""What artifacts take of memory."""

import numpy as np
import pytest
from tvm import relax

from hago.deploy.artifact import write_artifact
from hago.deploy.build import build_library
from hago.deploy.manifest import Machine, Manifest
from hago.hardware.host import host_spec
from hago.lower.lower import lower
from hago.lower.stored import constant_bytes
from hago.sample import TensorSpec
from tests.bench.footprint import footprint
from tests.deploy.models import write_two_headed

WIDTH, LAYERS = 1024, 4


def written(folder):
    """The artifact of a chain of products, 4 MiB of weights each."""
    random = np.random.default_rng(0)
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((8, WIDTH), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            value = data
            for _ in range(LAYERS):
                weight = random.standard_normal((WIDTH, WIDTH)).astype(np.float32)
                value = builder.emit(relax.op.matmul(value, relax.const(weight)))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    lowered, spec = lower(builder.get(), host_spec()), TensorSpec("x", (8, WIDTH), "float32")
    constants = {"stored": constant_bytes(lowered)}
    manifest = Manifest("chain", "float32", (spec,), (spec,), Machine("toy", "0" * 64),
                        constants=constants)  # fmt: skip
    return write_artifact(folder, lambda path: build_library(lowered, host_spec(), path), manifest)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    return footprint(written(folder / "large"), write_two_headed(folder / "small"))


def test_a_run_takes_at_most_twice_its_constants_and_activations(found):
    assert found.constants == LAYERS * WIDTH * WIDTH * 4
    assert found.constants <= found.resident <= 2 * (found.constants + found.run)


def test_loading_copies_no_constants(found):
    assert max(found.loaded, found.peak) < found.constants / LAYERS
