"""Writing a module anew, binding by binding: the one loop that all rewriting passes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence

from tvm import ir, relax

from hago.dataflow import is_constant

Values = MutableMapping[str, relax.Expr]
Rewrite = Callable[[relax.BlockBuilder, relax.Binding, Values], relax.Expr]


def rebuild(
    module: ir.IRModule,
    rewrite: Rewrite,
    *,
    finish: Callable[[relax.BlockBuilder, str, Values], relax.Expr] | None = None,
    params: Sequence[relax.Var] = (),
    results: Sequence[str] = (),
) -> ir.IRModule:
    """``module`` with the value of each binding replaced by what ``rewrite`` returns.

    ``rewrite`` gets the builder (to emit more bindings), the binding, and the new expressions by
    old name; ``finish`` (default: look up) gives the expression of a result by name. ``params``
    are appended to ``main``'s parameters, ``results`` replace its results. Attributes are kept.
    """
    main = module["main"]
    builder = relax.BlockBuilder()
    values: Values = {str(param.name): param for param in main.params}
    wanted = list(results) or _names(main.body.body)
    direct = set() if finish else set(wanted)
    with builder.function("main", [*main.params, *params], attrs=_attributes(main)):
        with builder.dataflow():
            for block in main.body.blocks:
                for binding in block.bindings:
                    name = str(binding.var.name)
                    assert name not in values, f"two values are called {name}"
                    value = rewrite(builder, binding, values)
                    values[name] = emit(builder, value, name, is_result=name in direct)
            found = [_result(builder, name, values, finish) for name in wanted]
            is_tuple = bool(results) or isinstance(main.body.body, relax.Tuple)
            result = relax.Tuple(found) if is_tuple else found[0]
        builder.emit_func_output(result)
    return builder.get().with_attrs(module.attrs) if module.attrs else builder.get()


def _attributes(main: relax.Function) -> dict[str, object]:
    kept = dict(main.attrs.items()) if main.attrs else {}
    kept.pop("global_symbol", None)
    return kept


def _names(body: relax.Expr) -> list[str]:
    fields = body.fields if isinstance(body, relax.Tuple) else (body,)
    return [str(field.name) for field in fields]


def emit(
    builder: relax.BlockBuilder, expr: relax.Expr, name: str, *, is_result: bool = False
) -> relax.Expr:
    """``expr`` bound to a variable like ``name``; variables and constants stay as they are."""
    if isinstance(expr, relax.Var) or is_constant(expr):
        return expr
    if is_result:
        return builder.emit_output(expr, name_hint=name)
    return builder.emit(expr, name_hint=name)


def _result(
    builder: relax.BlockBuilder,
    name: str,
    values: Values,
    finish: Callable[[relax.BlockBuilder, str, Values], relax.Expr] | None,
) -> relax.Expr:
    """An output variable of the block for the value called ``name``."""
    value = finish(builder, name, values) if finish else values[name]
    if isinstance(value, relax.Var) and not isinstance(value, relax.DataflowVar):
        return value
    return builder.emit_output(value, name_hint=name)


def substitute(expr: relax.Expr, values: Mapping[str, relax.Expr]) -> relax.Expr:
    """``expr`` with its variables replaced by their new expressions."""
    if isinstance(expr, relax.Var):
        return values[str(expr.name)]
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(field, values) for field in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, values), expr.index)
    if isinstance(expr, relax.Call):
        return with_args(expr, [substitute(arg, values) for arg in expr.args])
    return expr


def with_args(call: relax.Call, args: Sequence[relax.Expr]) -> relax.Call:
    """The same operation with other arguments."""
    return relax.Call(call.op, list(args), call.attrs, call.ty_args)


def with_leaves(value: relax.Expr, replaced: dict[int, relax.Expr]) -> relax.Expr:
    """``value`` with its tensor arguments of these numbers (tuples flattened) replaced."""
    if not replaced:
        return value
    number = -1

    def visit(expr: relax.Expr) -> relax.Expr:
        nonlocal number
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([visit(field) for field in expr.fields])
        if isinstance(expr, relax.Var) or is_constant(expr):
            number += 1
            return replaced.get(number, expr)
        return expr

    if isinstance(value, relax.TupleGetItem):
        return relax.TupleGetItem(visit(value.tuple_value), value.index)
    return with_args(value, [visit(arg) for arg in value.args])
