"""Programs of ``torch.export`` -> Relax, through TVM's importer (extra ``torch``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax

from hago.errors import TVM_REFUSALS, ModelError
from hago.frontend.torch_converters import CONVERTERS

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def import_torch(program: ExportedProgram) -> tvm.IRModule:
    """An exported program as TVM reads it, with names: see :func:`hago.import_torch`."""
    from tvm.relax.frontend.torch import from_exported_program

    _check_signature(program)
    try:
        module = from_exported_program(
            program, keep_params_as_input=False, custom_convert_map=dict(CONVERTERS)
        )
    except TVM_REFUSALS as error:
        raise _error(str(error)) from error
    return _with_names(module)


def _check_signature(program: ExportedProgram) -> None:
    signature = program.graph_signature
    if signature.user_inputs_to_mutate or signature.buffers_to_mutate:
        raise _error("it changes its inputs or buffers; export the model in evaluation mode")


def _with_names(module: tvm.IRModule) -> tvm.IRModule:
    main = module["main"]
    for param in main.params:
        if not all(isinstance(extent, tvm.tirx.IntImm) for extent in param.ty.shape):
            raise _error(f"the shape of '{param.name}' is not fixed")
    main = _without_single_tuple(main)
    count = len(main.ret_ty.fields) if isinstance(main.ret_ty, relax.TupleType) else 1
    outputs = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    inputs = [str(param.name) for param in main.params]
    names = {"hago.input_names": inputs, "hago.output_names": outputs, "num_input": len(inputs)}
    result = module.clone()
    result["main"] = main.with_attrs(names)
    return result


def _without_single_tuple(main: relax.Function) -> relax.Function:
    """A program with one result returns it in a tuple; the module returns it as it is."""
    body = main.body
    bindings = {b.var: b.value for block in body.blocks for b in block.bindings}
    result: Any = bindings.get(body.body, body.body)
    if not isinstance(result, relax.Tuple) or len(result.fields) != 1:
        return main
    builder = relax.BlockBuilder()
    with builder.function("main", list(main.params)):
        with builder.dataflow():
            for block in body.blocks:
                for binding in block.bindings:
                    if binding.var is not body.body:
                        builder.emit_normalized(binding)
            output = builder.emit_output(result.fields[0])
        builder.emit_func_output(output)
    return builder.get()["main"]


def _error(fact: str) -> ModelError:
    short = re.sub(r"\s+", " ", fact)[:500]
    return ModelError(
        "this program cannot be imported",
        fact=short,
        source="tvm.relax.frontend.torch",
        way_out="Export the model to ONNX instead (torch.onnx.export), or change the operators.",
    )
