"""Groups: one operation with loops (the anchor) and the elementwise expression behind it.

    y = quantize(relu(dequantize(conv2d(x, w)) + b))   =>   one kernel call(x, w, .., b)

A group is grown from its anchor through elementwise operations and ends at the last value that
is the only one read from outside. Dequantize of 8-bit codes is cheap: each reader computes it
for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Elementwise, Pool2d, Product, Workload
from hago.dataflow import Node
from hago.lower.anchor import (
    CODES,
    NARROW_FLOATS,
    Anchor,
    find_anchor,
    inner_of_exp,
    narrow_source,
)
from hago.lower.elementwise import is_elementwise, translate
from hago.lower.expression import Expression, Source, Term, Value
from hago.lower.fit import fitted_shape
from hago.lower.grouped import grouped_members
from hago.lower.view import View
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class Group:
    """A kernel call: ``output = kernel(*data, [weight,] *operands)``.

    ``members`` are the operations it replaces, the last of which is ``output``. ``shape`` is
    the kernel's own output shape; sources are names of values or constant arrays.
    """

    anchor: str
    output: str
    workload: Workload
    epilogue: Epilogue
    shape: tuple[int, ...]
    data: tuple[Source, ...]
    weight: Source | None
    operands: tuple[Source, ...]
    members: frozenset[str]


Supports = Callable[[Workload], bool]


def find_groups(view: View, supports: Supports = lambda workload: True) -> tuple[Group, ...]:
    """The groups of a module, no operation in two of them, in program order of their outputs.

    ``supports`` says which workloads have a kernel; the rest stays outside of groups. Of two sums
    that meet in an addition the later takes it, as hago.annotate.chains has decided: what the other
    one gives is in memory by then, as codes if they were to be added as codes.
    """
    groups: list[Group] = []
    taken = {*grouped_members(view), *_shifted_members(view)}
    for node in _in_turn(view):
        if node.name in taken or is_inlined(view, node):
            continue
        group = _grow(view, node, frozenset(taken), supports)
        if group is not None:
            groups.append(group)
            taken |= group.members
    groups.extend(_materialised(view, groups, frozenset(taken), supports))
    return tuple(sorted(groups, key=lambda group: view.order[group.output]))


def _in_turn(view: View) -> list[Node]:
    """Sums from the last to the first, then the other operations in program order."""
    sums = [node for node in view.dataflow.nodes if _is_sum(view, node)]
    names = {node.name for node in sums}
    return [*reversed(sums), *(n for n in view.dataflow.nodes if n.name not in names)]


def _is_sum(view: View, node: Node) -> bool:
    """Whether products are summed, or a window: what hago.annotate calls an anchor."""
    anchor = find_anchor(view, node)
    if anchor is None:
        return False
    work = anchor.workload
    return isinstance(work, Product) or (isinstance(work, Pool2d) and work.kind == "avg")


def _shifted_members(view: View) -> Iterator[str]:
    """The operations that an exp of shifted rows stands for."""
    for node in view.dataflow.nodes:
        if (inner := inner_of_exp(view, node)) is not None:
            yield from inner.members


def is_inlined(view: View, node: Node) -> bool:
    """True for what each reader computes for itself: codes and narrow floats as float32 or wider,
    and integer arithmetic of such codes and constants, up to where they meet others."""
    if not is_elementwise(node):
        return False
    if node.op in ("dequantize", "astype"):
        return narrow_source(view, node) in (*CODES, *NARROW_FLOATS)
    tensors = _tensor_inputs(node)
    return node.dtype == "int64" and len(tensors) == 1 and _is_inlined_name(view, tensors[0])


def _is_inlined_name(view: View, name: str) -> bool:
    node = view.node(name)
    return node is not None and is_inlined(view, node)


def _materialised(
    view: View, groups: list[Group], taken: frozenset[str], supports: Supports
) -> Iterator[Group]:
    """A group for each inlined operation that somebody reads as a tensor."""
    read = set(view.dataflow.outputs)
    for group in groups:
        sources = (*group.data, *group.operands)
        read.update(source for source in sources if isinstance(source, str))
    for node in view.dataflow.nodes:
        if node.name not in taken and not is_inlined(view, node):
            read.update(node.inputs)
    for node in view.dataflow.nodes:
        if node.name in read and node.name not in taken and is_inlined(view, node):
            anchor = _leading(view, node)
            if anchor is not None and supports(anchor.workload):
                yield _group(view, node, anchor, [node.name], node.name)


def _grow(
    view: View, node: Node, taken: frozenset[str], supports: Supports
) -> Group | None:
    """The largest group of ``node``; None if it is no anchor."""
    anchor = find_anchor(view, node)
    if anchor is None or not supports(anchor.workload):
        anchor = _leading(view, node)
    if anchor is None or not supports(anchor.workload):
        return None
    candidates = _candidates(view, node, anchor, taken)
    for output in reversed(candidates):
        if _is_inlined_name(view, output):
            continue
        members = _closed(view, node.name, output, candidates)
        if members is not None:
            return _group(view, node, anchor, members, output)
    return None


def _leading(view: View, node: Node) -> Anchor | None:
    """An elementwise operation as anchor: value 0 is an input of the output's shape."""
    if not is_elementwise(node):
        return None
    for name in _tensor_inputs(node):
        source = _source_of(view, name)
        shape, dtype = view.type_of(source)
        if shape == node.shape and _operands_fit(view, node, node.shape):
            return Anchor(Elementwise(shape, dtype), (source,), shape, dtype)
    return None


def _tensor_inputs(node: Node) -> list[str]:
    return [name for arg, name in enumerate(node.inputs) if arg not in node.constants]


def _source_of(view: View, name: str) -> str:
    """``name``, or the codes behind it if its real value is inlined."""
    while _is_inlined_name(view, name):
        (name,) = _tensor_inputs(view.nodes[name])
    return name


def _candidates(
    view: View, node: Node, anchor: Anchor, taken: frozenset[str]
) -> list[str]:
    """``node`` and, in program order, the elementwise operations that can be computed with it."""
    found: list[str] = []
    pending = [node.name]
    while pending:
        name = min(pending, key=view.order.__getitem__)
        pending = [other for other in pending if other != name]
        found.append(name)
        for reader in view.users.get(name, ()):
            other = view.node(reader)
            if other is not None and reader not in taken and _extends(view, other, node, anchor):
                pending.append(reader)
    return found


def _extends(view: View, node: Node, first: Node, anchor: Anchor) -> bool:
    """Whether ``node`` is elementwise over the same shape as the anchor ``first``."""
    if node.shape != first.shape or not is_elementwise(node):
        return False
    return _operands_fit(view, node, anchor.shape)


def _operands_fit(view: View, node: Node, kernel: tuple[int, ...]) -> bool:
    shapes = [
        _constant_shape(node, arg) if arg in node.constants else view.type_of(name)[0]
        for arg, name in enumerate(node.inputs)
    ]
    return all(fitted_shape(shape, node.shape, kernel) is not None for shape in shapes)


def _constant_shape(node: Node, arg: int) -> tuple[int, ...]:
    """The shape under which a constant argument broadcasts against the result."""
    constant = node.constants[arg]
    if node.op not in ("quantize", "dequantize") or constant.size == 1:
        return constant.shape
    rank, axis = len(node.shape), int(node.call.attrs.axis) % len(node.shape)
    return tuple(constant.size if i == axis else 1 for i in range(rank))


def _closed(view: View, anchor: str, output: str, candidates: list[str]) -> list[str] | None:
    """The candidates that ``output`` needs, if nothing else reads any of them but ``output``."""
    needed, pending = set(), [output]
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        if name != anchor:
            sources = view.nodes[name].inputs
            pending.extend(source for source in sources if source in candidates)
    if any(not view.users[name] <= needed for name in needed - {output}):
        return None
    return [name for name in candidates if name in needed]


def _group(view: View, node: Node, anchor: Anchor, members: list[str], output: str) -> Group:
    """The group of ``members`` with its expression."""
    expression = Expression(anchor.accumulator)
    values: dict[str, Value] = {}
    if isinstance(anchor.workload, Elementwise):
        values[str(anchor.data[0])] = expression.accumulator
        values[node.name] = _translated(view, node, anchor, expression, values)
    else:
        values[node.name] = anchor.finish(expression, expression.accumulator)
    for name in members[1:]:
        values[name] = _translated(view, view.nodes[name], anchor, expression, values)
    epilogue, operands = expression.finish(values[output])
    return Group(
        anchor=node.name,
        output=output,
        workload=anchor.workload,
        epilogue=epilogue,
        shape=anchor.shape,
        data=anchor.data,
        weight=anchor.weight,
        operands=operands,
        members=frozenset(members),
    )


def _translated(
    view: View,
    node: Node,
    anchor: Anchor,
    expression: Expression,
    values: dict[str, Value],
    reader: tuple[int, ...] | None = None,
) -> Value:
    """The value of ``node``; ``reader`` is the shape that it is broadcast to, if inlined."""
    target = node.shape if reader is None else reader

    def term(arg: int, name: str) -> Term:
        if arg in node.constants:
            return _constant(node, arg, target, anchor.shape)
        if name in values:
            return values[name]
        if _is_inlined_name(view, name):
            return _translated(view, view.nodes[name], anchor, expression, values, target)
        shape, dtype = view.type_of(name)
        fitted = fitted_shape(shape, target, anchor.shape)
        assert fitted is not None, f"{name} does not fit {node.name}"
        return expression.operand(name, fitted, dtype)

    return translate(expression, node, [term(arg, name) for arg, name in enumerate(node.inputs)])


def _constant(node: Node, arg: int, target: tuple[int, ...], kernel: tuple[int, ...]) -> Array:
    """A constant argument, shaped to broadcast against the kernel's output."""
    fitted = fitted_shape(_constant_shape(node, arg), target, kernel)
    assert fitted is not None, f"a constant does not fit {node.name}"
    return node.constants[arg].reshape(fitted)
