"""OpenVINO: float32, bfloat16 (its default where the CPU has it), and int8 made by NNCF."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tests.bench.contestant import Entry, Name, Task

# What makes oneDNN, which OpenVINO computes with, the machine of a specification.
ISA = {
    "x86-amx": "AVX512_CORE_AMX",
    "x86-bf16": "AVX512_CORE_BF16",
    "x86-zen4": "AVX512_CORE_BF16",
    "x86-vnni": "AVX512_CORE_VNNI",
    "x86-avx512": "AVX512_CORE",
    "x86-avx2": "AVX2",
}
_WITH_BFLOAT16 = ("AVX512_CORE_AMX", "AVX512_CORE_BF16")


def _start() -> object:
    return import_module("openvino")


def _original(task: Task) -> Path:
    return task.path


def _nncf(task: Task) -> Path:
    """NNCF's defaults, told when the model is a transformer, as its guide asks for."""
    import nncf
    import openvino

    path = task.folder / f"nncf-{nncf.__version__}.xml"
    if path.exists():
        return path
    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize(
        _read(task, task.path),
        nncf.Dataset([dict(sample) for sample in task.calibration]),
        subset_size=len(task.calibration),
        model_type=nncf.ModelType.TRANSFORMER if _is_transformer(task.path) else None,
    )
    openvino.save_model(quantized, path, compress_to_fp16=False)
    return path


def _is_transformer(path: Path) -> bool:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return any(node.op_type == "Softmax" for node in graph.node)


def _read(task: Task, path: Path) -> object:
    """The model with the sample's shapes."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape({name: list(value.shape) for name, value in task.sample.items()})
    return model


def _load(precision: str) -> Callable[[Task, Path], Callable[[], object]]:
    def load(task: Task, path: Path) -> Callable[[], object]:
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": task.threads,
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # the process is pinned already
        }
        compiled = openvino.Core().compile_model(_read(task, path), "CPU", settings)
        request, feed = compiled.create_infer_request(), dict(task.sample)
        return lambda: request.infer(feed, share_inputs=True, share_outputs=True)

    return load


def _bfloat16(task: Task, path: Path) -> Callable[[], object]:
    """Raises RuntimeError where the CPU (or what ``ONEDNN_MAX_CPU_ISA`` makes it) has none: on some
    OpenVINO emulates it, in ten times the time of float32 and more."""
    import openvino

    if os.environ.get("ONEDNN_MAX_CPU_ISA", _WITH_BFLOAT16[0]) not in _WITH_BFLOAT16:
        raise RuntimeError("the machine has no instruction for bfloat16")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("OpenVINO finds no bfloat16 in this CPU")
    return _load("bf16")(task, path)


ENTRIES = (
    Entry(Name("openvino", "float32"), "openvino", _start, _original, _load("f32")),
    Entry(Name("openvino", "bfloat16"), "openvino", _start, _original, _bfloat16),
    Entry(Name("openvino", "int8", "NNCF"), "nncf", _start, _nncf, _load("f32")),
)
