"""Programs of ``torch.export``, imported and compared with PyTorch itself.

The importer is TVM's. Where PyTorch and it mean different things by an operator (an index from the
end, a number of another type, how an image is resampled), the module would compile and be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from hago.dataflow import input_params
from hago.errors import ModelError
from hago.frontend.torch import import_torch as import_unchecked
from hago.hardware.host import host_spec
from hago.model import run_on
from hago.prepare import prepare
from hago.scheme import Array

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_ALIKE = 1e-4  # of an output's power: 40 dB; float32 rounds to 100 dB and more


def import_torch(program: ExportedProgram, *, check: bool = True) -> ir.IRModule:
    """An exported program as a Relax module with static shapes and constants inline.

    ``torch.export.export(model.eval(), (example,))`` makes the program. Inputs are called as the
    arguments of ``forward``, outputs "output", or "output_0" and so on. Take what this returns to
    :func:`hago.compile_model` in place of a file. The program runs once on the inputs that it was
    exported with, and so does the module, unless ``check`` is false.

    Raises ModelError for operators that TVM does not know (all of them at once), for those whose
    results are not PyTorch's, dynamic shapes, and programs that change their inputs.
    """
    module = import_unchecked(program)
    if check and program.example_inputs is not None:
        _compare(program, module)
    return module


def _compare(program: ExportedProgram, module: ir.IRModule) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    args, kwargs = program.example_inputs
    given = _arrays(tree_leaves((args, kwargs)))
    with torch.no_grad():
        expected = list(_arrays(tree_leaves(program.module()(*args, **kwargs))))
    prepared = prepare(module)
    sample = dict(zip(input_params(prepared), given, strict=True))
    found = run_on(prepared, host_spec())(sample).values()
    names = map(str, prepared["main"].attrs["hago.output_names"])
    for name, actual, exact in zip(names, found, expected, strict=True):
        difference = _difference(actual, exact)
        if not difference <= _ALIKE:
            raise ModelError(
                f"output '{name}' is not what PyTorch computes",
                fact=f"on the inputs that the program was exported with the squared difference is "
                f"{difference:.2g} of the squared output, rounding is below 1e-10",
                source="TVM's importer tvm.relax.frontend.torch reads an operator of the program "
                "in another way, or the program is random",
                way_out="Export the model to ONNX instead (torch.onnx.export).",
            )


def _arrays(leaves: list[Any]) -> Iterator[Array]:
    """The tensors among the leaves of a structure."""
    import torch

    return (each.detach().cpu().numpy() for each in leaves if isinstance(each, torch.Tensor))


def _difference(actual: Array, exact: Array) -> float:
    """Power of the difference over that of ``exact``, where this is finite; NaN where the other is
    not."""
    known = np.isfinite(exact)
    found, wanted = actual[known].astype(np.float64), exact[known].astype(np.float64)
    power = float(np.square(wanted).sum())
    return float(np.square(found - wanted).sum()) / (power or 1.0)
