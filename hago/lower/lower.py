"""A prepared or realized module becomes kernel calls.

    y = relu(conv2d(x, w) + b)   =>   y = call_tir(conv2d_relu, (x, packed w, b))

What no template computes is left to TVM's legalization and fusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from tvm import ir, relax

from hago.codegen.cuda.device import Device
from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.conv_winograd import WinogradTile
from hago.codegen.schedule import Schedule
from hago.codegen.workload import BatchMatmul, Kernel, Machine, Workload
from hago.dataflow import tensor_type
from hago.hardware.host import kernels_of
from hago.hardware.spec import HardwareSpec
from hago.lower.affine import merge_affine
from hago.lower.attention import fuse_attentions
from hago.lower.calls import KernelCall, kernel_arguments, prepared_names
from hago.lower.cost import with_cost
from hago.lower.expression import Source
from hago.lower.fixed_point import INSTRUCTIONS, in_fixed_point
from hago.lower.fold import fold_dequantized_weights
from hago.lower.group import Group, find_groups
from hago.lower.in_place import in_place
from hago.lower.narrow_data import with_narrow_data
from hago.lower.objects import content_name
from hago.lower.pairs import with_pairs
from hago.lower.rest import lower_rest
from hago.lower.select import build_kernel, find_template, machine_of, schedules
from hago.lower.stored import store_narrow, with_weight
from hago.lower.stored_float8 import (
    PackedCodes,
    Stored,
    content,
    fold_stored,
    packed_form,
)
from hago.lower.stored_weight import with_stored_weight
from hago.lower.view import View, view_of
from hago.realize.float8_values import hold_values
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array

# The schedule of a kernel; None for what its template chooses.
Choose = Callable[[Workload, Epilogue], Schedule | None]
# Operations that only rename the axes of memory.
_VIEWS = frozenset({"reshape", "squeeze", "expand_dims", "flatten"})


@dataclass(frozen=True, eq=False)
class Packer:
    """How the run-time argument ``source`` of weights becomes a kernel's packed weights."""

    source: str
    pack: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Lowered:
    """``module`` of kernel calls; ``packers`` by the name of the parameter each of them fills.

    ``calls`` say what is computed by which kernel.
    """

    module: ir.IRModule
    packers: Mapping[str, Packer]
    calls: tuple[KernelCall, ...] = ()


def by_template(workload: Workload, epilogue: Epilogue) -> Schedule | None:
    """The choice of each template: without measurements, and the same everywhere."""
    return None


@dataclass(frozen=True)
class Compact:
    """``choose``, but for schedules that make weights larger: kernels take them as they are."""

    choose: Choose
    machine: Machine | Device

    def __call__(self, workload: Workload, epilogue: Epilogue) -> Schedule | None:
        offered = schedules(workload, self.machine)
        found = self.choose(workload, epilogue) or next(iter(offered), None)
        if not isinstance(found, WinogradTile):
            return found
        return next(each for each in offered if not isinstance(each, WinogradTile))


def lower(module: ir.IRModule, spec: HardwareSpec) -> ir.IRModule:
    """``module`` (prepared, QDQ or realized) as calls of kernels for ``spec``.

    Raises BuildError if there are no kernels for the machine.
    """
    return lower_with_weights(module, spec, ()).module


def lower_with_weights(
    module: ir.IRModule,
    spec: HardwareSpec,
    weights: Iterable[str],
    choose: Choose = by_template,
) -> Lowered:
    """The same for a module some of whose parameters, ``weights``, hold weights.

    Kernels take them packed: in the lowered module a parameter for the packed form stands for
    each. ``choose`` says how kernels cut their work.
    """
    spec = kernels_of(spec)
    machine = machine_of(spec)
    kept = machine.float8 if isinstance(machine, Device) else ()
    module, stored = fold_stored(hold_values(fold_dequantized_weights(module), kept))
    view = view_of(module, weights)

    def supports(workload: Workload) -> bool:
        return find_template(workload, machine) is not None

    def takes(workload: BatchMatmul) -> bool:
        """Whether the template that would compute it packed can; those of GPUs cannot."""
        same = find_template(workload, machine) is find_template(workload.packed, machine)
        return same and isinstance(machine, Machine)

    groups: Iterable[Group] = in_place(find_groups(view, supports), view, takes)
    if isinstance(machine, Device):
        groups = [with_narrow_data(group, view, supports) for group in groups]
        groups = [with_stored_weight(group, stored, supports) for group in groups]
        stored = {}  # what is left multiplies values that the library holds
    groups = [_merged(group, machine) for group in groups]
    if isinstance(machine, Machine):
        groups = fuse_attentions(groups, view, supports)
    calls = _Calls(view, groups, machine, stored, choose)
    called = rebuild(module, calls.rewrite, params=calls.packed_params())
    called = relax.transform.DeadCodeElimination()(_without_unpacked(called, calls))
    packers = {name: packer for name, (_, packer) in calls.packed.items()}
    complete = lower_rest(called, spec)
    if isinstance(machine, Machine):  # GPUs unpack weights of few bits only in products
        complete = store_narrow(complete, machine, calls.codes)
    return Lowered(complete, packers, tuple(calls.made))


def _merged(group: Group, machine: Machine | Device) -> Group:
    """``group`` with the shortest epilogue that gives the same codes."""
    if "smull" in machine.instructions:
        group = with_pairs(group)
    if machine.instructions >= INSTRUCTIONS:
        group = in_fixed_point(group)
    epilogue, operands = merge_affine(fold(group.epilogue), group.operands)
    return replace(group, epilogue=epilogue, operands=operands)


class _Calls:
    """Replaces the last operation of each group by a call; the others become dead."""

    def __init__(
        self,
        view: View,
        groups: Iterable[Group],
        machine: Machine | Device,
        stored: Mapping[bytes, Stored],
        choose: Choose,
    ) -> None:
        self.view, self.machine, self.stored = view, machine, stored
        self.choose = cache(choose)
        self.codes: dict[bytes, PackedCodes] = {}
        self.groups = {group.output: group for group in groups}
        self.kernels: dict[tuple[Workload, Epilogue], Kernel] = {}
        self.functions: dict[tuple[Workload, Epilogue], ir.GlobalVar] = {}
        self.packed: dict[str, tuple[relax.Var, Packer]] = {}
        self.own_form: dict[str, relax.Expr] = {}
        self.made: list[KernelCall] = []
        for group in self.groups.values():
            self._prepare(group)

    def packed_params(self) -> list[relax.Var]:
        return [var for var, _ in self.packed.values()]

    def rewrite(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        name = str(binding.var.name)
        group = self.groups.get(name)
        if group is None:
            return substitute(binding.value, values)
        call = builder.emit(self._call(builder, group, values), name_hint=name)
        self.own_form[name] = call
        shape = self.view.type_of(name)[0]
        return call if shape == group.shape else relax.op.reshape(call, shape)

    def _prepare(self, group: Group) -> None:
        key = (group.workload, group.epilogue)
        if key not in self.kernels:
            self.kernels[key] = build_kernel(*key, self.machine, self.choose(*key))
        if isinstance(group.weight, str):
            self._pack_at_run_time(group.weight, group)

    def _pack_at_run_time(self, source: str, group: Group) -> None:
        pack = self.kernels[group.workload, group.epilogue].pack
        assert pack is not None, group.workload
        name = f"{source}.packed_for.{group.anchor}"
        sample = pack(np.zeros(*self.view.type_of(source)))
        var = relax.Var(name, relax.TensorType(sample.shape, str(sample.dtype)))
        self.packed[name] = (var, Packer(source, pack))

    def _call(self, builder: relax.BlockBuilder, group: Group, values: Values) -> relax.Expr:
        key = (group.workload, group.epilogue)
        kernel = self.kernels[key]
        if key not in self.functions:
            function = with_cost(kernel.func, group.workload, group.epilogue)
            function = function.without_attr("global_symbol")
            if group.weight is not None:
                function = with_weight(function, len(group.data))
            name = content_name(kernel.name, function)
            self.functions[key] = builder.add_func(function, name)
        name = str(self.functions[key].name_hint)
        members, arguments = prepared_names(group.members), kernel_arguments(kernel)
        self.made.append(KernelCall(name, members, arguments, *key, self.choose(*key)))
        shapes = [shape for shape, _ in arguments]
        sources = [*_packed_scales(group.data, kernel), *group.operands]
        args = [self._argument(builder, source, values) for source in sources]
        if group.weight is not None:
            args.insert(len(group.data), self._weight(group, kernel))
        shaped = [
            _reshaped(builder, arg, shape)
            for arg, shape in zip(args, shapes[:-1], strict=True)
        ]
        result = relax.TensorType(group.shape, group.epilogue.dtype)
        return relax.call_tir(self.functions[key], shaped, result)

    def _weight(self, group: Group, kernel: Kernel) -> relax.Expr:
        if isinstance(group.weight, str):
            return self.packed[f"{group.weight}.packed_for.{group.anchor}"][0]
        assert kernel.pack is not None, group.workload
        assert group.weight is not None, group.workload
        packed = kernel.pack(group.weight)
        stored = self.stored.get(content(group.weight)) if self.stored else None
        if stored is not None:
            self.codes[content(packed)] = packed_form(stored, kernel.pack)
        return _constant(packed)

    def _argument(
        self, builder: relax.BlockBuilder, source: Source, values: Values
    ) -> relax.Expr:
        """The expression of ``source``: of the memory that it views, if it is a view."""
        if not isinstance(source, str):
            return _constant(source)
        node = self.view.node(source)
        while node is not None and node.op in _VIEWS and source not in self.own_form:
            source = node.inputs[0]
            node = self.view.node(source)
        return self.own_form.get(source, values[source])


def _packed_scales(data: Sequence[Source], kernel: Kernel) -> list[Source]:
    """``data`` with the constants among them as ``kernel`` takes them."""
    pack = kernel.pack_scales
    if pack is None:
        return list(data)
    return [source if isinstance(source, str) else pack(source) for source in data]


def _reshaped(
    builder: relax.BlockBuilder, expr: relax.Expr, shape: tuple[int, ...]
) -> relax.Expr:
    """A view of ``expr`` under ``shape``."""
    own = tensor_type(expr)[0]
    if own == shape:
        return expr
    assert math.prod(own) == math.prod(shape), f"{own} is no {shape}"
    return builder.emit(relax.op.reshape(expr, shape))


def _constant(value: Array) -> relax.Expr:
    """A constant of the array's own dtype (``relax.const`` alone narrows 64-bit ones)."""
    return relax.const(np.ascontiguousarray(value).reshape(value.shape), str(value.dtype))


def _without_unpacked(module: ir.IRModule, calls: _Calls) -> ir.IRModule:
    """``main`` without the parameters that only packed weights stand for now."""
    replaced = {packer.source for _, packer in calls.packed.values()}
    if not replaced:
        return module
    main = relax.transform.DeadCodeElimination()(module)["main"]
    params = [param for param in main.params if str(param.name) not in replaced]
    function = relax.Function(params, main.body, main.ret_ty, attrs=main.attrs)
    result = module.clone()
    result["main"] = function
    return result
