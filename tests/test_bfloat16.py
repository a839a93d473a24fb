"""--precision bf16 as a user has it: without data, faithful to float, refused where it must be."""

import numpy as np
import pytest

import hago
from hago.accuracy import sqnr_db
from hago.demo import digits_model, digits_test
from hago.deploy.manifest import read_manifest
from hago.errors import StrategyError
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec
from hago.pipeline import Options, compile_model
from hago.scheme import QuantScheme, fill_scheme

MACHINE = "x86-bf16"
BF16 = Options(precision="bfloat16")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The digits in float32 and in bfloat16, compiled without data."""
    missing = missing_features(load_spec(MACHINE))
    if missing:
        pytest.skip(f"this CPU has no {', '.join(missing)}: bfloat16 kernels cannot run here")
    folders = {}
    for precision in ("float32", "bfloat16"):
        folder = tmp_path_factory.mktemp("artifacts") / precision
        compile_model(digits_model(), MACHINE, None, folder, Options(precision=precision))
        folders[precision] = folder
    return folders


def scores(folder):
    run = hago.load(folder)
    return np.concatenate([run(image=image[None]) for image in digits_test()[0][:200]])


def test_bfloat16_is_closer_to_float_than_8_bits_can_be(artifacts):
    exact, actual = scores(artifacts["float32"]), scores(artifacts["bfloat16"])
    eight = fill_scheme(QuantScheme(load_spec(MACHINE).ops[0].inputs[1].dtype),
                        exact.min(), exact.max())  # fmt: skip
    # Rounding the scores alone to 8 bits costs more than bfloat16 in every layer does.
    assert sqnr_db(exact, actual) > sqnr_db(exact, eight.decode(eight.encode(exact)))
    assert (exact.argmax(axis=1) == actual.argmax(axis=1)).mean() >= 0.99


def test_the_weights_of_an_artifact_are_half_as_large(artifacts):
    size = {name: (folder / "model.so").stat().st_size for name, folder in artifacts.items()}
    assert size["bfloat16"] < 0.75 * size["float32"]


def test_an_edge_is_explained_by_its_row_and_without_a_scale(artifacts):
    edges = read_manifest(artifacts["bfloat16"]).edges
    weights = [edge for edge in edges if ".weight ->" in edge.edge]
    assert {edge.chosen for edge in weights} == {"bfloat16"}
    for edge in weights:
        assert "(bfloat16, bfloat16) -> float32" in edge.reason
        assert "x86_bf16.py:" in edge.source
        assert edge.scale is None


def test_a_machine_without_bfloat16_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(StrategyError, match="x86-vnni cannot compute in bfloat16"):
        compile_model(digits_model(), "x86-vnni", None, tmp_path / "out", BF16)
    assert list(tmp_path.iterdir()) == []

