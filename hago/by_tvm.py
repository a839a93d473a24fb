"""The value of one Relax call by TVM itself: what no table of ours knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, relax

from hago.errors import TVM_REFUSALS, ModelError
from hago.scheme import Array

_KEPT = 256  # compiled calls
_ONE = Lock()  # TVM's passes in Python and a virtual machine serve one thread at a time
_TARGET = {"kind": "llvm"}


def value_by_tvm(call: relax.Call, args: Sequence[Any]) -> Any:
    """The result of ``call``, an array or a tuple of arrays, where ``args`` are the values of its
    arguments: arrays, tuples of them, and whatever stands in the call itself.

    Raises ModelError where TVM cannot compute it.
    """
    arrays: list[Array] = []
    parts = [_part(arg, value, arrays) for arg, value in zip(call.args, args, strict=True)]
    variables = [variable for part in parts for variable in _variables(part)]
    alone = relax.Call(call.op, parts, call.attrs, call.ty_args, ret_ty=call.ty)
    tensors = [tvm.runtime.tensor(np.array(array, order="C")) for array in arrays]
    try:
        with _ONE:
            result = _compiled(tvm_ffi.StructuralKey(_module(alone, variables)))(*tensors)
    except TVM_REFUSALS as error:
        raise ModelError(
            f"'{call.op.name}' cannot be computed",
            fact=str(error).strip().splitlines()[-1],
            source="TVM",
            way_out="Change the operator in the model, or compute it outside of it.",
        ) from error
    if isinstance(result, tvm.runtime.Tensor):
        return result.numpy()
    return tuple(each.numpy() for each in result)


def _part(arg: relax.Expr, value: Any, arrays: list[Array]) -> relax.Expr:
    """``arg`` with variables for tensors, whose values are added to ``arrays``."""
    if isinstance(arg, relax.Tuple):
        fields = zip(arg.fields, value, strict=True)
        return relax.Tuple([_part(field, each, arrays) for field, each in fields])
    if not isinstance(arg, relax.Var | ir.GenericConst):
        return arg
    if isinstance(value, tuple):
        return relax.Tuple([_variable(each, arrays) for each in value])
    return _variable(value, arrays)


def _variable(value: Any, arrays: list[Array]) -> relax.Expr:
    array = np.asarray(value)
    arrays.append(array)
    return relax.Var(f"x{len(arrays)}", relax.TensorType(array.shape, str(array.dtype)))


def _variables(part: relax.Expr) -> Iterator[relax.Var]:
    if isinstance(part, relax.Tuple):
        for field in part.fields:
            yield from _variables(field)
    elif isinstance(part, relax.Var):
        yield part


def _module(call: relax.Call, variables: list[relax.Var]) -> ir.IRModule:
    """A function of ``call``, without the scopes of a BlockBuilder, which all threads share."""
    result = relax.Var("result", call.ty)
    block = relax.BindingBlock([relax.VarBinding(result, call)])
    body = relax.BlockBuilder().normalize(relax.SeqExpr([block], result))
    main = relax.Function(variables, body, call.ty)
    return ir.IRModule({"main": main.with_attr("global_symbol", "main")})


@lru_cache(_KEPT)
def _compiled(module: tvm_ffi.StructuralKey) -> Any:
    with tvm.target.Target(_TARGET):
        sorted_too = relax.backend.DispatchSortScan()(module.key)
    library = tvm.compile(sorted_too, tvm.target.Target(_TARGET))
    return relax.VirtualMachine(library, tvm.cpu())["main"]
