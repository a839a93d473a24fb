"""Greedy decoding of the recogniser's steps."""

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.zoo.ctc import decode, read_dictionary

DICTIONARY = ("", "a", "b", " ")


def steps(*classes):
    return np.eye(len(DICTIONARY), dtype=np.float32)[list(classes)]


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ((1, 1, 2), "ab"),  # a repetition is one character
        ((1, 0, 1), "aa"),  # unless a blank is between
        ((0, 0), ""),
        ((1, 3, 2, 0), "a b"),
    ],
)
def test_repetitions_merge_and_blanks_vanish(classes, text):
    assert decode(steps(*classes), DICTIONARY) == text


def test_a_batch_axis_of_one_is_allowed():
    assert decode(steps(1, 0, 2)[np.newaxis], DICTIONARY) == "ab"


def _model(path, **metadata):
    model = helper.make_model(helper.make_graph([], "empty", [], []))
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_the_dictionary_is_the_blank_then_the_metadatas_lines_then_a_space(tmp_path):
    path = _model(tmp_path / "model.onnx", character="a\nb")
    assert read_dictionary(path) == DICTIONARY


def test_a_model_without_characters_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no list of characters"):
        read_dictionary(_model(tmp_path / "model.onnx"))
