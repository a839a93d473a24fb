"""The node tests that onnx itself ships: what hago imports of them gives what onnx expects."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test.case.node as node_tests
import pytest
from onnx import numpy_helper

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import run

# Operators that hago converts itself, with what it refuses of them: part of the refusal.
OPERATORS = {
    "Attention": ("output 3 with a bias that is known when it runs",),
    "Celu": (),
    "Clip": (),
    "ConvTranspose": ("transposed convolution of a 5-D tensor",),
    "DequantizeLinear": ("is not constant",),
    "DFT": ("the inverse of half a spectrum",),
    "Dropout": ("is a constant", "training mode"),
    "Einsum": (),
    "HardSigmoid": (),
    "HardSwish": (),
    "IsInf": (),
    "LpNormalization": (),
    "Pad": (),
    "Pow": (),
    "RMSNormalization": (),
    "RoiAlign": ("mode 'max'",),
    "RotaryEmbedding": (),
    "STFT": (),
    "Softmax": (),
    "SpaceToDepth": (),
    "SwiGLU": (),
    "Swish": (),
    "Tile": (),
}
DIGITS = {"RoiAlign": 1e-4}  # where the case gives its numbers rounded
KNOWN = {schema.name for schema in onnx.defs.get_all_schemas()}  # by the installed onnx


@pytest.mark.parametrize("operator", sorted(KNOWN & set(OPERATORS)))
def test_node_tests_of_onnx_give_what_onnx_expects(tmp_path: Path, operator: str) -> None:
    path, accepted = tmp_path / "m.onnx", 0
    for case in _cases()[operator]:
        refusals = []
        for constants in _constants(case):
            _save(case, constants, path)
            try:
                module = import_onnx(path)
            except ModelError as error:
                refusals.append(str(error))
                continue
            accepted += 1
            _assert_equal(case, run(module, *_feeds(case, constants)))
            break
        else:
            known = [part for part in OPERATORS[operator] for each in refusals if part in each]
            assert known, (case.name, refusals)
    assert accepted


@cache
def _cases() -> dict[str, list[node_tests.TestCase]]:
    """Those of one node and of types that hago has, by the operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their numbers overflow on purpose
        cases = node_tests.collect_testcases(None)
    found: dict[str, list[node_tests.TestCase]] = {}
    for case in cases:
        if case.model is not None and len(case.model.graph.node) == 1 and _is_plain(case):
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def _is_plain(case: node_tests.TestCase) -> bool:
    arrays = [*case.data_sets[0][0], *case.data_sets[0][1]]
    return all(isinstance(each, np.ndarray | np.generic) for each in arrays)


def _constants(case: node_tests.TestCase) -> list[set[str]]:
    """Inputs that become constants: none; then what is no floating-point number; then all but one.

    Shapes and the like must be constants.
    """
    given = dict(zip(_names(case), case.data_sets[0][0], strict=True))
    whole = {name for name, value in given.items() if np.asarray(value).dtype.kind not in "fV"}
    return [set(), whole - {_names(case)[0]}, set(_names(case)[1:])]


def _names(case: node_tests.TestCase) -> list[str]:
    return [value.name for value in case.model.graph.input]


def _save(case: node_tests.TestCase, constants: set[str], path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    given = dict(zip(_names(case), case.data_sets[0][0], strict=True))
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(given[name]), name) for name in sorted(constants)
    )
    onnx.save(model, path)


def _feeds(case: node_tests.TestCase, constants: set[str]) -> list[np.ndarray]:
    given = zip(_names(case), case.data_sets[0][0], strict=True)
    return [_wide(np.asarray(value)) for name, value in given if name not in constants]


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.kind in "fV" else array


def _assert_equal(case: node_tests.TestCase, got: list[np.ndarray]) -> None:
    """Up to float32 arithmetic, or the rounding of the narrower type that the case has."""
    for actual, value in zip(got, case.data_sets[0][1], strict=True):
        expected = np.asarray(value)
        assert actual.shape == expected.shape, case.name
        if expected.dtype.kind not in "fV":
            np.testing.assert_array_equal(actual, expected, case.name)
            continue
        is_half = expected.dtype.itemsize < 4
        bound = 2e-2 if is_half else DIGITS.get(case.model.graph.node[0].op_type, 1e-5)
        np.testing.assert_allclose(
            actual, _wide(expected), rtol=bound, atol=bound, err_msg=case.name
        )
