"""Name every value after the operator that makes it: ``conv2d``, ``conv2d_1``, ``add``, ...

Names count up in program order, so that naming twice changes nothing. ``output`` is none of them:
edges to the model's results are called so.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.graph import OUTPUT
from hago.prepare.expression import op_name
from hago.prepare.rewrite import fresh_name, function_of, live_bindings, substitute, with_main


def name_bindings(module: tvm.IRModule) -> tvm.IRModule:
    """The same module with unique readable names, outputs too."""
    function = module["main"]
    bindings, results = live_bindings(function)
    taken = {OUTPUT, *(p.name for p in function.params)}
    is_result = set(results)
    new_of: dict[relax.Var, relax.Expr] = {}
    named = []
    for binding in bindings:
        kind = relax.Var if binding.var in is_result else relax.DataflowVar
        variable = kind(fresh_name(_word(binding.value), taken), binding.var.ty)
        named.append(relax.VarBinding(variable, substitute(binding.value, new_of)))
        new_of[binding.var] = variable
    for result in results:
        if result not in new_of:  # an input or a constant that is returned as it is
            new_of[result] = relax.Var(fresh_name("copy", taken), result.ty)
            named.append(relax.VarBinding(new_of[result], result))
    return with_main(module, function_of(function, named, [new_of[x] for x in results]))


def _word(value: relax.Expr) -> str:
    """``nn.conv2d`` -> ``conv2d``; a field of a tuple is an ``item``."""
    return op_name(value).rpartition(".")[2] or "item"
