"""Rebuild ``main`` call by call: the one loop that the passes here are rules for.

A rule sees a call whose operands are rebuilt already, may look back at what defines them, and
returns what to put in its place. So a chain collapses in one walk, and a pass is one function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import tvm
from tvm import relax

from hago.prepare.expression import is_call


@dataclass(eq=False)
class Scope:
    """What a rule may ask about the function that is being rebuilt, and how it adds to it."""

    builder: relax.BlockBuilder
    readers: dict[relax.Var, list[relax.Expr]] = field(default_factory=dict)

    def emit(self, expr: relax.Expr, name: str = "") -> relax.Expr:
        """`expr` bound to a variable, so that it has a type and can be used more than once."""
        is_bound = isinstance(expr, relax.Var | tvm.ir.GenericConst | relax.Tuple)
        return expr if is_bound else self.builder.emit(expr, name)

    def definition(self, expr: relax.Expr) -> relax.Expr:
        """What a variable is bound to; a parameter and everything else is itself."""
        if not isinstance(expr, relax.Var):
            return expr
        value = self.builder.lookup_binding(expr)
        return expr if value is None else value

    def call(self, expr: relax.Expr, *ops: str) -> relax.Call | None:
        """The call that defines `expr` if it is one of `ops` (without ``relax.``)."""
        value = self.definition(expr)
        return value if is_call(value, *ops) else None

    def is_used_once(self, expr: relax.Expr) -> bool:
        """Whether nothing else reads this value, so that changing it is free."""
        return len(self.readers.get(expr, ())) <= 1

    def readers_of(self, expr: relax.Expr) -> list[relax.Expr]:
        """What reads this value in the function as it was; the function itself for a result."""
        return self.readers.get(expr, [])


Rule = Callable[[relax.Call, Scope], relax.Expr | None]


def rewrite(module: tvm.IRModule, rule: Rule) -> tvm.IRModule:
    """`module` with every call in ``main`` put through `rule`; None keeps a call.

    Aliases and dead bindings disappear. Outputs are variables bound to their calls; several
    outputs are returned as one tuple of such variables.
    """
    function = module["main"]
    builder = relax.BlockBuilder()
    with builder.function("main", list(function.params)):
        with builder.dataflow():
            results = _rebuild(function, rule, Scope(builder))
            output = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(output)
    block = builder.get()["main"].body.blocks[0]
    return with_main(module, _assemble(function, block.bindings, results))


def as_pass(step: Callable[[tvm.IRModule], tvm.IRModule]) -> tvm.transform.Pass:
    """`step` in the form that `tvm.transform.Sequential` and its instruments take."""

    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return step(module)

    return tvm.transform.module_pass(run, opt_level=0, name=step.__name__)


def with_main(module: tvm.IRModule, function: relax.Function) -> tvm.IRModule:
    """A copy of `module` with another ``main``."""
    copy = module.clone()
    copy["main"] = function
    return copy


def _rebuild(function: relax.Function, rule: Rule, scope: Scope) -> list[relax.Expr]:
    """Emit the bindings of `function`, rewritten; its results."""
    bindings, results = live_bindings(function)
    readers = _readers(function, bindings, results)
    new_of: dict[relax.Var, relax.Expr] = {}
    for binding in bindings:
        value = substitute(binding.value, new_of)
        replacement = rule(value, scope) if isinstance(value, relax.Call) else None
        new = scope.emit(value if replacement is None else replacement, binding.var.name)
        new_of[binding.var] = new
        if isinstance(new, relax.Var):
            scope.readers.setdefault(new, []).extend(readers.get(binding.var, ()))
    return [substitute(x, new_of) for x in results]


def _assemble(
    old: relax.Function, bindings: Iterable[relax.VarBinding], results: Sequence[relax.Expr]
) -> relax.Function:
    """A function of the live ones of `bindings` that returns `results` as `old` does."""
    needed = _needed(list(bindings), results)
    bound = {b.var for b in needed}
    outputs = {x: relax.Var(x.name, x.ty) for x in results if x in bound}
    renamed = [
        relax.VarBinding(outputs.get(b.var, b.var), substitute(b.value, outputs)) for b in needed
    ]
    fields = []
    taken = {b.var.name for b in renamed}
    for x in results:  # a result that is no binding of its own (an input, a constant) gets one
        if x not in outputs:
            outputs[x] = relax.Var(fresh_name("output", taken), x.ty)
            renamed.append(relax.VarBinding(outputs[x], x))
        fields.append(outputs[x])
    return function_of(old, renamed, fields)


def fresh_name(word: str, taken: set[str]) -> str:
    """``word``, with a number behind it if it is ``taken``, which it is from now on."""
    name, count = word, 0
    while name in taken:
        count += 1
        name = f"{word}_{count}"
    taken.add(name)
    return name


def function_of(
    old: relax.Function, bindings: Sequence[relax.VarBinding], fields: Sequence[relax.Var]
) -> relax.Function:
    """One dataflow block of `bindings`, with the parameters and attributes of `old`."""
    is_tuple = isinstance(old.ret_ty, relax.TupleType)
    body = relax.Tuple(fields) if is_tuple else fields[0]
    sequence = relax.BlockBuilder().normalize(relax.SeqExpr([relax.DataflowBlock(bindings)], body))
    return relax.Function(list(old.params), sequence, sequence.ty, attrs=old.attrs)


def live_bindings(
    function: relax.Function,
) -> tuple[list[relax.VarBinding], list[relax.Expr]]:
    """The bindings that the results need, aliases resolved; and the results, a tuple unpacked."""
    bindings = [b for block in function.body.blocks for b in block.bindings]
    values: dict[relax.Var, relax.Expr] = {}
    kept: list[relax.VarBinding] = []
    for binding in bindings:
        value = substitute(binding.value, values)
        if isinstance(value, relax.Var | tvm.ir.GenericConst | relax.Tuple):
            values[binding.var] = value
        else:
            kept.append(relax.VarBinding(binding.var, value))
    result = substitute(function.body.body, values)
    results = list(result.fields) if isinstance(result, relax.Tuple) else [result]
    return _needed(kept, results), results


def _needed(
    bindings: list[relax.VarBinding], results: Sequence[relax.Expr]
) -> list[relax.VarBinding]:
    needed = {x for x in results if isinstance(x, relax.Var)}
    kept = []
    for binding in reversed(bindings):
        if binding.var in needed:
            needed.update(operands(binding.value))
            kept.append(binding)
    return kept[::-1]


def _readers(
    function: relax.Function, bindings: list[relax.VarBinding], results: Sequence[relax.Expr]
) -> dict[relax.Var, list[relax.Expr]]:
    readers: dict[relax.Var, list[relax.Expr]] = {}
    for binding in bindings:
        for variable in operands(binding.value):
            readers.setdefault(variable, []).append(binding.value)
    for result in results:
        if isinstance(result, relax.Var):
            readers.setdefault(result, []).append(function)
    return readers


def operands(expr: relax.Expr) -> Iterator[relax.Var]:
    """The variables that a bound expression reads."""
    if isinstance(expr, relax.Var):
        yield expr
    elif isinstance(expr, relax.Tuple):
        for item in expr.fields:
            yield from operands(item)
    elif isinstance(expr, relax.TupleGetItem):
        yield from operands(expr.tuple_value)
    elif isinstance(expr, relax.Call):
        for item in expr.args:
            yield from operands(item)


def substitute(expr: relax.Expr, new_of: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
    """A bound expression with its variables replaced by values of the same types.

    A field of a known tuple becomes that field.
    """
    if isinstance(expr, relax.Var):
        return new_of.get(expr, expr)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(x, new_of) for x in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        value = substitute(expr.tuple_value, new_of)
        is_known = isinstance(value, relax.Tuple)
        return value.fields[expr.index] if is_known else relax.TupleGetItem(value, expr.index)
    if not isinstance(expr, relax.Call) or not any(v in new_of for v in operands(expr)):
        return expr
    arguments = [substitute(x, new_of) for x in expr.args]
    return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args, ret_ty=expr.ty)
