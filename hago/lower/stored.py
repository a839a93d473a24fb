"""Weights of few bits are stored in few bits: packed in the library, unpacked in front of use.

    conv2d(x, W)  =>  conv2d(x, unpack(bytes of W))       where all of W's codes fit 2 to 6 bits

The codes are the same, so results are, too. What was saved is size; the time of unpacking is that
of writing the weights once.
"""

from __future__ import annotations

from tvm import ir, relax, tirx

from hago.codegen.kernels.unpack import build_unpack
from hago.codegen.planes import WIDEST, needed_bits, pack_codes
from hago.codegen.workload import Machine
from hago.dataflow import constant_value, flat_args, is_constant, op_name
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array

_WEIGHT = "hago.weight"
_FEWEST = 2048  # elements; to unpack fewer saves less than the code that does it


def with_weight(function: tirx.PrimFunc, arg: int) -> tirx.PrimFunc:
    """``function`` that says which of its arguments is a constant weight."""
    return function.with_attr(_WEIGHT, str(arg))


def store_narrow(module: ir.IRModule, machine: Machine) -> ir.IRModule:
    """A lowered ``module`` whose weights of few bits are stored packed."""
    result = rebuild(module, _Narrow(module, machine).rewrite)
    for var, function in module.functions_items():
        if str(var.name_hint) != "main":
            result[var] = function
    return result


def constant_bytes(module: ir.IRModule) -> int:
    """Bytes of all constants of ``main``: weights, scales, biases, tables."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    leaves = [leaf for binding in bindings for leaf in flat_args(binding.value)]
    return sum(constant_value(leaf).nbytes for leaf in leaves if is_constant(leaf))


class _Narrow:
    """Replaces weights in kernel calls; equal shapes share a function."""

    def __init__(self, module: ir.IRModule, machine: Machine) -> None:
        self.machine = machine
        self.weights = {
            str(var.name_hint): int(function.attrs[_WEIGHT])
            for var, function in module.functions_items()
            if function.attrs is not None and _WEIGHT in function.attrs
        }
        self.functions: dict[tuple[tuple[int, ...], str, int], ir.GlobalVar] = {}

    def rewrite(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        call = substitute(binding.value, values)
        if op_name(call) != "call_tir" or str(call.args[0].name_hint) not in self.weights:
            return call
        arg, fields = self.weights[str(call.args[0].name_hint)], list(call.args[1].fields)
        if not is_constant(fields[arg]):
            return call
        codes = constant_value(fields[arg])
        if codes.dtype.kind != "i" or codes.size < _FEWEST or needed_bits(codes) > WIDEST:
            return call
        name = f"{binding.var.name}_weight"
        fields[arg] = builder.emit(self._unpacked(builder, codes), name_hint=name)
        return relax.Call(
            call.op, [call.args[0], relax.Tuple(fields), *call.args[2:]], call.attrs, call.ty_args
        )

    def _unpacked(self, builder: relax.BlockBuilder, codes: Array) -> relax.Expr:
        bits, dtype = needed_bits(codes), str(codes.dtype)
        key = (codes.shape, dtype, bits)
        if key not in self.functions:
            function = build_unpack(codes.shape, dtype, bits, self.machine)
            self.functions[key] = builder.add_func(function.without_attr("global_symbol"), "unpack")
        packed = relax.const(pack_codes(codes, bits, self.machine.vector_bytes))
        result = relax.TensorType(codes.shape, dtype)
        return relax.call_tir(self.functions[key], relax.Tuple([packed]), result)
