"""onnxruntime: as it is, and quantized by its own tools in the forms that its guide proposes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from hago.sample import Sample
from tests.bench.contestant import Entry, Name, Task
from tests.zoo.cache import write_whole


def _start() -> object:
    return import_module("onnxruntime")


def _original(task: Task) -> Path:
    return task.path


def _static(task: Task) -> Path:
    """QDQ with uint8 activations and int8 weights per channel, what x86 wants."""
    return _once(task, "ort-static.onnx", lambda path: _quantize_static(task, path))


def _dynamic(task: Task) -> Path:
    """Weights quantized now, activations at run time; matrix products only."""

    def write(path: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            task.path, path, per_channel=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )  # fmt: skip

    return _once(task, "ort-dynamic.onnx", write)


def _quantize_static(task: Task, path: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(task.path, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared, path, _Reader(task.calibration), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


class _Reader:
    """onnxruntime's ``CalibrationDataReader``: samples until None (without importing it)."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples: Iterator[Sample] = iter(samples)

    def get_next(self) -> dict[str, object] | None:
        sample = next(self._samples, None)
        return None if sample is None else dict(sample)


def _once(task: Task, name: str, write: Callable[[Path], None]) -> Path:
    import onnxruntime

    path = task.folder / f"{onnxruntime.__version__}-{name}"
    return path if path.exists() else write_whole(path, write)


def _load(task: Task, path: Path) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    feed = {entry.name: task.sample[entry.name] for entry in session.get_inputs()}
    return lambda: session.run(None, feed)


ENTRIES = (
    Entry(Name("onnxruntime", "float32"), "onnxruntime", _start, _original, _load),
    Entry(Name("onnxruntime", "int8", "static QDQ"), "onnxruntime", _start, _static, _load),
    Entry(Name("onnxruntime", "int8", "dynamic"), "onnxruntime", _start, _dynamic, _load),
)
