"""Fourier transforms: numpy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import assert_close, node, normal, operators, run, save


def pairs(values: np.ndarray) -> np.ndarray:
    return np.stack([values.real, values.imag], axis=-1).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 2])
def test_frames_of_a_signal_are_one_convolution(tmp_path: Path, parts: int) -> None:
    constants = {"step": np.array(5), "window": np.hanning(12).astype(np.float32)}
    one_sided = int(parts == 1)
    short_time = node("STFT", "x step window", onesided=one_sided)
    path = save(tmp_path / "m.onnx", [short_time], {"x": (2, 40, parts)}, constants)
    module, x = import_onnx(path), normal(2, 40, parts)
    signal = x[..., 0] + 1j * (x[..., 1] if parts == 2 else 0)
    frames = np.lib.stride_tricks.sliding_window_view(signal, 12, axis=1)[:, ::5]
    spectra = np.fft.fft(frames * constants["window"])[..., : 7 if one_sided else 12]
    assert operators(module).count("nn.conv1d") == 1
    assert_close(run(module, x)[0], pairs(spectra), terms=24)


@pytest.mark.parametrize("size", [6, 9, 14])
@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("kind", ["half a spectrum", "a spectrum", "the inverse"])
def test_an_axis_is_cut_or_filled_with_zeros_to_the_length_of_its_transform(
    tmp_path: Path, size: int, opset: int, kind: str
) -> None:
    attributes = {"onesided": int(kind == "half a spectrum"), "inverse": int(kind == "the inverse")}
    constants, inputs = {"size": np.array(size)}, "x size"
    if opset < 20:
        attributes["axis"] = 1
    else:
        constants["axis"], inputs = np.array(1), "x size axis"
    transform = node("DFT", inputs, **attributes)
    path = save(tmp_path / "m.onnx", [transform], {"x": (2, 9, 3, 2)}, constants, opset=opset)
    x = normal(2, 9, 3, 2)
    function = np.fft.ifft if kind == "the inverse" else np.fft.fft
    spectra = function(x[..., 0] + 1j * x[..., 1], size, axis=1)
    if kind == "half a spectrum":
        spectra = spectra[:, : size // 2 + 1]
    assert_close(run(import_onnx(path), x)[0], pairs(spectra), terms=18)


def test_what_is_no_product_of_constants_is_refused(tmp_path: Path) -> None:
    shape, steps = {"x": (1, 40)}, {"step": np.array(5)}
    for short_time, constants, fact in (
        (node("STFT", "x step"), steps, "neither a window nor a frame's length"),
        (
            node("STFT", "x step w n"),
            {**steps, "w": np.ones(8, np.float32), "n": np.array(12)},
            "a window of 8 for frames of 12",
        ),
        (
            node("STFT", "x step _ n"),
            {**steps, "n": np.array(50)},
            "frames of 50 in a signal of 40",
        ),
    ):
        path = save(tmp_path / "m.onnx", [short_time], shape, constants)
        with pytest.raises(ModelError, match=fact):
            import_onnx(path)
    transform = node("DFT", "x")
    path = save(tmp_path / "m.onnx", [transform], {"x": (1, 100_000, 1)})
    with pytest.raises(ModelError, match="a transform of 100000 samples"):
        import_onnx(path)
