"""Constants of kernel calls: numbers in ``main``, bytes in the read-only data of its library.

    kernel(x, CONSTANT, y)  =>  kernel(x, 3, y)

TVM writes constants into the bytes of its executable, of which a virtual machine makes tensors when
it is loaded: three copies, private to the process. What an object file has, loading maps: pages are
read when a kernel reads them, are the system's to take back, and processes share them. A number
becomes an address inside the library, at no cost in a call, so that whatever loads libraries of TVM
(its own loader, RPC, C++) need not know.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import tvm_ffi
from tvm import ir, relax, runtime, tirx

from hago.dataflow import constant_value, is_constant

Constants = tuple[runtime.Tensor, ...]


def take_constants(module: ir.IRModule) -> tuple[ir.IRModule, Constants]:
    """``module``, whose ``main`` calls kernels by their names, with numbers for what constants they
    take, and those constants; equal ones are one.

    What else reads constants, functions of the runtime, keeps them.
    """
    found = _Found()

    def numbered(call: ir.Call) -> ir.Call:
        if not isinstance(call.op, ir.GlobalVar):
            return call
        arguments = [found.number(arg) if is_constant(arg) else arg for arg in call.args]
        return ir.Call(call.op, arguments, call.attrs, call.ty_args, ret_ty=call.ty)

    main = module["main"]
    body = tvm_ffi.structural_map(main.body, (ir.Call, numbered))
    result = module.clone()
    result["main"] = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    return result, tuple(found.tensors)


@dataclass
class _Found:
    """The constants so far, and their numbers by shape, dtype and what they hold."""

    tensors: list[runtime.Tensor] = field(default_factory=list)
    numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def number(self, constant: relax.Expr) -> tirx.IntImm:
        array = constant_value(constant)
        key = (array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).digest())
        if key not in self.numbers:
            self.numbers[key] = len(self.tensors)
            self.tensors.append(constant.value)
        return tirx.IntImm("int64", self.numbers[key])
