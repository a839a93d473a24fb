"""Facts about a prepared module that the flow needs: what it takes, gives, and came with."""

from __future__ import annotations

from collections.abc import Callable

from tvm import ir

from hago.dataflow import input_params, read_dataflow, tensor_type
from hago.hardware.spec import HardwareSpec
from hago.lower.callable import compile_callable
from hago.sample import Sample, TensorSpec
from hago.scheme import Array

RunModel = Callable[[Sample], dict[str, Array]]


def input_specs(module: ir.IRModule) -> tuple[TensorSpec, ...]:
    """Inputs of a prepared module under the names that the model file gives them."""
    main = module["main"]
    specs = [tensor_type(param) for param in main.params]
    return tuple(
        TensorSpec(str(name), *spec)
        for name, spec in zip(main.attrs["hago.input_names"], specs, strict=True)
    )


def output_specs(module: ir.IRModule) -> tuple[TensorSpec, ...]:
    """Results of a prepared module under the names that the model file gives them."""
    main, dataflow = module["main"], read_dataflow(module)
    nodes = dataflow.by_name()
    params = {str(param.name): tensor_type(param) for param in main.params}
    return tuple(
        TensorSpec(str(name), *((nodes[r].shape, nodes[r].dtype) if r in nodes else params[r]))
        for name, r in zip(main.attrs["hago.output_names"], dataflow.outputs, strict=True)
    )


def came_quantized(module: ir.IRModule) -> bool:
    """True for models that compute on codes: they quantize, or their inputs are codes."""
    return any(
        node.op == "quantize" or (node.op == "dequantize" and 0 not in node.constants)
        for node in read_dataflow(module).nodes
    )


def run_on(module: ir.IRModule, spec: HardwareSpec) -> RunModel:
    """``module`` compiled for ``spec``, on samples keyed by the model's own input names."""
    run, inputs = compile_callable(module, spec), input_params(module)
    return lambda sample: run({param: sample[name] for name, param in inputs.items()})
