"""Weights of few bits are stored in few bits: packed in the library, unpacked in front of use.

    conv2d(x, W)  =>  conv2d(x, unpack(bytes of W))       where all of W's codes fit 2 to 6 bits

The codes are the same, so results are, too. What was saved is size; the time of unpacking is that
of writing the weights once.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import ir, relax, tirx

from hago.codegen.kernels.expand import build_expand
from hago.codegen.kernels.spread import STEP, Spread, build_spread, find_spread
from hago.codegen.kernels.unpack import build_unpack
from hago.codegen.planes import WIDEST, needed_bits, pack_codes
from hago.codegen.shifts import Shifted, shift_channels, unshifted
from hago.codegen.workload import Machine
from hago.dataflow import constant_value, flat_args, is_constant, op_name, tensor_type
from hago.lower.objects import content_name
from hago.lower.stored_float8 import PackedCodes, content
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array

_WEIGHT = "hago.weight"
_CHANNEL_AXES = 2  # in front, of a packed product: groups, and vectors of channels
_FEWEST = 2048  # elements; to unpack fewer saves less than the code that does it


def with_weight(function: tirx.PrimFunc, arg: int) -> tirx.PrimFunc:
    """``function`` that says which of its arguments is a constant weight."""
    return function.with_attr(_WEIGHT, str(arg))


def store_narrow(
    module: ir.IRModule, machine: Machine, packed: Mapping[bytes, PackedCodes]
) -> ir.IRModule:
    """A lowered ``module`` whose weights of few bits are stored packed.

    ``packed`` are those that are computed in an 8-bit float, by the content of their values.
    """
    result = rebuild(module, _Narrow(module, machine, packed).rewrite)
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

    def __init__(
        self, module: ir.IRModule, machine: Machine, packed: Mapping[bytes, PackedCodes]
    ) -> None:
        self.machine, self.packed = machine, packed
        self.weights = {
            str(var.name_hint): int(function.attrs[_WEIGHT])
            for var, function in module.functions_items()
            if function.attrs is not None and _WEIGHT in function.attrs
        }
        self.steps = {
            str(var.name_hint): int(function.attrs[STEP])
            for var, function in module.functions_items()
            if function.attrs is not None and STEP in function.attrs
        }
        self.functions: dict[object, ir.GlobalVar] = {}

    def rewrite(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        call = substitute(binding.value, values)
        name = str(call.args[0].name_hint) if op_name(call) == "call_tir" else ""
        if name not in self.weights:
            return call
        arg, fields = self.weights[name], list(call.args[1].fields)
        if not is_constant(fields[arg]):
            return call
        weight = self._weight(builder, constant_value(fields[arg]), self.steps.get(name))
        if weight is None:
            return call
        fields[arg] = builder.emit(weight, name_hint=f"{binding.var.name}_weight")
        return relax.Call(
            call.op, [call.args[0], relax.Tuple(fields), *call.args[2:]], call.attrs, call.ty_args
        )

    def _weight(
        self, builder: relax.BlockBuilder, value: Array, step: int | None
    ) -> relax.Expr | None:
        """``value`` from fewer bytes; None where that is not worth it. Of depthwise convolutions
        it has a copy for each of some output rows, ``step`` rows apart."""
        if value.size < _FEWEST:
            return None
        if value.dtype.kind != "i":
            found = self.packed.get(content(value)) if self.packed else None
            return None if found is None else self._expanded(builder, found)
        if needed_bits(value) > WIDEST + 1:  # zero points are codes: shifts save one bit at most
            return None
        moved = find_spread(value, step) if step is not None else None
        form, codes = moved if moved is not None else (None, value)
        stored = self._shifted(codes, 1 if moved is not None else _CHANNEL_AXES)
        if stored.bits > WIDEST:
            return None
        unpacked = self._unpacked(builder, stored)
        return unpacked if form is None else self._spread(builder, form, unpacked)

    def _shifted(self, codes: Array, leading: int) -> Shifted:
        """``codes`` in their fewest bits; the first ``leading`` axes and the last but one count
        channels, which may have shifts."""
        found = None
        if codes.ndim > leading + 2:
            found = shift_channels(codes, leading, self.machine.vector_bytes)
        return found or unshifted(codes)

    def _expanded(self, builder: relax.BlockBuilder, found: PackedCodes) -> relax.Expr:
        shape, key = found.codes.shape, (found.codes.shape, found.form)
        if key not in self.functions:
            self.functions[key] = _added(builder, build_expand(found.form, shape), "expand")
        codes = builder.emit(self._unpacked(builder, unshifted(found.codes)))
        arguments = relax.Tuple([codes, relax.const(found.scales)])
        return relax.call_tir(
            self.functions[key], arguments, relax.TensorType(shape, "float32")
        )

    def _spread(
        self, builder: relax.BlockBuilder, form: Spread, unpacked: relax.Expr
    ) -> relax.Expr:
        codes = builder.emit(unpacked)
        dtype = tensor_type(codes)[1]
        key = (form, dtype)
        if key not in self.functions:
            self.functions[key] = _added(builder, build_spread(form, dtype), "spread")
        result = relax.TensorType(form.shape, dtype)
        return relax.call_tir(self.functions[key], relax.Tuple([codes]), result)

    def _unpacked(self, builder: relax.BlockBuilder, stored: Shifted) -> relax.Expr:
        shape, dtype = stored.codes.shape, str(stored.codes.dtype)
        key = (shape, dtype, stored.bits, stored.repeat)
        if key not in self.functions:
            function = build_unpack(shape, dtype, stored.bits, self.machine, stored.repeat)
            self.functions[key] = _added(builder, function, "unpack")
        constants = [pack_codes(stored.codes, stored.bits, self.machine.vector_bytes)]
        if stored.repeat:
            constants.append(stored.shifts)
        arguments = relax.Tuple([relax.const(constant) for constant in constants])
        return relax.call_tir(self.functions[key], arguments, relax.TensorType(shape, dtype))


def _added(
    builder: relax.BlockBuilder, function: tirx.PrimFunc, name: str
) -> ir.GlobalVar:
    function = function.without_attr("global_symbol")
    return builder.add_func(function, content_name(name, function))
