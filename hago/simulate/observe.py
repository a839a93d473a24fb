"""The float module with chosen intermediate tensors as its results, for calibration."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, relax

from hago.rebuild import Values, rebuild, substitute


def observe(module: ir.IRModule, names: Sequence[str]) -> ir.IRModule:
    """``module`` with the values of the bindings (or parameters) ``names`` as results, in order."""

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        return substitute(binding.value, values)

    observed = rebuild(module, rewrite, results=names)
    main = observed["main"].with_attr("hago.output_names", list(names))
    observed["main"] = main
    return relax.transform.DeadCodeElimination()(observed)
