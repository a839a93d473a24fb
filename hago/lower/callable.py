"""A module as a Python function of numpy arrays, for calibration and simulation."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import numpy as np
import tvm
from tvm import ir, relax

from hago.dataflow import read_dataflow, tensor_type
from hago.errors import DataError
from hago.hardware.permission import request_permissions
from hago.hardware.spec import HardwareSpec
from hago.lower.build import build
from hago.lower.lower import Packer, lower_with_weights
from hago.scheme import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


def compile_callable(module: ir.IRModule, spec: HardwareSpec) -> Run:
    """``run(inputs) -> outputs``: ``module`` (prepared, QDQ, simulated or realized) on ``spec``.

    Inputs are keyed by parameter name, outputs by the function attribute "hago.output_names"
    (else by binding). Parameters beyond "hago.input_names" are kept as tensors
    (those that weights are read from as packed ones) for as long as the same array is given, so
    such arrays must not be changed in place. Raises DataError for an input that is missing or of
    another shape or dtype, BuildError where this computer refuses the machine's instructions.
    """
    request_permissions(spec.features, spec.name)
    main = module["main"]
    names = [str(param.name) for param in main.params]
    inputs = _attribute(main, "hago.input_names") or names
    lowered = lower_with_weights(module, spec, _weights(module, inputs))
    machine = relax.VirtualMachine(build(lowered.module, spec, "bytecode"), tvm.cpu())
    specs = {str(p.name): tensor_type(p) for p in main.params}
    outputs = _attribute(main, "hago.output_names") or list(read_dataflow(module).outputs)
    steady = {name for name in specs if name not in inputs}
    return _Callable(machine, _parameters(lowered.module), specs, lowered.packers, steady, outputs)


def _attribute(main: relax.Function, name: str) -> list[str]:
    values = main.attrs[name] if main.attrs and name in main.attrs else ()
    return [str(value) for value in values]


def _parameters(module: ir.IRModule) -> list[str]:
    return [str(param.name) for param in module["main"].params]


def _weights(module: ir.IRModule, inputs: list[str]) -> list[str]:
    """The parameters that are read as weights and are no input of the model."""
    read = {
        name
        for node in read_dataflow(module).nodes
        if node.op in ("nn.conv2d", "matmul")
        for name in node.inputs[1:]
    }
    return [name for name in _parameters(module) if name in read and name not in inputs]


class _Callable:
    """The virtual machine, with the latest tensors of weights and of the other ``steady``
    parameters."""

    def __init__(
        self,
        machine: relax.VirtualMachine,
        parameters: list[str],
        specs: Mapping[str, tuple[tuple[int, ...], str]],
        packers: Mapping[str, Packer],
        steady: Container[str],
        outputs: list[str],
    ) -> None:
        self._machine, self._parameters, self._specs = machine, parameters, specs
        self._packers, self._steady, self._outputs = packers, steady, outputs
        self._kept: dict[str, tuple[Array, tvm.runtime.Tensor]] = {}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        arguments = [self._argument(name, inputs) for name in self._parameters]
        result = self._machine["main"](*arguments)
        tensors = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
        return {name: _array(t) for name, t in zip(self._outputs, tensors, strict=True)}

    def _argument(self, name: str, inputs: Mapping[str, Array]) -> tvm.runtime.Tensor:
        packer = self._packers.get(name)
        if packer is None and name not in self._steady:
            return tvm.runtime.tensor(self._checked(name, inputs))
        source = name if packer is None else packer.source
        kept = self._kept.get(name)
        if kept is None or kept[0] is not inputs.get(source):
            value = self._checked(source, inputs)
            tensor = tvm.runtime.tensor(value if packer is None else packer.pack(value))
            kept = self._kept[name] = (inputs[source], tensor)
        return kept[1]

    def _checked(self, name: str, inputs: Mapping[str, Array]) -> Array:
        if name not in inputs:
            raise DataError(f"input '{name}' is missing", fact=f"given: {', '.join(inputs)}")
        shape, dtype = self._specs[name]
        value = np.asarray(inputs[name])
        if value.shape != shape or str(value.dtype) != dtype:
            given, wanted = f"{value.dtype}{list(value.shape)}", f"{dtype}{list(shape)}"
            raise DataError(
                f"input '{name}' does not fit", fact=f"it is {given}, the model takes {wanted}"
            )
        return value


def _array(tensor: tvm.runtime.Tensor) -> Array:
    """The memory of a result, which the virtual machine allocates anew in each call: a copy only
    of what numpy cannot view (bfloat16)."""
    is_view = str(tensor.dtype) != "bfloat16"
    array: Array = np.from_dlpack(tensor) if is_view else tensor.numpy()
    return array
