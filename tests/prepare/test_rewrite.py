from __future__ import annotations

import pytest
from tvm import ir, relax, transform

from hago.prepare.rewrite import as_pass, rewrite
from tests.onnx_models import operators
from tests.relax_modules import const, module, tidy

op = relax.op


def keep(call: relax.Call, scope: object) -> None:
    return None


def test_dead_bindings_disappear() -> None:
    def body(emit, x):
        emit(op.tanh(x))
        return op.exp(x)

    assert operators(rewrite(module(body, (2,)), keep)) == ["exp"]


def test_an_output_is_a_variable_bound_to_its_call() -> None:
    main = rewrite(module(lambda emit, x: emit(op.exp(x)), (2,)), keep)["main"]
    last = main.body.blocks[0].bindings[-1]
    assert isinstance(last.value, relax.Call)
    assert main.body.body.same_as(last.var)
    assert not isinstance(last.var, relax.DataflowVar)


def test_several_outputs_stay_a_tuple_in_order() -> None:
    def body(emit, x):
        first = emit(op.exp(x))
        return relax.Tuple([emit(op.tanh(first)), first, first])

    main = rewrite(module(body, (2,)), keep)["main"]
    tanh, exp, again = main.body.body.fields
    bound = {b.var: b.value.op.name for b in main.body.blocks[0].bindings}
    assert (bound[tanh], bound[exp], again.same_as(exp)) == ("relax.tanh", "relax.exp", True)


@pytest.mark.parametrize("result", ["input", "constant"])
def test_a_result_that_nothing_computes_gets_a_binding(result: str) -> None:
    given = {"input": lambda emit, x: x, "constant": lambda emit, x: const([1, 2])}
    main = rewrite(module(given[result], (2,)), keep)["main"]
    assert main.body.body.same_as(main.body.blocks[0].bindings[-1].var)
    relax.analysis.well_formed(ir.IRModule({"main": main}))


def test_results_that_nothing_computes_have_names_of_their_own() -> None:
    given = module(lambda emit, x, y: relax.Tuple([x, emit(op.exp(x)), y]), (2,), (2,))
    bindings = rewrite(given, keep)["main"].body.blocks[0].bindings
    assert len({binding.var.name for binding in bindings}) == len(bindings) == 3


def test_a_rule_sees_operands_that_are_rewritten_already() -> None:
    def tanh_of_exp_is_abs(call, scope):
        exp = scope.call(call.args[0], "exp")
        return None if exp is None else op.abs(exp.args[0])

    chain = module(lambda emit, x: op.tanh(op.exp(op.tanh(op.exp(x)))), (2,))
    assert operators(rewrite(chain, tanh_of_exp_is_abs)) == ["abs", "exp", "abs"][::2]


def test_fields_of_a_replaced_tuple_are_used_directly() -> None:
    def body(emit, x):
        halves = emit(op.split(x, 2))
        return op.add(relax.TupleGetItem(halves, 0), relax.TupleGetItem(halves, 1))

    def twice_the_same(call, scope):
        if call.op.name != "relax.split":
            return None
        half = scope.emit(op.strided_slice(call.args[0], [0], [0], [1]))
        return relax.Tuple([half, half])

    assert operators(rewrite(module(body, (2,)), twice_the_same)) == ["strided_slice", "add"]


def test_use_counts_say_what_else_reads_a_value() -> None:
    seen = {}

    def watch(call, scope):
        if call.op.name == "relax.add":
            seen.update(
                left=scope.is_used_once(call.args[0]), right=scope.is_used_once(call.args[1])
            )

    def body(emit, x):
        shared = emit(op.exp(x))
        return op.add(op.add(shared, emit(op.tanh(x))), shared)

    rewrite(module(lambda emit, x: op.multiply(*[emit(op.exp(x))] * 2), (2,)), watch)
    assert seen == {}
    rewrite(module(lambda emit, x: op.add(emit(op.exp(x)), emit(op.tanh(x))), (2,)), watch)
    assert seen == {"left": True, "right": True}
    rewrite(module(body, (2,)), watch)
    assert seen == {"left": True, "right": False}


def test_attributes_of_the_function_stay() -> None:
    source = module(lambda emit, x: op.exp(x), (2,))
    source["main"] = source["main"].with_attr("hago.input_names", ["in.1"])
    assert list(rewrite(source, keep)["main"].attrs["hago.input_names"]) == ["in.1"]


def test_the_module_that_is_given_does_not_change() -> None:
    source = module(lambda emit, x: op.exp(x), (2,))
    before = source.script()
    rewrite(source, lambda call, scope: op.tanh(call.args[0]))
    assert source.script() == before


def test_a_step_runs_in_a_sequence_of_tvm() -> None:
    sequence = transform.Sequential([as_pass(tidy), relax.transform.LegalizeOps()])
    assert operators(sequence(module(lambda emit, x: op.exp(x), (2,)))) == ["call_tir"]
